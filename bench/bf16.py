"""Does bf16 learn what fp32 learns? The demo's run file from the same base, for the same draws, in both; their losses and the loss of images
that neither is shown, as figures and as a chart.

    bf16.py KESSOKU WORK_FOLDER [--steps 400] [--draw] [--out RESULT.json] [--chart CHART.svg]

The schedule is the demo's, shortened to so many steps. The same command goes on where it was stopped; --draw only looks at the steps that
both have taken so far.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from chart import line_chart

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = ("fp32", "bf16")
SMOOTHED = 25  # steps


def make_inputs(kessoku: Path, work: Path) -> None:
    if not (work / "data/dataset.json").exists():
        subprocess.run([sys.executable, ROOT / "scripts/make_demo_data.py", work / "data"], check=True)
    if not (work / "base").exists():
        shutil.copytree(ROOT / "models/demo-base", work / "base")
        shutil.copytree(ROOT / "models/clip-tokenizer", work / "base/tokenizer")
    if not (work / "store/store.json").exists():
        subprocess.run([kessoku, "prepare", work / "data", "--out", work / "store", "--model", work / "base", "--resolution", "64",
                        "--keep", "moments"], check=True, stdout=subprocess.DEVNULL)


def start(kessoku: Path, work: Path, precision: str, steps: int) -> subprocess.Popen:
    keys = {"model.path": work / "base", "data.store": work / "store", "train.steps": steps, "train.precision": precision,
            "train.threads": max(1, os.cpu_count() // 2), "optimizer.warmup_steps": steps // 10, "validation.fraction": 0.05,
            "validation.every_steps": steps // 10, "sample.every_steps": 0, "checkpoint.every_minutes": 0.5, "checkpoint.keep": 1,
            "metrics.port": -1}
    return subprocess.Popen([kessoku, "train", ROOT / "configs/demo.toml", "--out", work / precision,
                             *(word for key, value in keys.items() for word in ("--set", f"{key}={value}"))], stderr=subprocess.DEVNULL)


def smoothed(losses: list[float]) -> list[tuple[int, float]]:
    return [(i + SMOOTHED // 2, sum(losses[i:i + SMOOTHED]) / SMOOTHED) for i in range(0, len(losses) - SMOOTHED + 1, SMOOTHED // 5)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kessoku", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--chart", type=Path)
    arguments = parser.parse_args()
    kessoku, work = arguments.kessoku.resolve(), arguments.work.resolve()
    if not arguments.draw:
        work.mkdir(parents=True, exist_ok=True)
        make_inputs(kessoku, work)
        started = [start(kessoku, work, precision, arguments.steps) for precision in PRECISIONS]
        codes = [process.wait() for process in started]
        if codes != [0, 0]:
            raise SystemExit(f"exit codes {codes}")

    logs = {precision: [json.loads(line) for line in (work / precision / "log.jsonl").read_text().splitlines()] for precision in PRECISIONS}
    steps = min(map(len, logs.values()))
    result, losses, series = {"steps": steps, "of_a_schedule_of": arguments.steps, "smoothed_over": SMOOTHED}, {}, []
    for color, precision in enumerate(PRECISIONS):
        log = logs[precision][:steps]
        losses[precision] = [record["loss"] for record in log]
        validation = [(record["step"], record["validation_loss"]) for record in log if record.get("validation_loss") is not None]
        result[precision] = {"validation": validation, "last_losses_mean": sum(losses[precision][-50:]) / 50}
        series.append({"name": f"{precision}, training", "points": smoothed(losses[precision]), "color": color, "dashed": precision == "bf16"})
        series.append({"name": f"{precision}, held out", "points": validation, "color": color + 2, "dashed": precision == "bf16", "marks": True})
    off = [b / a - 1 for a, b in zip(losses["fp32"], losses["bf16"], strict=True)]
    held = [b / a - 1 for (_, a), (_, b) in zip(result["fp32"]["validation"], result["bf16"]["validation"], strict=True)]
    result |= {"training_loss_off": {"mean": sum(off) / len(off), "largest": max(off, key=abs)},
               "validation_loss_off": {"at_the_end": held[-1], "largest": max(held, key=abs)}}
    series.append({"name": "50 x (bf16 - fp32)", "color": 4,
                   "points": [(x, 50 * (b - a)) for (x, a), (_, b) in zip(smoothed(losses["fp32"]), smoothed(losses["bf16"]), strict=True)]})
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.chart:
        line_chart(arguments.chart, "The demo in fp32 and in bf16", "step", f"loss (training: mean of {SMOOTHED} steps)", series)


if __name__ == "__main__":
    main()
