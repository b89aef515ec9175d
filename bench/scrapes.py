"""What a scrape of /metrics costs training, and how long it takes: the demo's model trains on two ranks, and in every second span of the run
both ranks are scraped, far more often than Prometheus does.

    scrapes.py KESSOKU WORK_FOLDER [--spans 20] [--seconds 5] [--every 0.5] [--out RESULT.json]

Needs the demo's inputs (demo/base, demo/store; scripts/demo.sh makes them). Steps that are not wholly within a span are left out, and so are
those that write a checkpoint.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def addresses(run):
    """Of the ranks' exporters, from what a run writes for Prometheus' file_sd."""
    targets = json.loads((run / "metrics/targets.json").read_text())
    return [f"http://{address}/metrics" for group in targets for address in group["targets"]]


def scrape(urls, until, every):
    """Seconds of each scrape."""
    took = []
    while time.time() < until:
        for url in urls:
            begin = time.perf_counter()
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert b"kessoku_step" in answer.read()
            took.append(time.perf_counter() - begin)
        time.sleep(every)
    return took


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("kessoku", type=Path)
    p.add_argument("work", type=Path)
    p.add_argument("--spans", type=int, default=20)
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--every", type=float, default=0.5)
    p.add_argument("--out", type=Path)
    a = p.parse_args()
    run = a.work.resolve() / "scrapes"
    shutil.rmtree(run, ignore_errors=True)
    training = subprocess.Popen(
        ["mpirun", "--bind-to", "none", "--oversubscribe", "-n", "2", a.kessoku.resolve(), "train", ROOT / "configs/demo.toml", "--out", run,
         "--set", "metrics.port=0", "--set", "sample.every_steps=0", "--set", "train.steps=1000000", "--set", "checkpoint.every_minutes=0"],
        stderr=subprocess.DEVNULL, env=ENVIRONMENT, cwd=ROOT)
    try:
        while not (run / "log.jsonl").exists() or len((run / "log.jsonl").read_text().splitlines()) < 50:
            time.sleep(0.2)
        urls, spans, took = addresses(run), [], []
        assert len(urls) == 2, urls
        for span in range(a.spans):
            begin = time.time()
            if span % 2:
                took += scrape(urls, begin + a.seconds, a.every)
            else:
                time.sleep(a.seconds)
            spans.append((begin, time.time(), "scraped" if span % 2 else "left alone"))
    finally:
        training.send_signal(signal.SIGUSR1)
        training.wait()
    steps = {"scraped": [], "left alone": []}
    for record in map(json.loads, (run / "log.jsonl").read_text().splitlines()):
        for begin, end, kind in spans:
            if begin <= record["time"] - record["seconds"] and record["time"] <= end and record["phases"]["checkpoint"] < 1e-3:
                steps[kind].append(record["seconds"])
    medians = {kind: statistics.median(seconds) for kind, seconds in steps.items()}
    halves = [statistics.median(steps["left alone"][i::2]) for i in (0, 1)]
    result = {
        "machine": machine.describe(), "ranks": 2, "scrapes": len(took), "scrapes_a_second_and_rank": round(len(took) / 2 / (a.spans // 2 * a.seconds), 2),
        "scrape_seconds": {"median": round(statistics.median(took), 5), "longest": round(max(took), 5)},
        "steps": {kind: len(seconds) for kind, seconds in steps.items()},
        "step_seconds": {kind: round(median, 5) for kind, median in medians.items()},
        "slower": round(medians["scraped"] / medians["left alone"] - 1, 5),
        "two_halves_of_those_left_alone_differ": round(abs(halves[0] / halves[1] - 1), 5)}
    print(json.dumps(result, indent=1))
    if a.out:
        a.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
