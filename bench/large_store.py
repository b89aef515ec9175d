"""How long it takes to open a store of many examples, to refresh its captions, to prepare a folder of many images, and what verifying
rows costs.

    large_store.py PROGRAM [--examples 1000000] [--refreshed 200000] [--images 100000] [--repeat 5] [--out RESULT.json]

Opening: h5py writes a store of --examples with captions, sources and all other columns, and rows of 16 bytes. `kessoku inspect` is
timed on it, and on one of ten examples, whose time is the program's own start; the difference is opening and counting. loader_bench
times what a training does before its first draw: opening, mixture and sampler. Refreshing: `prepare --captions-only` of a store of
--refreshed examples whose every caption stands in a file beside its image, all captions new, then none. Preparing: --images images of
one pixel, each with a caption file, in one folder. Verifying: a
store of 1,024 rows of 768 KiB is read by `kessoku inspect --verify`, and its file by plain reads of 1 MiB, both on one thread and from
the page cache.
"""
import argparse
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

import machine

BUCKETS = ("512x512", "256x256", "384x384", "640x640", "768x768")
SHARDS = 4


def text(group, name, values):
    lengths = np.fromiter((len(v) for v in values), np.uint64, len(values))
    group[name + "_bytes"] = np.frombuffer(b"".join(values), np.uint8)
    group[name + "_offsets"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)


def write_group(group, numbers):
    rows = len(numbers)
    text(group, "caption", [b"an image of %07d, standing on a stage, holding a guitar, pink hair, track jacket, indoors, looking at the "
                            b"viewer, official art" % n for n in numbers])
    text(group, "caption_parts", [b""] * rows)
    text(group, "source", [source(n).encode() for n in numbers])
    group["category"] = np.zeros(rows, np.uint32)
    group["settings"] = np.zeros(rows, np.uint32)
    group["source_size"] = np.full((rows, 2), 1280, np.uint32)
    group["crop"] = np.zeros((rows, 4), np.int32)
    group["content_hash"] = np.array(numbers, np.uint64)
    group["row_checksum"] = np.zeros((rows, 1), np.uint64)
    group["moments"] = np.zeros((rows, 1, 8, 1, 1), np.float16)


def source(number):
    return f"screenshots/{number % 7:02}_characters/{number:07}.jpg"


def write_store(folder, examples):
    folder.mkdir(parents=True)
    shards = []
    order = sorted(range(examples), key=lambda n: (n % 7, n))
    for s in range(SHARDS):
        own, rows = order[s::SHARDS], {}
        name = f"shard-{s:05}.h5"
        with h5py.File(folder / name, "w") as file:
            for b, bucket in enumerate(BUCKETS):
                numbers = own[b::len(BUCKETS)]
                if numbers:
                    rows[bucket] = len(numbers)
                    write_group(file.create_group(bucket), numbers)
        shards.append({"file": name, "bytes": (folder / name).stat().st_size, "rows": rows, "digests": {}})
    (folder / "store.json").write_text(json.dumps(
        {"version": 2, "created_by": "bench", "resolution": 512, "dialect": "everydream2", "kept": ["moments"],
         "encoder": {"digest": "bench", "scaling_factor": 0.18215}, "shards": shards, "buckets": list(BUCKETS),
         "categories": [{"path": ".", "multiply": 1.0}], "settings": [{"multiply": 1.0}], "skipped": []}))


def write_images(folder):
    folder.mkdir()
    generator = np.random.default_rng(0)
    for i in range(64):
        Image.fromarray(generator.integers(0, 255, (600, 600, 3), np.uint8)).save(folder / f"{i}.bmp")


