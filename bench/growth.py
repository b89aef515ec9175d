"""How cost grows with the work, beside what arithmetic says: writes results/growth.json, GROWTH.md, and its charts.

    growth.py WORK_FOLDER [--rounds 3] [--steps 6] [--examples 10000000] [--only NAME,…] [--out RESULT.json]

Steps (UNet and text encoder, one thread a rank, fp32): seconds against batch, resolution, parameters, and ranks. Arithmetic is
the step's floating-point operations, as the log counts them (convolutions as direct ones), at the rate of torch.mm on a core,
measured in the same rounds. Start: seconds of opening a store and preparing the mixture and the sampler, against the seconds of
reading the store's files once; a seek against that of the smallest store. Memory: the most that was resident of rank 0 against
what `kessoku plan` says. Points of a curve take turns; each is the median of the rounds.
"""
import json
import os
import shutil
import statistics
import sys
import textwrap
from pathlib import Path

import machine
from bench_models import DOWNSCALE, SIZES, make_images, make_model, parameters
from chart import line_chart
from large_store import write_store
from turns import PEERS, PROGRAM, ROOT, arguments, mpirun, python, run, run_for_json, take_turns

PAGE = ROOT / "bench/GROWTH.md"
WARMUP = 2
RUN_FILE = """
name = "growth"
[model]
path = "{model}"
[data]
store = "{store}"
[train]
threads = 1
[optimizer]
lr = 1e-5
[checkpoint]
every_steps = 0
[metrics]
port = -1
"""
BATCHES = (1, 2, 4, 8, 16)
SIDES = (128, 192, 256, 384, 512)  # pixels
WIDTHS = (1, 2, 3, 4, 6)  # times those of `tiny`
RANKS = (1, 2, 4, 8)
GLOBAL_BATCH = 8
# What each curve is about, and why it leaves the arithmetic; {…} are figures of the run.
ABOUT = {
    "batch": ("Step against batch", "draws a step", "s a step",
              "The `small` model of the comparisons, one rank, 256 px. From batch {first_x} to {last_x} the share of the core's product rate "
              "goes from {first_share} to {last_share}: what a step costs whatever its batch (the optimizer, which reads and writes all "
              "weights and moments; norms; starting each operation) is spread over more draws."),
    "resolution": ("Step against resolution", "side of the images, px", "s a step",
                   "The same model, batch 1. Operations grow with the area, those of attention with its square. The share goes from "
                   "{first_share} at {first_x} px to {last_share} at {last_x} px."),
    "parameters": ("Step against parameters", "trained parameters", "s a step",
                   "The `tiny` model with wider and wider layers, batch 4, 128 px. The share goes from {first_share} to {last_share}: narrow "
                   "layers make small products, which do not fill the core's vectors, and the optimizer costs the same for each parameter."),
    "ranks": ("Step against ranks", "ranks", "s a step",
              "The `tiny` model with layers twice as wide, 8 draws a step, of which each rank computes its part, one at a time. Arithmetic "
              "divides the operations by the cores that there are ({cores}): beyond that ranks take turns, and only wait for each other."),
    "start": ("Start against examples", "examples", "s",
              "From opening a store to the first draw, with all files in the page cache; beside it one reading of the same files. Below some "
              "10⁵ examples it is the cost of opening files; above, each caption's and each source's place is looked at once, and the "
              "sampler sorts examples into folders and buckets."),
    "sampler": ("Sampler against examples", "examples", "s",
                "The mixture and the sampler alone, over examples that are only simulated, in eleven buckets. Arithmetic is the "
                "time of an example at the largest count, times the examples."),
    "seek": ("Seek against examples", "examples", "µs",
             "The draws of a step somewhere within 10¹² steps. It should not grow, as a draw is computed from its number, but the "
             "tables that it reads do, and leave the caches."),
    "memory": ("Memory of a rank against ranks", "ranks", "MB",
               "The `small` model, its optimizer's state sharded: the most that was resident of rank 0, and the bytes that the plan counts "
               "([terms](../docs/scaling.md#memory-of-a-rank))."),
}
MEASURE_PEAK = """
import os, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1] + os.environ.get("OMPI_COMM_WORLD_RANK", "0"), "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
sys.exit(code)
"""


