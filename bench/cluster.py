"""Training over four emulated hosts (scripts/cluster_emulation.sh): what a step takes at several bandwidths, with gradients in fp32 and
bf16 on the wire, with and without overlap; and what `kessoku plan --ranks 4` says it should take.

    cluster.py KESSOKU WORK_FOLDER [--steps 8] [--rates 250mbit,500mbit,1gbit,2gbit] [--out RESULT.json] [--chart CHART.svg]

The demo's model and data, one thread a rank. The plan is told what computing takes (by a run over the same hosts whose links are as fast
as this machine makes them, without overlap) and the bandwidth and latency that a stream and a ping between two hosts
see; wire, overlap and bandwidth are up to its model. As a check of what it measures by itself, the plan's own steps are compared with those
of one and two ranks without a network, too.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from chart import line_chart

ROOT = Path(__file__).resolve().parents[1]
EMULATION = ROOT / "scripts/cluster_emulation.sh"
HOSTS, WARM_UP = 4, 2
WAYS = [("fp32", True), ("fp32", False), ("bf16", True), ("bf16", False)]
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def run(*command, **options) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=ENVIRONMENT, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def make_inputs(kessoku: Path, work: Path) -> None:
    if not (work / "data/dataset.json").exists():
        run(sys.executable, ROOT / "scripts/make_demo_data.py", work / "data")
    if not (work / "base").exists():
        shutil.copytree(ROOT / "models/demo-base", work / "base")
        shutil.copytree(ROOT / "models/clip-tokenizer", work / "base/tokenizer")
    run(kessoku, "prepare", work / "data", "--out", work / "store", "--model", work / "base", "--resolution", 64, "--keep", "moments")


def settings(work: Path, steps: int, **more) -> list[str]:
    keys = {"model.path": work / "base", "data.store": work / "store", "train.steps": steps, "train.threads": 1, "sample.every_steps": 0,
            "checkpoint.every_steps": 0, "checkpoint.every_minutes": 0, "metrics.port": -1, "communication.bucket_mb": 2} | more
    return [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]


def way(wire: str, overlap: bool) -> dict:
    return {"communication.wire": wire, "communication.overlap": str(overlap).lower()}


def medians(folder: Path) -> dict:
    """Seconds of a step, and of its phases, without the first ones."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()][WARM_UP:]
    result = {phase: statistics.median(record["phases"][phase] for record in log)
              for phase in ("forward", "backward", "communication", "optimizer")}
    return result | {"seconds": statistics.median(record["seconds"] for record in log)}


def on_cluster(rate: str | None, script: str) -> str:
    return run(EMULATION, "--hosts", HOSTS, *(["--rate", rate] if rate else []), "bash", "-c", script, timeout=300)


def over_hosts(*command) -> str:
    hosts = ",".join(f"node{i + 1}:1" for i in range(HOSTS))
    return " ".join(map(str, ["mpirun --bind-to none --host", hosts, *command]))


def probe(kessoku: Path, rate: str | None) -> tuple[float, float]:
    """Bytes a second and seconds a message that fit the collectives best."""
    said = json.loads(on_cluster(rate, over_hosts(kessoku.parent / "bench/collectives_bench")))
    return said["bytes_per_second"], said["latency_seconds"]


def train(kessoku: Path, work: Path, rate: str | None, name: str, steps: int, **more) -> dict:
    folder = work / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    on_cluster(rate, over_hosts(kessoku, "train", ROOT / "configs/demo.toml", "--out", folder, *settings(work, steps, **more)))
    return medians(folder)


def plan(kessoku: Path, work: Path, ranks: int, *arguments, **more) -> dict:
    said = run(kessoku, "plan", ROOT / "configs/demo.toml", "--ranks", ranks, "--json", *arguments, *settings(work, 100, **more))
    return json.loads(said)["scaling"]["rows"][0]


