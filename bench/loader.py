"""Our store beside a numpy memmap of the same latents, taking turns: samples a second in random order, batch 64.

    .venv/bin/python bench/loader.py [--rows 20000] [--rounds 7] [--load] [--directory D]

The memmap copies rows of a raw file into a reused batch, on one thread: near the limit of what software can do. Ours
reads the store through `Store::read`, every row's checksum verified, on one and on two threads; with --load also the
whole loader, with noise and timesteps, which the memmap does not make. All files lie in the page cache. Prints medians, and the
ratios of the rounds' neighbours.
"""
import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import torch

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "build/bench/loader_bench"
BATCH = 64


def ours(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], check=True, capture_output=True, text=True)
    return float(done.stdout or 0)


def memmap(latents, count):
    captions = [f"bocchi, guitar, picture {i}" for i in range(count)]
    batch = torch.empty(BATCH, 4, 64, 64, dtype=torch.float16).numpy()
    order = np.random.permutation(count)
    start = time.perf_counter()
    for first in range(0, count - BATCH + 1, BATCH):
        rows = order[first:first + BATCH]
        np.take(latents, rows, axis=0, out=batch, mode="clip")
        [captions[i] for i in rows]
    return count // BATCH * BATCH / (time.perf_counter() - start)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", type=int, default=20000)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--load", action="store_true")
    p.add_argument("--directory", type=pathlib.Path)
    a = p.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=a.directory) as folder:
        store = pathlib.Path(folder) / "store"
        ours("make", store, a.rows)
        latents = np.memmap(store / "latents.raw", np.float16, "r", shape=(a.rows, 4, 64, 64))
        ways = {"memmap": lambda: memmap(latents, a.rows),
                "read, 1 thread": lambda: ours("read", store, 1), "read, 2 threads": lambda: ours("read", store, 2)}
        if a.load:
            ways |= {"load, 1 thread": lambda: ours("load", store, 1), "load, 2 threads": lambda: ours("load", store, 2)}
        for way in ways.values():
            way()  # warms page cache and page tables
        rounds = [{name: way() for name, way in ways.items()} for _ in range(a.rounds)]
    print(f"{'':<18} {'samples/s':>12} {'of memmap':>10}")
    for name in ways:
        rate = statistics.median(r[name] for r in rounds)
        print(f"{name:<18} {rate:>12.0f} {statistics.median(r[name] / r['memmap'] for r in rounds):>9.2f}x")


if __name__ == "__main__":
    main()