class Steps:
    """Training steps of one model, whose parts are made once."""

    def __init__(self, work: Path, name: str, size: str, side: int, widths: int = 1):
        self.work, self.model, self.store = work / name, work / f"{size}-{widths}", work / f"{size}-{widths}-{side}"
        self.work.mkdir(exist_ok=True)
        if not (self.model / "model_index.json").exists():
            shutil.rmtree(self.model, ignore_errors=True)
            channels, *others = SIZES[size]
            SIZES["widened"] = (tuple(c * widths for c in channels), *others)
            make_model("widened", self.model)
        if not (self.store / "store.json").exists():
            for folder in (self.store, self.work / "images"):
                shutil.rmtree(folder, ignore_errors=True)
            make_images(self.work / "images", [(side, side)] * 16)
            run(PROGRAM, "prepare", self.work / "images", "--out", self.store, "--model", self.model, "--resolution", side)
        (self.work / "run.toml").write_text(RUN_FILE.format(model=self.model, store=self.store))

    def command(self, *settings) -> list:
        shutil.rmtree(self.work / "run", ignore_errors=True)
        return [PROGRAM, "train", self.work / "run.toml", "--out", self.work / "run", *(f"--set={one}" for one in settings)]

    def records(self) -> list[dict]:
        return [json.loads(line) for line in (self.work / "run/log.jsonl").read_text().splitlines()]

    def seconds(self, ranks: int, steps: int, batch: int, micro_batch: int) -> tuple[float, float]:
        """Of a step, and its operations."""
        run(*(mpirun(ranks) if ranks > 1 else []), *self.command(f"train.steps={WARMUP + steps}", f"train.global_batch={batch}",
                                                                  f"train.micro_batch={micro_batch}"))
        log = self.records()[WARMUP:]
        return statistics.median(record["seconds"] for record in log), log[-1]["flops"]


def step_curve(ways: dict, rounds: int, cores=lambda x: 1) -> dict:
    """`ways`: x → a function that returns seconds and operations of a step. `cores`: how many compute at x."""
    taken = take_turns({**{str(x): way for x, way in ways.items()},
                        "core": lambda: run_for_json(*python(PEERS / "matrix_rate.py"))["gflops"] * 1e9}, rounds)
    rate = statistics.median(taken["core"])
    points = [(x, statistics.median(seconds for seconds, _ in taken[str(x)])) for x in ways]
    return {"points": points, "arithmetic": [(x, taken[str(x)][0][1] / rate / cores(x)) for x in ways], "gflops_of_a_core": round(rate / 1e9, 1)}


def batch_curve(o) -> dict:
    steps = Steps(o.work, "batch", "small", 256)
    return step_curve({b: lambda b=b: steps.seconds(1, o.steps, b, b) for b in BATCHES}, o.rounds)


def resolution_curve(o) -> dict:
    sides = {side: Steps(o.work, f"side-{side}", "small", side) for side in SIDES}
    return step_curve({side: lambda s=steps: s.seconds(1, o.steps, 1, 1) for side, steps in sides.items()}, o.rounds)


def parameters_curve(o) -> dict:
    models = [Steps(o.work, f"width-{w}", "tiny", SIZES["tiny"][-1] * DOWNSCALE, w) for w in WIDTHS]
    return step_curve({parameters(m.model): lambda m=m: m.seconds(1, o.steps, 4, 4) for m in models}, o.rounds)


def ranks_curve(o) -> dict:
    steps = Steps(o.work, "ranks", "tiny", SIZES["tiny"][-1] * DOWNSCALE, 2)
    return step_curve({ranks: lambda ranks=ranks: steps.seconds(ranks, 2 * o.steps, GLOBAL_BATCH, 1) for ranks in RANKS}, o.rounds,
                      lambda ranks: min(ranks, os.cpu_count()))


def counts_up_to(most: int) -> list[int]:
    return [10**power for power in range(3, 10) if 10**power <= most]


def start_curve(o) -> dict:
    """Opening what large_store.py writes."""
    points, reading = [], []
    for examples in counts_up_to(o.examples):
        store = o.work / f"store-{examples}"
        if not (store / "store.json").exists():
            shutil.rmtree(store, ignore_errors=True)
            write_store(store, examples)
        bench = ROOT / "build/bench/loader_bench"
        points.append((examples, statistics.median(float(run(bench, "open", store).stdout) for _ in range(o.rounds))))
        reading.append((examples, statistics.median(sum(map(machine.seconds_to_read, store.glob("shard-*.h5"))) for _ in range(o.rounds))))
    return {"points": points, "arithmetic": reading}


