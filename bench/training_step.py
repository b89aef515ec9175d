"""Training steps of UNet and text encoder over 2 ranks with a thread each, 4 samples a rank: `kessoku train` beside diffusers under
DistributedDataParallel (gloo) with fused AdamW, in turns.

    training_step.py WORK_FOLDER [--size small] [--precision fp32] [--rounds 4] [--steps 6] [--out RESULT.json]

First both train the same batches from the same weights; their losses must agree. In bf16 the peer's autocast and its fp32 take
turns with ours in both: the faster of the two counts. Each turn is a run of its own; its median step counts, without the first
two. `share_of_products` is the rate of our step's floating-point operations (convolutions, matrix products, attention; forward and
backward) a core, relative to that of torch.mm on one core in the same round.
"""
import json
import shutil
import statistics

from bench_models import make_inputs, parameters
from turns import (PEERS, PROGRAM, arguments, mpirun, python, require, require_close, run, run_for_json, side_by_side, single, take_turns,
                   torchrun, write)

RANKS, BATCH, WARMUP, LR = 2, 4, 2, 1e-5
CHECKED = 3  # steps whose losses are compared
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}
RUN_FILE = """
name = "training-step"
[model]
path = "{model}"
[data]
store = "{store}"
[train]
micro_batch = {batch}
threads = 1
[optimizer]
lr = {lr}
[checkpoint]
every_steps = 0
[metrics]
port = -1
"""


def write_run_file(work, size):
    model, store = make_inputs(size, work)
    (work / "run.toml").write_text(RUN_FILE.format(model=model, store=store, batch=BATCH, lr=LR))
    return model


def train(work, ranks, steps, *settings):
    """The records of a run."""
    out = work / "run"
    shutil.rmtree(out, ignore_errors=True)
    sets = (f"train.steps={steps}", f"train.global_batch={BATCH * ranks}", *settings)
    run(*(mpirun(ranks) if ranks > 1 else []), PROGRAM, "train", work / "run.toml", "--out", out, *(f"--set={one}" for one in sets))
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def seconds_of(log):
    return statistics.median(record["seconds"] for record in log[WARMUP:])


def check(work, model, precision):
    """Leaves the batches in WORK/batches, which the peer trains from then on."""
    log = train(work, RANKS, CHECKED, f"audit.batches={CHECKED}", f'train.precision="{precision}"')
    shutil.rmtree(work / "batches", ignore_errors=True)
    (work / "run/audit").rename(work / "batches")
    theirs = peer(work, model, "--warmup", 0, "--steps", CHECKED, *(["--bf16"] if precision == "bf16" else []))
    require(theirs["parameters"] == parameters(model), "the number of parameters")
    return (f"{theirs['parameters'] / 1e6:.2f} million parameters in both; " +
            require_close([record["loss"] for record in log], theirs["losses"], TOLERANCE[precision], f"losses of {CHECKED} steps in {precision}"))


def peer(work, model, *options):
    return run_for_json(*torchrun(RANKS), PEERS / "ddp_step.py", model, work / "batches", "--lr", LR, *options)


def measure(work, model, precision, rounds, steps):
    """Way → one figure a round; `kessoku` in the precision that is asked for."""
    flops = []

    def ours(which):
        log = train(work, RANKS, WARMUP + steps, f'train.precision="{which}"')
        flops.append(log[-1]["flops"] / RANKS)
        return seconds_of(log)

    def theirs(*options):
        return statistics.median(peer(work, model, "--warmup", WARMUP, "--steps", steps, *options)["step_seconds"])

    ways = {"kessoku": lambda: ours(precision), "diffusers": theirs}
    if precision == "bf16":
        ways |= {"diffusers bf16": lambda: theirs("--bf16"), "kessoku fp32": lambda: ours("fp32")}
    ways["core"] = lambda: run_for_json(*python(PEERS / "matrix_rate.py"))["gflops"]
    return take_turns(ways, rounds), flops[0]


def main():
    def more(parser):
        parser.add_argument("--size", choices=("tiny", "small"), default="small")
        parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
        parser.add_argument("--steps", type=int, default=6)
    options = arguments(__doc__, 4, more)
    work = options.work
    model = write_run_file(work, options.size)
    checked = check(work, model, options.precision)
    seconds, flops = measure(work, model, options.precision, options.rounds, options.steps)
    faster = min((name for name in seconds if name.startswith("diffusers")), key=lambda name: statistics.median(seconds[name]))
    measures = {"step": side_by_side(seconds["kessoku"], seconds[faster], "s"), "core": single(seconds["core"], "GFLOP/s"),
                "share_of_products": single([flops / 1e9 / s / rate for s, rate in zip(seconds["kessoku"], seconds["core"], strict=True)], "")}
    if options.precision == "bf16":
        measures["of_fp32"] = side_by_side(seconds["kessoku"], seconds["kessoku fp32"], "s")
        measures["of_autocast"] = side_by_side(seconds["kessoku"], seconds["diffusers bf16"], "s")
    write({"benchmark": "training_step", "size": options.size, "precision": options.precision, "ranks": RANKS, "threads": 1, "batch": BATCH,
           "steps": options.steps, "peer": faster, "gflop_a_rank": round(flops / 1e9, 2), "checked": checked, "measures": measures}, options.out)


if __name__ == "__main__":
    main()
