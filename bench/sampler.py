"""Our sampler beside torch's, on the same numbers of examples, taking turns; and ours over a thousand million examples.

    .venv/bin/python bench/sampler.py PEER [N ...] [--rounds K] [--large 1000000000] [--out RESULT.json]

PEER is the script that measures torch's samplers (it takes sizes and prints JSON). Ours starts and makes N draws of N;
so do they. Prints a table of seconds (median of the rounds), of memory, and the ratios. `--large` (0: none) is run once, by
ours alone; it takes some 4.3 bytes an example.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(*command):
    return json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout)


def side_by_side(peer_script, n, rounds):
    """Rows of one size: ours first."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run(ROOT / "build/bench/sampler_bench", n))
        theirs.append(run(sys.executable, peer_script, n, "--repeat", 1)["rows"])
    seconds = statistics.median(r["start_seconds"] + n / r["draws_per_second"] for r in ours)
    rows = [dict(examples=n, sampler="kessoku", seconds=round(seconds, 4),
                 mb=round(statistics.median(r["bytes_per_example"] * n / 1e6 for r in ours), 1), times_ours=1.0)]
    for i, row in enumerate(theirs[0]):
        peer = statistics.median(measured[i]["seconds"] for measured in theirs)
        rows.append(dict(examples=n, sampler=row["sampler"], seconds=round(peer, 4),
                         mb=round(statistics.median(measured[i]["extra_rss_mb"] for measured in theirs), 1), times_ours=round(peer / seconds, 2)))
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("peer", type=pathlib.Path)
    p.add_argument("n", type=int, nargs="*", default=[27173, 1000000, 10000000])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--large", type=int, default=1000000000)
    p.add_argument("--out", type=pathlib.Path)
    a = p.parse_args()
    result = dict(benchmark="sampler", machine=f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}", threads=1, rounds=a.rounds, rows=[])
    print(f"{'examples':>11}  {'sampler':<30}{'seconds':>10}{'MB':>9}{'times ours':>12}")
    for n in a.n:
        for row in side_by_side(a.peer, n, a.rounds):
            result["rows"].append(row)
            print(f"{row['examples']:>11}  {row['sampler']:<30}{row['seconds']:>10.4f}{row['mb']:>9.1f}{row['times_ours']:>12.2f}")
    if a.large > 0:
        result["large"] = run(ROOT / "build/bench/sampler_bench", a.large)
        print(json.dumps(result["large"], indent=1))
    if a.out:
        a.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
