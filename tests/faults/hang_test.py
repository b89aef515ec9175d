"""Ranks that hang, and ranks that did not start alike.

    hang_test.py KESSOKU WORK_FOLDER
"""
import json
import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import ENVIRONMENT, PROGRAM, WORK, command, kessoku, log_of, make_inputs, ranks_of, wait_for


class HangTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()

    def start(self, name, *arguments):
        run = WORK / name
        started = subprocess.Popen(command("train", self.run_file, "--out", run, "--set", "train.steps=100000", *arguments, ranks=2),
                                   stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        self.addCleanup(started.stderr.close)
        self.addCleanup(started.kill)

        def second_step():
            self.assertIsNone(started.poll())
            return (run / "log.jsonl").exists() and len(log_of(run)) >= 2

        wait_for(second_step, "the second step")
        return run, started

    def test_a_stopped_rank_ends_the_run_with_76_and_is_named(self):
        run, started = self.start("stopped", "--set", "communication.timeout_seconds=3")
        os.kill(ranks_of(started.pid)[1], signal.SIGSTOP)
        errors = started.communicate(timeout=60)[1]
        self.assertEqual(started.returncode, 76, errors)
        self.assertIn("rank 1 says nothing", errors)
        report = json.loads((run / "watchdog" / "rank-00000.json").read_text())
        self.assertEqual(report["last_done"] + 1, next(o["number"] for o in report["operations"] if "done" not in o))

    def test_a_pause_of_all_ranks_is_no_hang(self):
        run, started = self.start("paused", "--set", "communication.timeout_seconds=3")
        ranks = ranks_of(started.pid)
        for process in ranks.values():
            os.kill(process, signal.SIGSTOP)
        with self.assertRaises(subprocess.TimeoutExpired):
            started.wait(8)
        for process in ranks.values():
            os.kill(process, signal.SIGCONT)
        steps = len(log_of(run))
        wait_for(lambda: len(log_of(run)) > steps + 5, "five more steps")
        started.send_signal(signal.SIGUSR1)
        self.assertEqual(started.wait(60), 75)

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
                                   "--set", setting], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
            self.assertEqual(done.returncode, 64, done.stderr)
            self.assertIn("rank 1 on ", done.stderr)
            self.assertIn(expected, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
