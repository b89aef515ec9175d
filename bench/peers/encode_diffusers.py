"""A folder of images to moments by diffusers' autoencoder, one image at a time: read by Pillow, turned, cropped in the middle, resized.

    encode_diffusers.py MODEL FOLDER OUT.safetensors [--size 512x512] [--threads 2]

Prints JSON: seconds of all images, without the start of the process. OUT holds the moments by the images' names.
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image, ImageOps
from safetensors.torch import save_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = tuple(map(int, options.size.split("x")))
    start = time.perf_counter()
    vae = AutoencoderKL.from_pretrained(options.model / "vae").eval()
    moments = {}
    with torch.no_grad():
        for file in sorted(options.folder.glob("*.jpg")):
            with Image.open(file) as image:
                fitted = ImageOps.fit(ImageOps.exif_transpose(image.convert("RGB")), size, Image.Resampling.LANCZOS)
            pixels = torch.from_numpy(np.asarray(fitted, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
            moments[file.name] = vae.encode(pixels).latent_dist.parameters[0].half()
    save_file(moments, options.out)
    print(json.dumps({"images": len(moments), "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