def sampler_curves(o) -> tuple[dict, dict]:
    counts = counts_up_to(o.examples)
    taken = take_turns({str(n): lambda n=n: run_for_json(ROOT / "build/bench/sampler_bench", n) for n in counts}, o.rounds)

    def median(key):
        return [(n, statistics.median(one[key] for one in taken[str(n)])) for n in counts]

    start, seek = median("start_seconds"), [(n, 1e6 * s) for n, s in median("seek_seconds_median")]
    return ({"points": start, "arithmetic": [(n, start[-1][1] * n / counts[-1]) for n in counts]},
            {"points": seek, "arithmetic": [(n, seek[0][1]) for n in counts]})


def memory_curve(o) -> dict:
    steps, points = Steps(o.work, "memory", "small", 256), []
    settings = (f"train.steps={WARMUP}", f"train.global_batch={GLOBAL_BATCH}", "train.micro_batch=1", "optimizer.shard=true")
    for ranks in RANKS:
        command = steps.command(*settings)
        run(*(mpirun(ranks) if ranks > 1 else []), sys.executable, "-c", MEASURE_PEAK, steps.work / "peak-", *command)
        points.append((ranks, int((steps.work / "peak-0").read_text()) / 1e6))
    planned = json.loads(run(PROGRAM, "plan", steps.work / "run.toml", *(f"--set={one}" for one in settings), "--ranks",
                             ",".join(map(str, RANKS)), "--link", "25GB/s", "--json").stdout)["scaling"]["rows"]
    return {"points": points, "arithmetic": [(row["ranks"], row["memory"]["peak"] / 1e6) for row in planned]}


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def share(curve: dict, i: int) -> str:
    return f"{curve['arithmetic'][i][1] / curve['points'][i][1]:.0%}"


def section(name: str, curve: dict, result: dict) -> str:
    title, x_label, y_label, why = ABOUT[name]
    chart = ROOT / f"docs/images/growth-{name}.svg"
    line_chart(chart, title, x_label, y_label, [{"name": "measured", "points": curve["points"], "marks": True},
                                               {"name": "arithmetic", "points": curve["arithmetic"], "dashed": True}], log_x=True, log_y=True)
    why = why.format(first_x=shown(curve["points"][0][0]), last_x=shown(curve["points"][-1][0]), first_share=share(curve, 0),
                     last_share=share(curve, -1), cores=result["cores"])
    rows = "".join(f"| {x:,} | {shown(y)} | {shown(a)} | {a / y:.0%} |\n" for (x, y), (_, a) in zip(curve["points"], curve["arithmetic"]))
    return (f"\n## {title}\n\n{wrapped(why)}\n\n![{title}](../docs/images/growth-{name}.svg)\n\n"
            f"| {x_label} | {y_label} | arithmetic | arithmetic / measured |\n|---:|---:|---:|---:|\n{rows}")


def wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def page(result: dict) -> str:
    rates = [curve["gflops_of_a_core"] for curve in result["curves"].values() if "gflops_of_a_core" in curve]
    about = (f"`bench/growth.py` wrote this page, its charts, and [its result](results/growth.json), on {result['cores']} cores with "
             f"{', '.join(result['instruction_sets'])}, while other programs used {result['cores_used_by_others']} cores"
             + (f". torch.mm reached {min(rates):.0f} to {max(rates):.0f} GFLOP/s on a core" if rates else "")
             + ". Both axes are logarithmic. Comparisons with other programs are in [RESULTS.md](RESULTS.md).")
    return f"# Cost as work grows\n\n{wrapped(about)}\n" + "".join(section(name, curve, result) for name, curve in result["curves"].items())


def main():
    def more(parser):
        parser.add_argument("--steps", type=int, default=6)
        parser.add_argument("--examples", type=int, default=10_000_000)
        parser.add_argument("--only", type=lambda text: text.split(","), default=list(ABOUT))
    options = arguments(__doc__, 3, more)
    curves = {}
    for name, curve in (("batch", batch_curve), ("resolution", resolution_curve), ("parameters", parameters_curve), ("ranks", ranks_curve),
                        ("start", start_curve), ("memory", memory_curve)):
        if name in options.only:
            curves[name] = curve(options)
    if {"sampler", "seek"} & set(options.only):
        curves["sampler"], curves["seek"] = sampler_curves(options)
    result = {**machine.describe(), "benchmark": "growth", "rounds": options.rounds,
              "curves": {name: curves[name] for name in ABOUT if name in curves}}
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
        PAGE.write_text(page(result))


if __name__ == "__main__":
    main()
