"""Runs comparisons one after the other and writes RESULTS.md; scripts/bench.sh sets up first.

    suite.py [--list] [NAME…]

Without names all are run. A comparison that fails leaves its result as it was; the others go on, and the exit code is 1. What
comparisons make (models, stores) stays in build/bench-work and is used again.
"""
import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import results_table

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build/bench-work"


@dataclass(frozen=True)
class Comparison:
    """`command` is a script of bench/ with its arguments; `minutes` what it takes on two cores."""
    command: str
    minutes: int


# {work} is a folder that comparisons of the same name of folder share.
COMPARISONS = {
    "step_small": Comparison("training_step.py {work}/small --size small", 4),
    "step_small_bf16": Comparison("training_step.py {work}/small --size small --precision bf16", 8),
    "step_tiny": Comparison("training_step.py {work}/tiny --size tiny --steps 30", 3),
    "two_ranks": Comparison("two_ranks.py {work}/small", 4),
    "full_size_step": Comparison("full_size_step.py build/kessoku {work}/sd15", 15),
    "sampling": Comparison("sampling.py {work}/sd15", 10),
    "vae_decode": Comparison("vae_decode.py {work}", 8),
    "prepare_moments": Comparison("prepare_moments.py {work}/sd15", 5),
    "ingest": Comparison("ingest.py build/kessoku --memory 400", 2),
    "loader": Comparison("loader.py", 3),
    "sampler": Comparison("sampler.py", 5),
    "checkpoint": Comparison("checkpoint.py build/bench/checkpoint_bench build/kessoku {work}/checkpoint", 4),
    "first_step": Comparison("first_step.py {work}/tiny", 2),
    "demo": Comparison("demo.py {work}", 30),
}


def run(name: str) -> bool:
    script, *arguments = COMPARISONS[name].command.format(work=WORK).split()
    print(f"bench: {name}, some {COMPARISONS[name].minutes} minutes", flush=True)
    begun = time.monotonic()
    code = subprocess.run([sys.executable, ROOT / "bench" / script, *arguments, "--out", ROOT / f"bench/results/{name}.json"], cwd=ROOT,
                          stdout=subprocess.DEVNULL).returncode
    print(f"bench: {name} {'done' if code == 0 else f'FAILED (exit code {code})'} in {time.monotonic() - begun:.0f} s", flush=True)
    return code == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for name, comparison in COMPARISONS.items():
            print(f"{name:16} {comparison.minutes:3} min  {comparison.command.format(work='WORK')}")
        return 0
    if unknown := [name for name in options.names if name not in COMPARISONS]:
        parser.error(f"no comparison {unknown[0]}; --list lists them")
    WORK.mkdir(parents=True, exist_ok=True)
    failed = [name for name in options.names or COMPARISONS if not run(name)]
    results_table.PAGE.write_text(results_table.page())
    print("bench: bench/RESULTS.md is written" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
