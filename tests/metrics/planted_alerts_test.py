"""The alerts under a real Prometheus that scrapes a real run of two ranks: each fires once its fault is planted, and none without one.

    planted_alerts_test.py KESSOKU WORK_FOLDER [TESTS...]

So that a test does not take hours, all durations of the rules, and the intervals of scrapes and evaluations with them, are divided by SHORTER; the
expressions are the project's. A clean run is watched by the rules as they are.

KESSOKU_CLEAN_SECONDS: how long the clean run is watched (60). Exit code 77 (skipped) with the reason where no file system may be mounted.
"""
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
import own_mounts  # noqa: F401
from harness import (DEADLINE, ENDLESS, PROGRAM, ROOT, WORK, flip_untrained_bit, last_step, make_inputs, mpirun_of, ranks_of, run_tests, set_all,
                     start, wait_for)
from prometheus import Prometheus, replaced, stop

DISK = WORK / "disk"
ALERTS = ROOT / "metrics/alerts.yml"
SHORTER = 30
INTERVAL = 15 / SHORTER  # seconds
RESOLUTION = 0.1  # of the times that are looked up afterwards
SHIM = os.environ.get("KESSOKU_FAULT_SHIM") or PROGRAM.parent / "tests/data/libfault_shim.so"
UNITS = {"h": 3600, "m": 60, "s": 1}


def milliseconds(seconds):
    return f"{round(1000 * seconds / SHORTER)}ms"


def shortened(rules):
    """`for: 5m`, `[30m:15s]`, and what is written in seconds."""
    rules = re.sub(r"(?<=[ \[:])(\d+)([hms])(?=[\s:\]])", lambda found: milliseconds(int(found[1]) * UNITS[found[2]]), rules)
    return replaced(rules, "> 300 +", f"> {300 / SHORTER} +")


