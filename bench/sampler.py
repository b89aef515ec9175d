"""Our sampler beside torch's, on the same numbers of examples, taking turns; and ours over a thousand million examples.

    .venv/bin/python bench/sampler.py [N ...] [--rounds K] [--large 1000000000] [--out RESULT.json]

Ours starts and makes N draws of N; so do they (peers/sampler_torch.py), over as many weights. Prints a table of seconds (median of
the rounds), of memory, and the ratios. `--large` (0: none) is run once, by ours alone, on all cores; it takes some 4.3 bytes an example.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import machine
from turns import side_by_side, single, undisturbed

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(*command):
    return json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout)


def compare(n, rounds):
    """Rows of one size, ours first; measures beside torch's weighted sampler, which is ready when all is drawn."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(undisturbed(lambda: run(ROOT / "build/bench/sampler_bench", n), threads=1))
        theirs.append(undisturbed(lambda: run(sys.executable, ROOT / "bench/peers/sampler_torch.py", n), threads=1)["rows"])
    each = [r["start_seconds"] + n / r["draws_per_second"] for r in ours]
    seconds = statistics.median(each)
    rows = [dict(examples=n, sampler="kessoku", seconds=round(seconds, 4),
                 mb=round(statistics.median(r["bytes_per_example"] * n / 1e6 for r in ours), 1), times_ours=1.0)]
    for i, row in enumerate(theirs[0]):
        peer = statistics.median(measured[i]["seconds"] for measured in theirs)
        rows.append(dict(examples=n, sampler=row["sampler"], seconds=round(peer, 4),
                         mb=round(statistics.median(measured[i]["extra_rss_mb"] for measured in theirs), 1), times_ours=round(peer / seconds, 2)))
    weighted = [measured[0]["seconds"] for measured in theirs]
    return rows, {"ready": side_by_side([r["start_seconds"] for r in ours], weighted, "s"), "drawn": side_by_side(each, weighted, "s")}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("n", type=int, nargs="*", default=[27173, 1000000, 10000000])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--large", type=int, default=1000000000)
    p.add_argument("--out", type=pathlib.Path)
    a = p.parse_args()
    result = dict(benchmark="sampler", threads=1, rounds=a.rounds, rows=[], measures={}, checked="as many draws from as many weighted examples")
    print(f"{'examples':>11}  {'sampler':<30}{'seconds':>10}{'MB':>9}{'times ours':>12}")
    for n in a.n:
        rows, measures = compare(n, a.rounds)
        result["measures"] |= {f"{n} {name}": measure for name, measure in measures.items()}
        for row in rows:
            result["rows"].append(row)
            print(f"{row['examples']:>11}  {row['sampler']:<30}{row['seconds']:>10.4f}{row['mb']:>9.1f}{row['times_ours']:>12.2f}")
    if a.large > 0:
        result["large"] = undisturbed(lambda: run(ROOT / "build/bench/sampler_bench", a.large, os.cpu_count()))
        result["measures"][f"{a.large} ready"] = single([result["large"]["start_seconds"]], "s")
        print(json.dumps(result["large"], indent=1))
    if a.out:
        a.out.write_text(json.dumps(machine.describe() | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
