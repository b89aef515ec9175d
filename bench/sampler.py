"""Our sampler beside torch's, on the same numbers of examples, taking turns.

    .venv/bin/python bench/sampler.py PEER [N ...] [--rounds K]

PEER is the script that measures torch's samplers (it takes sizes and prints JSON). Ours starts and makes N draws of N;
so do they. Prints a table of seconds (median of the rounds), of memory, and the ratios.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(*command):
    return json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("peer", type=pathlib.Path)
    p.add_argument("n", type=int, nargs="*", default=[27173, 1000000, 10000000])
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    print(f"{'examples':>11} {'sampler':<30} {'seconds':>9} {'MB':>8} {'theirs / ours':>14}")
    for n in a.n:
        ours, theirs = [], []
        for _ in range(a.rounds):
            ours.append(run(ROOT / "build/bench/sampler_bench", n))
            theirs.append(run(sys.executable, a.peer, n, "--repeat", 1)["rows"])
        seconds = statistics.median(r["start_seconds"] + n / r["draws_per_second"] for r in ours)
        memory = statistics.median(r["bytes_per_example"] * n / 1e6 for r in ours)
        print(f"{n:>11} {'ours':<30} {seconds:>9.4f} {memory:>8.1f}")
        for i, row in enumerate(theirs[0]):
            peer = statistics.median(round[i]["seconds"] for round in theirs)
            peer_memory = statistics.median(round[i]["extra_rss_mb"] for round in theirs)
            print(f"{'':>11} {row['sampler']:<30} {peer:>9.4f} {peer_memory:>8.1f} {peer / seconds:>14.2f}")


if __name__ == "__main__":
    main()
