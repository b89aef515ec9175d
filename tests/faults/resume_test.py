"""Law 5 with everything on: killed at random moments, `kessoku train` goes on bit for bit as if it had not been; at another number of
ranks, up to the order of sums.

    resume_test.py KESSOKU WORK_FOLDER [TESTS...]

KESSOKU_TEST_SEED repeats a run of it.
"""
import os
import random
import shutil
import signal
import sys
import time
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import (EVERYTHING, WORK, chosen_seed, command, is_gone, kessoku, last_step, log_of, losses_of,
                     make_inputs, ranks_of, require_same_weights, run_tests, set_all, start, wait_for, weights_of)

STEPS = {"fp32": 30, "bf16": 30, "fp16": 12}  # fp16 is slow on CPUs


class Resume(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.chance = random.Random(chosen_seed())
        cls.model, cls.store, cls.run_file = make_inputs()

    def arguments(self, precision):
        settings = EVERYTHING | {"train.precision": f"'{precision}'", "train.steps": STEPS[precision], "checkpoint.every_steps": 3,
                                 "checkpoint.keep": 2, "metrics.port": -1}
        return ["train", self.run_file, *set_all(settings)]

    def kill_once(self, run, ranks, precision, longest):
        """Starts it, and kills all of it up to so many seconds after a step of its own; False if it was done before."""
        before = last_step(run)
        started = start(command(*self.arguments(precision), "--out", run, ranks=ranks), WORK / f"{run.name}.err")
        wait_for(lambda: started.poll() is not None or last_step(run) > before, "a step")
        time.sleep(self.chance.uniform(0, longest))
        processes = [*ranks_of(started.pid).values(), started.pid] if ranks else [started.pid]
        over = started.poll() is not None
        for process in [] if over else processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        started.wait()
        wait_for(lambda: all(map(is_gone, processes)), "the end of all ranks")
        return not over

    def kill_often(self, run, ranks, precision):
        """Kills it once with each number of `ranks` in turn; anew and sooner where it is so fast that it was done before. How often it was killed."""
        for longest in (1.5, 0.5, 0.1, 0):
            kills = sum(self.kill_once(run, one, precision, longest) for one in ranks)
            if kills > 0:
                return kills
            shutil.rmtree(run)
        self.fail("it was always done before it could be killed")

    def finish(self, run, ranks, precision):
        kessoku(*self.arguments(precision), "--out", run, ranks=ranks)
        self.assertEqual([r["step"] for r in log_of(run)], list(range(1, STEPS[precision] + 1)))

    def test_bit_equal_at_the_same_number_of_ranks(self):
        for precision in ("fp32", "bf16", "fp16"):
            whole, run = WORK / f"whole-{precision}", WORK / f"killed-{precision}"
            self.finish(whole, 2, precision)
            kills = self.kill_often(run, [2, 2, 2], precision)
            self.finish(run, 2, precision)
            print(f"{precision}: {kills} kills", flush=True)
            self.assertEqual([(r["loss"], r["grad_norm"], r["lr"], r.get("validation_loss")) for r in log_of(run)],
                             [(r["loss"], r["grad_norm"], r["lr"], r.get("validation_loss")) for r in log_of(whole)])
            for shard in (whole / "checkpoints/latest/state").glob("*.safetensors"):  # weights, moments, averages
                self.assertEqual((run / "checkpoints/latest/state" / shard.name).read_bytes(), shard.read_bytes(), shard.name)
            require_same_weights(run, whole)

    def test_equal_up_to_summation_order_at_other_numbers_of_ranks(self):
        # bf16 rounds to 3 digits, and what is rounded otherwise grows from step to step.
        for precision, near, far in (("fp32", 1e-3, 2e-3), ("bf16", 0.02, 0.02)):
            whole, run = WORK / f"one-{precision}", WORK / f"elastic-{precision}"
            self.finish(whole, 0, precision)
            path = []
            for _ in range(4):
                path.append(self.chance.choice([r for r in (0, 2, 4) if r not in path[-1:]]))
            kills = self.kill_often(run, path[:-1], precision)
            self.finish(run, path[-1], precision)
            lr_sum = sum(record["lr"] for record in log_of(whole))
            weights = weights_of(whole)
            off = np.concatenate([np.abs(value - weights[name]).ravel() for name, value in weights_of(run).items()]) / lr_sum
            print(f"{precision}, {kills} kills, ranks {path}: losses off by at most {np.max(np.abs(losses_of(run) / losses_of(whole) - 1)):.1e}, weights on "
                  f"average by {off.mean():.1e} of the summed learning rates", flush=True)
            self.assertEqual([r["categories"] for r in log_of(run)], [r["categories"] for r in log_of(whole)])
            np.testing.assert_allclose(losses_of(run), losses_of(whole), rtol=near)
            self.assertLess(off.mean(), far)


if __name__ == "__main__":
    run_tests()
