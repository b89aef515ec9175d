"""What finding wrong bits costs, and what it finds.

    verification.py BUILD_FOLDER [--rounds K] [--trials T] [--clean-steps N] [--out RESULT.json]

cost    Digests of Stable Diffusion 1.5's weights (UNet and text encoder, fp32), as each verification makes them, beside the seconds
        of a training step of that size in results/full_size_step.json, which bench/full_size_step.py measured on a machine with as
        many cores.
faults  tests/distributed/planted_faults_test.cpp over 1 to 4 ranks: of each kind of fault, how many were found within two
        verifications, and in how many of them the rank was named; and steps without faults, of which none may raise an alarm.

Exits with 1 if a kind that must be found is not, or there is an alarm without a fault.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 859_520_964 + 123_060_480
EVERY_STEPS = 100
DIGESTS = 5  # at most: weights, a rank's own before and after the step, gradients and those of the neighbor


def cost(build, rounds):
    measured = json.loads(subprocess.run([build / "bench/verification_bench", str(PARAMETERS), str(os.cpu_count()), str(rounds)],
                                         check=True, capture_output=True, text=True).stdout)
    seconds = statistics.median(measured["seconds"])
    step = json.loads((ROOT / "bench/results/full_size_step.json").read_text())["measures"]["fp32"]["ours"]["median"]
    return {"bytes": measured["bytes"], "threads": os.cpu_count(), "seconds": measured["seconds"], "median_seconds": seconds,
            "gb_per_second": measured["bytes"] / seconds / 1e9, "step_seconds": step, "every_steps": EVERY_STEPS,
            "share_of_weights": seconds / (EVERY_STEPS * step), "share_of_all_digests": DIGESTS * seconds / (EVERY_STEPS * step)}


def faults(build, ranks, trials, clean_steps):
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.json"
        environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "KESSOKU_FAULT_TABLE": str(table),
                                    "KESSOKU_FAULT_TRIALS": str(trials), "KESSOKU_CLEAN_STEPS": str(clean_steps)}
        done = subprocess.run(["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), build / "tests/distributed/planted_faults_test"],
                              env=environment, stdout=sys.stderr)
        return done.returncode == 0, json.loads(table.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--clean-steps", type=int, default=10_000)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/verification.json")
    options = parser.parse_args()
    result = {"cost": cost(options.build.resolve(), options.rounds), "clean_steps": options.clean_steps, "faults": []}
    sound = True
    for ranks in options.ranks:
        passed, table = faults(options.build.resolve(), ranks, options.trials, options.clean_steps)
        sound &= passed
        result["faults"] += table
    options.out.write_text(json.dumps({**machine.describe(), **result}, indent=1) + "\n")
    print(json.dumps(result["cost"], indent=1))
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
