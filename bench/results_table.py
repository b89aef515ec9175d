"""Writes RESULTS.md from results/*.json: what was measured against whom, how it stands to its goal, and on what.

    results_table.py [--check]

With --check nothing is written; the exit code is 1 if RESULTS.md is not what it would write.
"""
import json
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER / "RESULTS.md"
INTRODUCTION = """# Benchmarks

`scripts/bench.sh [NAME…]` runs the comparisons below and writes this page from
[their results](results); `scripts/bench.sh --list` lists them. No figure is entered by hand.

Each comparison first checks that both programs compute the same. Then they take turns, never both
at once, so that whatever else the machine does meets both; a turn that other programs disturb is
repeated, within limits. Figures are medians of the turns. The ratio says how many times better
Kessoku is (above 1: faster, or less memory): the median of the turns' ratios, with the lowest and
the highest. Compare ratios; seconds hold for one machine.

"Not reached" means that the median misses the goal, "not measured" that there is no result yet.
"""
MEASURED_ON = """
## Measured on

"Busy" is how many cores other programs used from the comparison's begin to its end, in the mean,
repeated turns included: where it is more than some tenths, figures are rough.

| comparison | cores, instruction sets | busy | versions | both compute the same |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """`field` is what the goal is about: ratio, ours or value; `unit` that of the last two. Goals of some processors alone have a
    `processor`."""
    result: str
    measure: str
    what: str
    against: str
    goal: float | None
    field: str = "ratio"
    unit: str = ""
    at_most: bool = False
    processor: str = ""  # "AMX", "no AMX"


DDP = "diffusers + DDP (gloo), fused AdamW"
SD15 = "SD 1.5, 512 px"
ROWS = (
    Row("step_small", "step", "training step with text encoder, `small` (51 M parameters), 2 ranks × 1 thread, batch 4 a rank, fp32", DDP, 1.5),
    Row("step_small", "share_of_products", "arithmetic of that step on a core (convolutions counted as direct ones): share of its rate in products",
        "torch.mm on one core", 0.65, "value"),
    Row("step_small_bf16", "step", "the same step in bf16, with AMX", "the faster of diffusers in fp32 and under bf16 autocast", 2.5,
        processor="AMX"),
    Row("step_small_bf16", "of_fp32", "the same step in bf16, without AMX", "Kessoku in fp32", 1.0, processor="no AMX"),
    Row("step_small_bf16", "of_autocast", "the same step in bf16", "diffusers under bf16 autocast", None),
    Row("step_tiny", "step", "training step, `tiny` (9 M parameters), 2 ranks × 1 thread, batch 4 a rank, fp32", DDP, 1.6),
    Row("two_ranks", "step", "2 ranks in step, `small`, fp32", "2 unsynchronized runs", 0.97),
    Row("full_size_step", "fp32", f"training step, {SD15}, micro-batch 1, checkpointing, 2 threads, fp32", "diffusers, fused AdamW", 1.4),
    Row("full_size_step", "fp32 peak", "peak memory of that, fp32", "diffusers", 1.0),
    Row("full_size_step", "fp32 peak", "the same", "", 15, "ours", "GB", at_most=True),
    Row("full_size_step", "bf16", f"training step, {SD15}, micro-batch 1, checkpointing, 2 threads, bf16", "diffusers under bf16 autocast", 1.6),
    Row("full_size_step", "bf16 peak", "peak memory of that, bf16", "diffusers under bf16 autocast", 1.0),
    Row("full_size_step", "bf16 peak", "the same", "", 15, "ours", "GB", at_most=True),
    Row("sampling", "fp32 step", f"sampling: a step with guidance, {SD15}, 2 threads, fp32", "diffusers", 1.4),
    Row("sampling", "bf16 step", f"sampling: a step with guidance, {SD15}, 2 threads, bf16", "diffusers in bf16", 1.4),
    Row("vae_decode", "fp32", f"VAE decoder, {SD15}, 2 threads, fp32", "diffusers", 1.4),
    Row("vae_decode", "bf16", f"VAE decoder, {SD15}, 2 threads, bf16", "diffusers in bf16", 1.4),
    Row("prepare_moments", "images", f"`prepare` to moments, VAE of {SD15}, 2 cores", "diffusers' VAE + Pillow", 1.4),
    Row("ingest", "images", "`prepare` of JPEGs to images, 2 cores", "Pillow in 2 processes", 3.0),
    Row("loader", "read", "loader with checksums, 1 thread", "numpy memmap", 1.0),
    Row("loader", "everything", "whole loader (latents in fp32, noise, timesteps, captions), 2 threads", "itself before: 7,141 samples/s", 5.0),
    Row("sampler", "1000000 ready", "sampler ready for 10⁶ examples", "torch's `WeightedRandomSampler`", 1.0),
    Row("sampler", "1000000 drawn", "the same, until 10⁶ are drawn", "torch's `WeightedRandomSampler`", None),
    Row("sampler", "1000000000 ready", "sampler ready for 10⁹ examples", "", 15, "value", "s", at_most=True),
    Row("checkpoint", "stall", "stall of training for a checkpoint, 2 ranks", "one memory copy", 1.0),
    Row("checkpoint", "write", "writing a checkpoint, 2 ranks", "raw sequential write + fsync", 0.9),
    Row("first_step", "first", "from mpirun to the first step, `tiny`, 2 ranks", "torchrun + DDP", 3.0),
    Row("demo", "minutes", "the demo, from a bare clone", "", 12, "value", "min", at_most=True),
    Row("demo", "singles", "its single characters recognized, of 96", "", 90, "value"),
    Row("demo", "pairs", "its pairs recognized, of 48", "", 36, "value"),
)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def figure(summary: dict | None, unit: str) -> str:
    return f"{number(summary['median'])} {unit}".strip() if summary else ""


def spread(summary: dict | None, sign: str) -> str:
    if not summary:
        return ""
    low, high = (f"{summary[key]:.2f}" for key in ("low", "high"))
    return f"{summary['median']:.2f}{sign}" + (f" ({low}–{high})" if summary["rounds"] > 1 else "")


def applies(row: Row, result: dict) -> bool:
    has_amx = any(name.startswith("amx") for name in result.get("instruction_sets", []))
    return row.processor in ("", "AMX" if has_amx else "no AMX")


def state(row: Row, result: dict | None, measure: dict | None) -> str:
    if result is not None and not applies(row, result):
        return "not on this processor"
    if measure is None or measure.get(row.field) is None:
        return "not measured"
    if row.goal is None:
        return ""
    median = measure[row.field]["median"]
    return "reached" if (median <= row.goal if row.at_most else median >= row.goal) else "**not reached**"


def goal(row: Row) -> str:
    if row.goal is None:
        return ""
    if row.field == "ratio":
        return f"{row.goal:g} ×"
    return f"{'≤' if row.at_most else '≥'} {row.goal:g} {row.unit}".strip()


def line(row: Row, results: dict) -> str:
    result = results.get(row.result)
    measure = (result or {}).get("measures", {}).get(row.measure)
    found = state(row, result, measure)
    unit = (measure or {}).get("unit", "")
    shown = measure if found not in ("not measured", "not on this processor") else {}
    ratio = row.field == "ratio"
    cells = (row.what, row.against, figure(shown.get("ours") or shown.get("value"), unit), figure(shown.get("theirs"), unit) if ratio else "",
             spread(shown.get("ratio"), " ×") if ratio else "", goal(row), found, f"`{row.result}`")
    return "| " + " | ".join(cells) + " |\n"


def origin(name: str, result: dict) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in result.get("versions", {}).items()) or "not recorded"
    cores = result.get("cores", "")
    sets = ", ".join(result.get("instruction_sets", [])) or "not recorded"
    busy = result.get("cores_used_by_others", "not recorded")
    return f"| `{name}` | {cores}{': ' if cores else ''}{sets} | {busy} | {versions} | {result.get('checked', 'not recorded')} |\n"


def page(folder: Path = FOLDER / "results") -> str:
    results = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    names = list(dict.fromkeys(row.result for row in ROWS))
    table = "\n| what | against | Kessoku | peer | ratio | goal | | comparison |\n|---|---|---|---|---|---|---|---|\n"
    return (INTRODUCTION + table + "".join(line(row, results) for row in ROWS) + MEASURED_ON +
            "".join(origin(name, results[name]) for name in names if "measures" in results.get(name, {})))


def main() -> int:
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text() != page())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