def alone(kessoku: Path, work: Path, ranks: int, steps: int) -> dict:
    """Ranks of one host, and the plan's own measure of what each computes."""
    folder = work / "runs" / f"{ranks}-alone"
    shutil.rmtree(folder, ignore_errors=True)
    mpirun = ["mpirun", "--bind-to", "none", "-n", ranks] if ranks > 1 else []
    run(*mpirun, kessoku, "train", ROOT / "configs/demo.toml", "--out", folder, *settings(work, steps, **way("fp32", False)))
    seen = medians(folder)
    planned = plan(kessoku, work, ranks, "--link", "1TB/s", "--latency", "0s", **way("fp32", False))
    computed = seen["forward"] + seen["backward"] + seen["optimizer"]
    return {"ranks": ranks, "compute_seconds": computed, "planned_seconds": planned["compute_seconds"],
            "error": planned["compute_seconds"] / computed - 1}


def measure(kessoku: Path, work: Path, rates: list[str], steps: int) -> dict:
    train(kessoku, work, None, "compute", steps, **way("fp32", False))
    rows = []
    for rate in [*rates, None]:
        bandwidth, latency = probe(kessoku, rate)
        print(f"{rate or 'no limit'}: {bandwidth / 1e6:.1f} MB/s, {latency * 1e6:.0f} us", flush=True)
        for wire, overlap in WAYS:
            seen = train(kessoku, work, rate, "measured", steps, **way(wire, overlap))
            planned = plan(kessoku, work, HOSTS, "--link", f"{bandwidth:.0f}B/s", "--latency", f"{latency * 1e6:.1f}us",
                           "--compute", work / "runs/compute", **way(wire, overlap))
            rows.append({"rate": rate, "bytes_per_second": bandwidth, "latency_seconds": latency, "wire": wire, "overlap": overlap,
                         "seconds": seen["seconds"], "exposed_seconds": seen["communication"],
                         "compute_seconds": seen["forward"] + seen["backward"] + seen["optimizer"],
                         "planned_seconds": planned["seconds"], "planned_exposed_seconds": planned["exposed_seconds"],
                         "error": planned["seconds"] / seen["seconds"] - 1})
            print(f"  {wire}, overlap {overlap}: {seen['seconds']:.3f} s a step, {seen['communication']:.3f} exposed; "
                  f"planned {planned['seconds']:.3f}, {planned['exposed_seconds']:.3f} ({rows[-1]['error']:+.1%})", flush=True)
    own = [alone(kessoku, work, ranks, steps) for ranks in (1, 2)]
    for row in own:
        print(f"{row['ranks']} ranks alone compute {row['compute_seconds']:.3f} s a step; the plan's own steps say "
              f"{row['planned_seconds']:.3f} ({row['error']:+.1%})", flush=True)
    return {"machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores", "hosts": HOSTS, "global_batch": 32,
            "steps": steps, "rows": rows, "alone": own}


def draw(result: dict, path: Path) -> None:
    series = []
    for color, (wire, overlap) in enumerate(WAYS):
        rows = [row for row in result["rows"] if (row["wire"], row["overlap"]) == (wire, overlap) and row["rate"]]
        name = f"{wire}, {'' if overlap else 'no '}overlap"
        series.append({"name": name, "points": [(row["bytes_per_second"] / 1e6, row["seconds"]) for row in rows], "color": color, "marks": True})
        series.append({"name": "… as planned", "points": [(row["bytes_per_second"] / 1e6, row["planned_seconds"]) for row in rows],
                       "color": color, "dashed": True})
    line_chart(path, "A step over four emulated hosts", "bandwidth of a host's link, MB/s", "seconds a step", series, log_x=True, y_from=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kessoku", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rates", default="250mbit,500mbit,1gbit,2gbit")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--chart", type=Path)
    arguments = parser.parse_args()
    kessoku, work = arguments.kessoku.resolve(), arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    make_inputs(kessoku, work)
    result = measure(kessoku, work, arguments.rates.split(","), arguments.steps)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.chart:
        draw(result, arguments.chart)


if __name__ == "__main__":
    main()
