"""From a folder of images to a store, beside what Python trainers do to every image: peers/ingest_pil.py, which decodes, turns,
crops and resizes with Pillow in a pool of processes, and keeps nothing.

    ingest.py PROGRAM [--images DIR] [--count 500] [--cores 2] [--rounds 5] [--memory 2000] [--out RESULT.json]

Without --images, peers/photos.py makes photo-like JPEGs of 1280x720. That both read all of them is checked. The two take
turns, so that what else the machine does meets both. Ours counts scan, decoding, and the store on disk (images of the 512 px
buckets, no VAE); the peer one pass over images that are in the page cache; both without the start of their processes. Also the peak
memory of `kessoku prepare` for --memory images and ten times as many (the same files under more names).
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
from turns import side_by_side, undisturbed

PEERS = Path(__file__).resolve().parent / "peers"


def ours(program, images, store, cores):
    """Images a second, and peak memory in MB."""
    shutil.rmtree(store, ignore_errors=True)
    process = subprocess.Popen([program, "prepare", images, "--out", store, "--keep", "images", "--threads", str(cores), "--json"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"kessoku prepare failed with {status}")
    summary = json.loads(output)
    if summary["skipped"]:
        raise SystemExit(f"kessoku prepare skipped {len(summary['skipped'])} images")
    return summary["examples"] / summary["seconds"], usage.ru_maxrss / 1024


def theirs(images, cores):
    done = subprocess.run([sys.executable, PEERS / "ingest_pil.py", images, "--processes", str(cores)], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    if result["failures"]:
        raise SystemExit(f"Pillow cannot read {result['failures']} images")
    return result["images_per_s"]


def grow(images, folder, count):
    """`count` names for the files of `images`."""
    files = sorted(p for p in images.iterdir() if p.is_file())
    for i in range(count):
        place = folder / f"{i // 10000}"
        place.mkdir(parents=True, exist_ok=True)
        os.link(files[i % len(files)], place / f"{i:06}{files[i % len(files)].suffix}")
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as work:
        work = Path(work)
        images = a.images
        if images is None:
            images = work / "pictures"
            subprocess.run([sys.executable, PEERS / "photos.py", images, "--count", str(a.count)], check=True)
        count = sum(1 for _ in images.iterdir())
        rounds = []
        for _ in range(a.rounds):
            rounds.append((undisturbed(lambda: ours(a.program, images, work / "store", a.cores))[0],
                           undisturbed(lambda: theirs(images, a.cores))))
            print(f"kessoku {rounds[-1][0]:.1f} images/s, Pillow {rounds[-1][1]:.1f}, ratio {rounds[-1][0] / rounds[-1][1]:.2f}",
                  flush=True)
        result = dict(**machine.describe(), used_cores=a.cores, rounds=a.rounds, checked=f"both read all of {count} images",
                      measures={"images": side_by_side(*zip(*rounds), "images/s", less_is_better=False)},
                      kessoku=round(statistics.median(r[0] for r in rounds), 1),
                      pillow=round(statistics.median(r[1] for r in rounds), 1),
                      ratio=round(statistics.median(r[0] / r[1] for r in rounds), 2))
        if a.memory:
            peaks = {}
            for count in (a.memory, 10 * a.memory):
                folder = grow(images, work / f"many-{count}", count)
                peaks[count] = round(ours(a.program, folder, work / "store", a.cores)[1])
                shutil.rmtree(work / "store")
                shutil.rmtree(folder)
            result["peak_mb"] = peaks
        print(json.dumps(result))
        if a.out:
            a.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
