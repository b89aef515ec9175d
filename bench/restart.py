"""What a restart takes at Stable Diffusion 1.5's size, and what bounds it: a run of `kessoku train` (UNet, fp32) is stopped after a step and resumed.

    restart.py KESSOKU WORK_FOLDER [--rounds 2] [--ranks 1] [--out RESULT.json]

Weights are random. WORK_FOLDER needs 30 GB of disk; the model and store of full_size_step.py in it are used again. Each round resumes twice: once
with nothing of the files in the page cache (needs root; else left out), as after a reboot, and once with what has stayed there, as after a crash.
Beside the stages of the start and the first step stands what plain sequential reading of the same files takes, each once, with a cold cache.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import machine
from full_size_step import RUN_FILE, make_inputs

DROP = Path("/proc/sys/vm/drop_caches")
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def train(arguments, steps):
    """Returns the stages of the start in seconds, to the end of the first step."""
    words = [arguments.kessoku, "train", arguments.work / "restart.toml", "--out", arguments.work / "restart", "--set", f"train.steps={steps}",
             "--set", "train.target=['unet']", "--set", "checkpoint.keep=1", "--set", "metrics.port=-1"]
    if arguments.ranks > 1:
        words = ["mpirun", "-n", str(arguments.ranks), *words]
    subprocess.run(words, check=True, env=ENVIRONMENT)
    starts = [entry for entry in map(json.loads, (arguments.work / "restart/account.jsonl").read_text().splitlines()) if entry["event"] == "start"]
    records = [json.loads(line) for line in (arguments.work / "restart/log.jsonl").read_text().splitlines()]
    return starts[-1]["startup"] | {"first_step": records[-1]["seconds"]}


def files_read(work):
    """What a start reads: the checkpoint, and the model's weights, of which the run has no copy."""
    checkpoint = (work / "restart/checkpoints/latest").resolve()
    return {"checkpoint": [file for file in checkpoint.rglob("*") if file.is_file()],
            "state": list((checkpoint / "state").glob("*.safetensors")),
            "model": list((work / "model").rglob("*.safetensors"))}


def gigabytes(files):
    return sum(file.stat().st_size for file in files) / 1e9


def drop_cache():
    os.sync()
    DROP.write_text("1\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("kessoku", type=Path)
    p.add_argument("work", type=Path)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--ranks", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--out", type=Path)
    a = p.parse_args()
    a.kessoku, a.work = a.kessoku.resolve(), a.work.resolve()
    model, store = make_inputs(a.kessoku, a.work)
    (a.work / "restart.toml").write_text(RUN_FILE.format(model=model, store=store, precision="fp32", steps=1, threads=a.threads, lr=1e-5)
                                         .replace("global_batch = 1", f"global_batch = {a.ranks}").partition("[audit]")[0])
    shutil.rmtree(a.work / "restart", ignore_errors=True)
    train(a, 1)
    steps, starts, reading = 1, {"cold": [], "warm": []}, []
    cold = os.access(DROP, os.W_OK)
    for _ in range(a.rounds):
        if cold:
            drop_cache()
            files = files_read(a.work)
            reading.append(sum(machine.seconds_to_read(file) for file in files["checkpoint"] + files["model"]))
        for cache in ("cold", "warm") if cold else ("warm",):
            if cache == "cold":
                drop_cache()
            steps += 1
            starts[cache].append(train(a, steps))
    files = files_read(a.work)
    result = {
        "machine": machine.describe(), "ranks": a.ranks, "threads": a.threads, "rounds": a.rounds,
        "gigabytes": {name: round(gigabytes(some), 2) for name, some in files.items()},
        "seconds_to_read_once": round(statistics.median(reading), 1) if reading else None,
        "seconds": {cache: {stage: round(statistics.median(start[stage] for start in some), 2) for stage in some[0]} |
                           {"to_first_step": round(statistics.median(sum(start.values()) for start in some), 1)}
                    for cache, some in starts.items() if some}}
    print(json.dumps(result, indent=1))
    if a.out:
        a.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
