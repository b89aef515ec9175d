"""What exchange costs: training steps of two ranks in step beside two runs of one rank each that start together and exchange nothing,
with the same batch a rank and the same model, in turns.

    two_ranks.py WORK_FOLDER [--rounds 5] [--steps 6] [--out RESULT.json]

That is the limit to which two ranks of this machine can scale. First the gradients' arithmetic of a rank is compared.
"""
import json
import shutil
import statistics
import subprocess

from training_step import BATCH, RANKS, WARMUP, seconds_of, train, write_run_file
from turns import ENVIRONMENT, PROGRAM, arguments, require, side_by_side, take_turns, write


def train_apart(work, steps):
    """The logs of RANKS runs at once."""
    outs = [work / f"apart-{i}" for i in range(RANKS)]
    for out in outs:
        shutil.rmtree(out, ignore_errors=True)
    runs = [subprocess.Popen([PROGRAM, "train", work / "run.toml", "--out", out, f"--set=train.steps={steps}", f"--set=train.global_batch={BATCH}"],
                             env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for out in outs]
    if any([run.wait() for run in runs]):
        raise SystemExit("kessoku train failed")
    return [[json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()] for out in outs]


def main():
    options = arguments(__doc__, 5, lambda parser: parser.add_argument("--steps", type=int, default=6))
    work = options.work
    write_run_file(work, "small")
    flops = {}

    def in_step():
        log = train(work, RANKS, WARMUP + options.steps)
        flops["in step"] = log[-1]["flops"] / RANKS
        return seconds_of(log)

    def apart():
        logs = train_apart(work, WARMUP + options.steps)
        flops["apart"] = logs[0][-1]["flops"]
        return statistics.mean(map(seconds_of, logs))

    seconds = take_turns({"in step": in_step, "apart": apart}, options.rounds)
    require(flops["in step"] == flops["apart"], f"operations of a rank's step: {flops}")
    write({"benchmark": "two_ranks", "ranks": RANKS, "threads": 1, "batch": BATCH, "steps": options.steps,
           "checked": f"{flops['apart'] / 1e9:.0f} GFLOP a rank and step in both",
           "measures": {"step": side_by_side(seconds["in step"], seconds["apart"], "s")}}, options.out)


if __name__ == "__main__":
    main()
