"""Reading a folder of images with Pillow in a pool of processes, as Python trainers do with every image: decoded to RGB, turned by EXIF,
cropped in the middle to the nearest bucket's aspect, resized bicubically, made an array. Nothing is kept.

    ingest_pil.py FOLDER [--processes 2]

Prints JSON: images a second of the second pass (the first fills the page cache), failures, and how many images fell in each bucket.
"""
import argparse
import collections
import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
BUCKETS = [(512, 512), *(pair for wide in ((576, 448), (640, 384), (768, 320), (896, 256), (1024, 256)) for pair in (wide, wide[::-1]))]


def read(path: Path) -> str | None:
    """The image's bucket; None if it cannot be read."""
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file.convert("RGB"))
        width, height = image.size
        bucket = min(BUCKETS, key=lambda b: abs(width / height - b[0] / b[1]))
        aspect = bucket[0] / bucket[1]
        crop = min(width, round(height * aspect)), min(height, round(width / aspect))
        left, top = (width - crop[0]) // 2, (height - crop[1]) // 2
        image = image.crop((left, top, left + crop[0], top + crop[1])).resize(bucket, Image.Resampling.BICUBIC)
        return "{1}x{0}".format(*np.asarray(image).shape[:2])
    except OSError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    paths = sorted(file for file in options.folder.iterdir() if file.suffix.lower() in SUFFIXES)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for _ in range(2):
            start = time.perf_counter()
            found = list(pool.imap_unordered(read, paths, chunksize=8))
            seconds = time.perf_counter() - start
    read_well = [bucket for bucket in found if bucket]
    print(json.dumps({"images_per_s": len(read_well) / seconds, "failures": len(found) - len(read_well),
                      "buckets": collections.Counter(read_well)}))


if __name__ == "__main__":
    main()
