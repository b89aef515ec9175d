"""Law 5 with everything on: killed at random moments, `kessoku train` goes on bit for bit as if it had not been; at another number of
ranks, up to the order of sums.

    resume_test.py KESSOKU WORK_FOLDER [TESTS...]

KESSOKU_SEED repeats a run of it.
"""
import os
import random
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import (ENVIRONMENT, EVERYTHING, WORK, command, kessoku, log_of, losses_of, make_inputs, ranks_of, run_tests, set_all, wait_for,
                     weights_of)

SEED = int(os.environ.get("KESSOKU_SEED", str(random.randrange(1 << 30))))
STEPS = {"fp32": 30, "bf16": 30, "fp16": 12}  # fp16 is slow on CPUs


class ResumeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"KESSOKU_SEED={SEED}", flush=True)
        cls.chance = random.Random(SEED)
        cls.model, cls.store, cls.run_file = make_inputs()

    def arguments(self, precision):
        settings = EVERYTHING | {"train.precision": f"'{precision}'", "train.steps": STEPS[precision], "checkpoint.every_steps": 3,
                                 "checkpoint.keep": 2, "metrics.port": -1}
        return ["train", self.run_file, *set_all(settings)]

    def kill_once(self, run, ranks, precision):
        """Starts it, and kills all of it at a random moment after a step of its own; False if it was done before."""
        started = subprocess.Popen(command(*self.arguments(precision), "--out", run, ranks=ranks), env=ENVIRONMENT,
                                   stderr=subprocess.DEVNULL)
        before = self.steps_of(run)
        wait_for(lambda: started.poll() is not None or self.steps_of(run) > before, "a step")
        time.sleep(self.chance.uniform(0, 1.5))
        processes = [*ranks_of(started.pid).values(), started.pid] if ranks else [started.pid]
        over = started.poll() is not None
        for process in [] if over else processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        started.wait()
        wait_for(lambda: not any(Path(f"/proc/{p}").exists() for p in processes), "the end of all ranks")
        return not over

    def steps_of(self, run):
        try:
            return len(log_of(run))
        except (OSError, ValueError):
            return 0

    def finish(self, run, ranks, precision):
        kessoku(*self.arguments(precision), "--out", run, ranks=ranks)
        self.assertEqual([r["step"] for r in log_of(run)], list(range(1, STEPS[precision] + 1)))

    def test_bit_equal_at_the_same_number_of_ranks(self):
        for precision in ("fp32", "bf16", "fp16"):
            whole, run = WORK / f"whole-{precision}", WORK / f"killed-{precision}"
            self.finish(whole, 2, precision)
            kills = sum(self.kill_once(run, 2, precision) for _ in range(3))
            self.finish(run, 2, precision)
            print(f"{precision}: {kills} kills", flush=True)
            self.assertGreater(kills, 0)
            self.assertEqual([(r["loss"], r["grad_norm"], r["lr"], r.get("validation_loss")) for r in log_of(run)],
                             [(r["loss"], r["grad_norm"], r["lr"], r.get("validation_loss")) for r in log_of(whole)])
            for shard in (whole / "checkpoints/latest/state").glob("*.safetensors"):  # weights, moments, averages
                self.assertEqual((run / "checkpoints/latest/state" / shard.name).read_bytes(), shard.read_bytes(), shard.name)
            for name, value in weights_of(whole).items():
                np.testing.assert_array_equal(weights_of(run)[name], value, err_msg=name)

    def test_equal_up_to_summation_order_at_other_numbers_of_ranks(self):
        # bf16 rounds to 3 digits, and what is rounded otherwise grows from step to step.
        for precision, near, far in (("fp32", 1e-3, 2e-3), ("bf16", 0.02, 0.02)):
            whole, run = WORK / f"one-{precision}", WORK / f"elastic-{precision}"
            self.finish(whole, 0, precision)
            path = []
            for _ in range(3):
                path.append(self.chance.choice([r for r in (0, 2, 4) if r not in path[-1:]]))
                self.kill_once(run, path[-1], precision)
            path.append(self.chance.choice([r for r in (0, 2, 4) if r != path[-1]]))
            self.finish(run, path[-1], precision)
            lr_sum = sum(record["lr"] for record in log_of(whole))
            weights = weights_of(whole)
            off = np.concatenate([np.abs(value - weights[name]).ravel() for name, value in weights_of(run).items()]) / lr_sum
            print(f"{precision}, ranks {path}: losses off by at most {np.max(np.abs(losses_of(run) / losses_of(whole) - 1)):.1e}, weights on "
                  f"average by {off.mean():.1e} of the summed learning rates", flush=True)
            self.assertEqual([r["categories"] for r in log_of(run)], [r["categories"] for r in log_of(whole)])
            np.testing.assert_allclose(losses_of(run), losses_of(whole), rtol=near)
            self.assertLess(off.mean(), far)


if __name__ == "__main__":
    run_tests()