def fill_disk():
    with open(DISK / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass


def starts(run):
    return (run / "account.jsonl").read_text().count('"event":"start"')


class Slowed:
    """A process that is stopped for four fifths of the time."""

    def __init__(self, process):
        self.process, self.ended = process, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ended.is_set():
            os.kill(self.process, signal.SIGSTOP)
            time.sleep(0.04)
            os.kill(self.process, signal.SIGCONT)
            self.ended.wait(0.01)

    def end(self):
        self.ended.set()
        self.thread.join()


class PlantedFaults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.rules = WORK / "alerts.yml"
        cls.rules.write_text(shortened(ALERTS.read_text()))

    def setUp(self):
        DISK.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "none", DISK], check=True)  # a checkpoint takes 120
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(DISK)])
        self.name = self._testMethodName.removeprefix("test_")
        self.watching = self.prometheus(self.name, self.rules, f"{round(1000 * INTERVAL)}ms")

    def prometheus(self, name, rules, interval):
        watching = Prometheus(WORK / name, interval, rules)
        self.addCleanup(watching.close)
        return watching

    def launch(self, *arguments, environment={}, **settings):
        words = set_all({"metrics.file_sd": f"'{self.watching.targets}/{self.name}.json'", "name": f"'{self.name}'", "checkpoint.every_steps": 20,
                         "checkpoint.keep": 1} | settings)
        command = [PROGRAM, "launch", "-n", "2", self.run_file, "--out", DISK / self.name, *ENDLESS, *words, *arguments]
        process = start(command, WORK / f"{self.name}.err", environment=environment)
        self.addCleanup(stop, process)
        return DISK / self.name, process

    def settle(self, steps=60):
        """Waits until Prometheus has seen so many steps, and checkpoints; no alert fires. The fault follows."""
        wait_for(lambda: (self.watching.value('kessoku_steps_total{rank="0"}') or 0) >= steps, f"{steps} steps", pause=0.2)
        wait_for(lambda: self.watching.value('kessoku_checkpoints_total{result="written"}'), "a checkpoint", pause=0.2)
        self.assertEqual(self.fired(self.watching), {})
        self.planted = time.time()

    def fired(self, watching):
        """When each alert that has fired since Prometheus was started did so first."""
        found = {}
        for series in watching.get("query", query=f'ALERTS{{alertstate="firing"}}[{DEADLINE * 10}s]')["result"]:
            began, name = series["values"][0][0], series["metric"]["alertname"]
            found[name] = min(float(began), found.get(name, float("inf")))
        return found

    def expect(self, *names, besides=()):
        """`besides`: what else may fire, since the fault leads to it."""
        wait_for(lambda: self.fired(self.watching).keys() >= set(names), f"alerts {names}", pause=0.2)
        fired = self.fired(self.watching)
        self.assertLessEqual(fired.keys(), {*names, *besides})
        rules = {rule["name"]: rule for group in self.watching.get("rules")["groups"] for rule in group["rules"]}
        for name in names:
            bound = self.first_true(rules[name]["query"], fired[name]) + rules[name]["duration"]
            print(f"{self.name}: {name} fired {fired[name] - self.planted:.1f} s after the fault, {fired[name] - bound:.1f} s after its bound", flush=True)
            self.assertLessEqual(fired[name], bound + 2 * INTERVAL + RESOLUTION)

    def first_true(self, expression, end):
        """The time from which on the expression holds, until `end`."""
        begin = end - math.ceil((end - self.planted + 10) / RESOLUTION) * RESOLUTION  # the steps end with the evaluation that fired
        steps = self.watching.get("query_range", query=expression, start=begin, end=end, step=RESOLUTION)["result"]
        times = {round((float(at) - begin) / RESOLUTION) for series in steps for at, _ in series["values"]}
        at = round((end - begin) / RESOLUTION)
        while at > 0 and at not in times:  # by less than a millisecond
            at -= 1
        self.assertGreater(at, 0, expression)
        while at - 1 in times:
            at -= 1
        return begin + at * RESOLUTION

    def test_a_stopped_rank(self):
        _, process = self.launch()
        self.settle()
        rank = ranks_of(mpirun_of(process.pid))[1]
        os.kill(rank, signal.SIGSTOP)
        self.addCleanup(os.kill, rank, signal.SIGCONT)
        self.expect("KessokuNoStep", "KessokuRankMissing", besides=["KessokuCheckpointTooOld"])

    def test_a_slow_rank(self):
        _, process = self.launch()
        self.settle()
        slowed = Slowed(ranks_of(mpirun_of(process.pid))[1])
        self.addCleanup(slowed.end)
        self.expect("KessokuSlowRank", besides=["KessokuGoodputLow"])
        self.assertEqual({labels["rank"] for labels, _ in self.watching.query('ALERTS{alertname="KessokuSlowRank",alertstate="firing"}')}, {"1"})

    def test_a_loader_that_stalls(self):
        slow = WORK / "slow-disk"
        self.launch(environment={"LD_PRELOAD": str(SHIM), "FAULT_SLOW": str(slow)}, **{"data.threads": 1, "data.prefetch": 1})
        self.settle()
        slow.touch()
        self.expect("KessokuDataStarvation", besides=["KessokuGoodputLow"])

    def test_a_full_disk(self):
        self.launch()
        self.settle()
        fill_disk()
        self.expect("KessokuCheckpointFailed", "KessokuDiskNearlyFull", besides=["KessokuCheckpointTooOld"])

    def test_a_learning_rate_that_diverges(self):
        """Of the last layer alone: its loss is a parabola of the weights, so that it stays some hundred times as high, and finite."""
        others = [f"unet.{part}.*" for part in ("conv_in", "time_embedding", "down_blocks", "mid_block", "up_blocks", "conv_norm_out")]
        frozen = {"optimizer.freeze": ["text_encoder.*", *others]}
        _, process = self.launch(**frozen)
        self.settle(300)
        stop(process)
        self.launch(**frozen, **{"optimizer.lr": 0.5})
        between = ["KessokuRunEnded", "KessokuRankMissing", "KessokuNoStep", "KessokuCheckpointTooOld"]  # the two runs: a start takes seconds
        self.expect("KessokuLossHigh", besides=between)

    def test_a_rank_that_is_killed_again_and_again(self):
        run, process = self.launch("--backoff", "0.1")
        self.settle()
        for kills in range(1, 4):
            reached = last_step(run)
            os.kill(ranks_of(mpirun_of(process.pid))[1], signal.SIGKILL)
            wait_for(lambda: starts(run) > kills and last_step(run) > reached + 5, "steps after the restart")  # launch may have seen some more than we
        self.expect("KessokuRestarts", besides=["KessokuRankMissing", "KessokuGoodputLow"])

    def test_damaged_weights(self):
        _, process = self.launch("--backoff", "0.1", **{"verify.every_steps": 5, "optimizer.freeze": ["unet.conv_in.*"]})
        self.settle()
        flip_untrained_bit(self, self.model, ranks_of(mpirun_of(process.pid))[1])
        self.expect("KessokuWrongBits", besides=["KessokuRankMissing", "KessokuGoodputLow"])

    def test_none(self):
        self.watching = self.prometheus("none-15s", ALERTS, "15s")
        self.launch()
        self.settle()
        time.sleep(float(os.environ.get("KESSOKU_CLEAN_SECONDS", 60)))
        self.assertEqual(self.fired(self.watching), {})


if __name__ == "__main__":
    run_tests()
