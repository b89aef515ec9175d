"""From the command to the end of the first step, 2 ranks, the `tiny` networks: `mpirun kessoku train` beside torchrun with
DistributedDataParallel, in turns.

    first_step.py WORK_FOLDER [--rounds 5] [--out RESULT.json]

The first loss of both must be equal. Ours ends when the first record is in log.jsonl, the peer when it writes a file after its step.
"""
import shutil
import subprocess
import time

from training_step import LR, RANKS, check, write_run_file
from turns import ENVIRONMENT, PEERS, PROGRAM, arguments, mpirun, side_by_side, take_turns, torchrun, write


def seconds_until(begun, command):
    """Starts the command; returns after how many seconds `begun()` holds, and waits for the command's end."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not begun():
        if process.poll() not in (None, 0):
            raise SystemExit(f"exit code {process.returncode}: {command}")
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    if process.wait() != 0:
        raise SystemExit(f"exit code {process.returncode}: {command}")
    return seconds


def main():
    options = arguments(__doc__, 5)
    work = options.work
    model = write_run_file(work, "tiny")
    checked = check(work, model, "fp32")
    out, started = work / "run", work / "started"

    def ours():
        shutil.rmtree(out, ignore_errors=True)
        log = out / "log.jsonl"
        return seconds_until(lambda: log.exists() and log.stat().st_size > 0,
                             [*mpirun(RANKS), PROGRAM, "train", work / "run.toml", "--out", out, "--set=train.steps=1", "--set=train.global_batch=8"])

    def theirs():
        started.unlink(missing_ok=True)
        return seconds_until(started.exists, [*torchrun(RANKS), PEERS / "ddp_step.py", model, work / "batches", "--warmup", 0, "--steps", 1,
                                              "--lr", LR, "--started", started])

    seconds = take_turns({"kessoku": ours, "diffusers": theirs}, options.rounds)
    write({"benchmark": "first_step", "size": "tiny", "ranks": RANKS, "checked": checked,
           "measures": {"first": side_by_side(seconds["kessoku"], seconds["diffusers"], "s")}}, options.out)


if __name__ == "__main__":
    main()