class Copies:
    """Many names for one content: hard links, as many as the file system gives a file."""

    MOST = 50_000

    def __init__(self, folder, content):
        folder.mkdir(parents=True)
        self.folder, self.content, self.count = folder, content, 0

    def put(self, path):
        original = self.folder / str(self.count // self.MOST)
        if self.count % self.MOST == 0:
            original.write_bytes(self.content)
        os.link(original, path)
        self.count += 1


def one_pixel():
    stream = io.BytesIO()
    Image.new("RGB", (1, 1)).save(stream, "png")
    return stream.getvalue()


def write_dataset(folder, work, paths):
    """Images of one pixel and captions."""
    pixels, captions = Copies(work / "pixels", one_pixel()), Copies(work / "captions", b"1girl, guitar, stage, night, city lights")
    for path in map(Path, paths):
        (folder / path.parent).mkdir(parents=True, exist_ok=True)
        pixels.put(folder / path)
        captions.put(folder / path.with_suffix(".txt"))


def refresh(program, work, examples):
    write_store(work / "store", examples)
    write_dataset(work / "images", work, map(source, range(examples)))
    command = (program, "prepare", work / "images", "--out", work / "store", "--captions-only")
    return dict(refresh_examples=examples, refresh_all_s=round(timed(*command)[0], 2), refresh_none_s=round(timed(*command)[0], 2))


def fill_folder(program, work, images):
    write_dataset(work / "images", work, (f"{i:06}.png" for i in range(images)))
    seconds, _, memory = timed(program, "prepare", work / "images", "--out", work / "store", "--keep", "images", "--resolution", 64)
    found = json.loads(subprocess.run([program, "inspect", work / "store", "--json"], capture_output=True, check=True).stdout)
    if found["examples"] != images:
        raise SystemExit(f"{found['examples']} examples of {images} images")
    return dict(folder_images=images, folder_s=round(seconds, 1), folder_peak_mb=round(memory))


def timed(*command, check=True):
    """Seconds, seconds of processor, and peak memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if check and status != 0:
        raise SystemExit(f"{command}: {status}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--refreshed", type=int, default=200_000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as work:
        work = Path(work)
        write_store(work / "large", a.examples)
        write_store(work / "small", 10)
        opened = [(timed(a.program, "inspect", work / "large", "--json"), timed(a.program, "inspect", work / "small", "--json"))
                  for _ in range(a.repeat)]
        result = dict(machine=f"{os.cpu_count()} cores, {platform.machine()}", examples=a.examples,
                      open_s=round(statistics.median(large[0] - small[0] for large, small in opened), 3),
                      open_cpu_s=round(statistics.median(large[1] - small[1] for large, small in opened), 3),
                      with_start_s=round(statistics.median(large[0] for large, _ in opened), 3),
                      peak_mb=round(max(large[2] for large, _ in opened)),
                      peak_mb_of_ten_examples=round(max(small[2] for _, small in opened)))
        bench = Path(__file__).resolve().parents[1] / "build/bench/loader_bench"
        ready = [float(subprocess.run([bench, "open", work / "large"], capture_output=True, text=True, check=True).stdout) for _ in
                 range(a.repeat)]
        result["ready_to_draw_s"] = round(statistics.median(ready), 3)
        shutil.rmtree(work / "large")
        for measure, count in ((refresh, a.refreshed), (fill_folder, a.images)):
            result |= measure(a.program, work / measure.__name__, count)
            shutil.rmtree(work / measure.__name__)
        print(json.dumps(result), flush=True)
        write_images(work / "images")
        timed(a.program, "prepare", work / "images", "--out", work / "store", "--keep", "images", "--variants", 16)
        shard = work / "store/shard-00000.h5"
        rounds = [(timed(a.program, "inspect", work / "store", "--verify", "--threads", 1)[0] -
                   timed(a.program, "inspect", work / "store", "--json")[0], machine.seconds_to_read(shard)) for _ in range(a.repeat)]
        result |= dict(verify_mb_per_s=round(shard.stat().st_size / 1e6 / statistics.median(r[0] for r in rounds)),
                       read_mb_per_s=round(shard.stat().st_size / 1e6 / statistics.median(r[1] for r in rounds)))
        print(json.dumps(result), flush=True)
        if a.out:
            a.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
