"""Ranks that hang, and ranks that did not start alike.

    hang_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import json
import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import (DEADLINE, ENDLESS, ENVIRONMENT, PROGRAM, WORK, command, kessoku, last_step, make_inputs, processes_with, ranks_of,
                     run_tests, start, wait_for)

TIMEOUT = 10  # seconds; an exchange takes less on a machine that is slow or busy, too


class Hang(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()

    def start(self, name, *settings, ranks=2, environment={}):
        run = WORK / name
        started = start(command("train", self.run_file, "--out", run, *ENDLESS, "--set", f"communication.timeout_seconds={TIMEOUT}", *settings,
                                ranks=ranks), WORK / f"{name}.err", environment)
        self.addCleanup(started.kill)
        self.wait_for_step(run, started, 2)
        return run, started

    def wait_for_step(self, run, started, step):
        def reached():
            self.assertIsNone(started.poll(), self.said(run))
            return last_step(run) >= step
        wait_for(reached, f"step {step}")

    def said(self, run):
        return (WORK / f"{run.name}.err").read_text()

    def test_a_stopped_rank_ends_the_run_with_76_and_is_named(self):
        run, started = self.start("stopped")
        os.kill(ranks_of(started.pid)[1], signal.SIGSTOP)
        self.assertEqual(started.wait(DEADLINE), 76, self.said(run))
        self.assertIn("rank 1 says nothing", self.said(run))
        report = json.loads((run / "watchdog" / "rank-00000.json").read_text())
        self.assertEqual(report["last_done"] + 1, next(o["number"] for o in report["operations"] if "done" not in o))

    def test_ranks_of_several_hosts_end_with_one_that_stops_or_dies(self):
        """Wherever in the two levels of an exchange they are: three ranks on a host, one on another."""
        for name, lost, signal_number, code in (("stops", 1, signal.SIGSTOP, 76), ("dies", 2, signal.SIGKILL, None),
                                                ("dies-alone", 3, signal.SIGKILL, None)):
            with self.subTest(name):
                run, started = self.start(name, "--set", "communication.wire=bf16", "--set", "train.micro_batch=1", ranks=4,
                                          environment={"KESSOKU_RANKS_PER_HOST": "3,1"})
                ranks = ranks_of(started.pid)
                os.kill(ranks[lost], signal_number)
                ended = started.wait(DEADLINE)
                if code:
                    self.assertEqual(ended, code, self.said(run))
                    self.assertIn(f"rank {lost} says nothing", self.said(run))
                self.assertNotEqual(ended, 0)
                wait_for(lambda: not processes_with(f"--out {run} "), "the end of all ranks")

    def test_a_pause_of_all_ranks_is_no_hang(self):
        run, started = self.start("paused")
        ranks = ranks_of(started.pid)
        for process in ranks.values():
            os.kill(process, signal.SIGSTOP)
        with self.assertRaises(subprocess.TimeoutExpired):
            started.wait(TIMEOUT + 3)
        for process in ranks.values():
            os.kill(process, signal.SIGCONT)
        self.wait_for_step(run, started, last_step(run) + 5)
        started.send_signal(signal.SIGUSR1)
        self.assertEqual(started.wait(DEADLINE), 75, self.said(run))

    def test_ranks_that_do_not_start_alike_are_named(self):
        other = WORK / "other"
        kessoku("init", "--preset", "tiny", "--seed", 9, other, "--tokenizer", self.model / "tokenizer")
        weights = "unet/diffusion_pytorch_model.safetensors"
        mixed = WORK / "mixed"
        subprocess.run(["cp", "-r", self.model, mixed], check=True)
        subprocess.run(["cp", other / weights, mixed / weights], check=True)
        for name, setting, expected in (("lr", "optimizer.lr=0.5", "the run file or --set"),
                                        ("model", f"model.path={mixed}", "the run file or --set")):
            alike = [str(PROGRAM), "train", str(self.run_file), "--out", str(WORK / name)]
            done = subprocess.run(["mpirun", "--oversubscribe", "--bind-to", "none", "-n", "1", *alike, ":", "-n", "1", *alike,
                                   "--set", setting], capture_output=True, text=True, env=ENVIRONMENT, timeout=DEADLINE)
            self.assertEqual(done.returncode, 64, done.stderr)
            self.assertIn("rank 1 on ", done.stderr)
            self.assertIn(expected, done.stderr)


if __name__ == "__main__":
    run_tests()
