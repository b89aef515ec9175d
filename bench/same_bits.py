"""What the same bits on any number of ranks cost: seconds a step of two builds of `kessoku train`, in turns, on the `small`
network of a UNet with text encoder (51 million parameters, latents of 32 x 32), fp32, one thread a rank.

    same_bits.py BEFORE AFTER WORK_FOLDER [--rounds N] [--steps K] [--out RESULT.json]

BEFORE and AFTER are programs. Two cases: as many micro-batches as ranks (2), and four micro-batches on one rank. The median of all
steps but the first two of each run counts; AFTER takes its gradients' sums along the tree.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
from pathlib import Path

import machine
from bench_models import make_inputs

ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
CASES = {"as many micro-batches as ranks": {"ranks": 2, "global_batch": 8}, "four micro-batches on one rank": {"ranks": 1, "global_batch": 16}}


def run(*command):
    subprocess.run([str(word) for word in command], check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def write_run_file(work):
    model, store = make_inputs("small", work)
    (work / "run.toml").write_text(f'''
name = "same-bits"
[model]
path = "{model}"
[data]
store = "{store}"
[train]
micro_batch = 4
threads = 1
[checkpoint]
every_steps = 0
[metrics]
port = -1
''')


def step_seconds(program, work, case, steps):
    out = work / "run"
    shutil.rmtree(out, ignore_errors=True)
    mpirun = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", case["ranks"]] if case["ranks"] > 1 else []
    run(*mpirun, program, "train", work / "run.toml", "--out", out, "--set", f"train.steps={steps}",
        "--set", f"train.global_batch={case['global_batch']}")
    return [json.loads(line)["seconds"] for line in (out / "log.jsonl").read_text().splitlines()][2:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    a.work = a.work.resolve()
    write_run_file(a.work)
    seconds = {name: {"before": [], "after": []} for name in CASES}
    for _ in range(a.rounds):
        for name, case in CASES.items():
            for which in ("before", "after"):
                seconds[name][which] += step_seconds(getattr(a, which), a.work, case, a.steps)
    result = {**machine.describe(), "rounds": a.rounds, "steps": a.steps, "cases": {}}
    for name, times in seconds.items():
        medians = {which: statistics.median(values) for which, values in times.items()}
        result["cases"][name] = CASES[name] | {"micro_batch": 4, "seconds_before": round(medians["before"], 4),
                                               "seconds_after": round(medians["after"], 4),
                                               "ratio": round(medians["after"] / medians["before"], 4)}
    text = json.dumps(result, indent=1)
    print(text)
    if a.out:
        a.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
