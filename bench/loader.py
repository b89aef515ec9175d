"""Our store beside a numpy memmap of the same latents, taking turns: samples a second in random order, batch 64.

    .venv/bin/python bench/loader.py [--rows 20000] [--rounds 15] [--directory D] [--out RESULT.json]

The memmap copies rows of a raw file into a reused batch, on one thread: near the limit of what software can do. Ours reads the store
through `Store::read` into reused batches, every row's checksum verified, on one thread and on as many as there are cores; then through the
whole loader, which also makes noise and timesteps and single-precision latents, where the memmap makes nothing. Both give the rows'
captions. All processes stay open from round to round, all files lie in the page cache, and each round has one pass of each over
all rows. Prints medians, and the medians of the rounds' ratios.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import machine
import numpy as np
from turns import side_by_side, single, summary

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "build/bench/loader_bench"
BATCH = 64
SHAPE = (4, 64, 64)
BEFORE = 7141  # samples/s of the whole loader on 2 threads before work on its speed began


class Ours:
    """`way` is read or load; a call is one pass."""

    def __init__(self, way, store, threads):
        self.process = subprocess.Popen([PROGRAM, way, store, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Memmap:
    """Rows of a raw file, copied into a reused batch."""

    def __init__(self, path, count):
        self.latents = np.memmap(path, np.float16, "r", shape=(count, *SHAPE))
        self.captions = [f"bocchi, guitar, image {i}" for i in range(count)]
        self.batch = np.empty((BATCH, *SHAPE), np.float16)

    def __call__(self):
        count = len(self.captions)
        order = np.random.permutation(count)
        start = time.perf_counter()
        for first in range(0, count - BATCH + 1, BATCH):
            rows = order[first:first + BATCH]
            np.take(self.latents, rows, axis=0, out=self.batch, mode="clip")
            [self.captions[i] for i in rows]
        return count // BATCH * BATCH / (time.perf_counter() - start)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", type=int, default=20000)
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--directory", type=pathlib.Path)
    p.add_argument("--out", type=pathlib.Path)
    a = p.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(dir=a.directory) as folder:
        store = pathlib.Path(folder) / "store"
        subprocess.run([PROGRAM, "make", store, str(a.rows)], check=True)
        ways = {"memmap": Memmap(store / "latents.raw", a.rows)}
        for way in ("read", "load"):
            for threads in sorted({1, cores}):
                ways[f"{way}, threads: {threads}"] = Ours(way, store, threads)
        for way in ways.values():
            way()  # warms page cache and page tables
        # The whole loader, whose noise is nothing to compare, every fifth round: it takes as long as fifty of the others.
        rounds = [{name: way() for name, way in ways.items() if r % 5 == 0 or not name.startswith("load")} for r in range(a.rounds)]
        for way in list(ways.values())[1:]:
            way.close()
    rows = []
    print(f"{'':<18} {'samples/s':>12} {'of memmap':>10}")
    for name in ways:
        own = [r for r in rounds if name in r]
        rows.append(dict(way=name, samples_per_s=round(statistics.median(r[name] for r in own)),
                         of_memmap=round(statistics.median(r[name] / r["memmap"] for r in own), 3)))
        print(f"{name:<18} {rows[-1]['samples_per_s']:>12} {rows[-1]['of_memmap']:>9.2f}x")
    everything = [r[f"load, threads: {cores}"] for r in rounds if f"load, threads: {cores}" in r]
    measures = {"read": side_by_side([r["read, threads: 1"] for r in rounds], [r["memmap"] for r in rounds], "samples/s", less_is_better=False),
                "everything": single(everything, "samples/s") | {"ratio": summary(rate / BEFORE for rate in everything)}}
    if a.out:
        a.out.write_text(json.dumps(machine.describe() | dict(
            benchmark="loader", rows_of_store=a.rows, batch=BATCH, rounds=a.rounds, ways=rows,
            checked="rows of the same size; ours verifies checksums", measures=measures), indent=1) + "\n")


if __name__ == "__main__":
    main()
