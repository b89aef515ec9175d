"""A host whose cable is pulled: `kessoku launch` over emulated hosts (scripts/cluster_emulation.sh) goes on without it.

    network_test.py KESSOKU WORK_FOLDER [TESTS...]

KESSOKU_TEST_SEED repeats a run of it. Exit code 77 (skipped) with the reason where the machine does not permit namespaces.
"""
import random
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import (DEADLINE, ENDLESS, ENVIRONMENT, PROGRAM, ROOT, WORK, chosen_seed, kessoku, last_step, log_of, losses_of, make_inputs, run_tests, start,
                     wait_for, weights_of)

EMULATION = ROOT / "scripts/cluster_emulation.sh"
STEPS = 24
# As ssh would: a host that cannot be reached does not answer.
AGENT = """#!/bin/sh
ip -n "$1" -o link show eth0 | grep -q ",UP" || { echo "$1: no route to host" >&2; exit 255; }
exec $KESSOKU_CLUSTER_AGENT "$@"
"""
# What this test asks for, by files, is done to the first host's network.
SCRIPT = """
{program} launch --hosts node1,node2,node3,node4 --agent {agent} --host-timeout 60 --backoff 0.1 {arguments} &
launch=$!
asked() {{ until test -e {run}.$1; do kill -0 $launch 2> /dev/null || exit 99; sleep 0.05; done; }}
asked cut
{emulation} --link {host} down
touch {run}.is-cut
asked stop
kill -USR1 $launch
wait $launch
"""


class Network(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.settings = ["--set", "checkpoint.every_steps=4", "--set", "metrics.port=-1", "--set", "train.micro_batch=1", *ENDLESS]
        cls.agent = WORK / "agent.sh"
        cls.agent.write_text(AGENT)
        cls.agent.chmod(0o755)

    def start(self, name, host, *arguments):
        """Over four hosts, until it has a checkpoint; a run and its process."""
        run = WORK / name
        words = " ".join(map(str, (self.run_file, "--out", run, *self.settings, *arguments)))
        script = SCRIPT.format(program=PROGRAM, agent=self.agent, emulation=EMULATION, arguments=words, run=run, host=host)
        started = start([EMULATION, "--hosts", "4", "bash", "-c", script], WORK / f"{name}.err")
        self.addCleanup(started.terminate)
        self.wait_for(run, started, lambda: (run / "checkpoints/latest").exists(), "a checkpoint")
        return run, started

    def said(self, run):
        return (WORK / f"{run.name}.err").read_text()

    def wait_for(self, run, started, condition, what):
        def reached():
            self.assertIsNone(started.poll(), self.said(run))
            return condition()
        wait_for(reached, what)

    def ask(self, run, started, what):
        (WORK / f"{run.name}.{what}").touch()
        if what == "cut":
            self.wait_for(run, started, (WORK / f"{run.name}.is-cut").exists, "that the host is cut off")

    def test_goes_on_without_the_host_at_the_same_global_batch(self):
        chance = random.Random(chosen_seed())
        host, step = chance.choice(["node2", "node3", "node4"]), chance.randrange(5, 20)
        print(f"{host} loses its link after step {step}", flush=True)
        run, started = self.start("unplugged", host)
        self.wait_for(run, started, lambda: last_step(run) >= step, f"step {step}")
        self.ask(run, started, "cut")
        gone = f"host {host} does not answer: continuing without it"
        self.wait_for(run, started, lambda: gone in self.said(run), "that the host is missed")
        reached = last_step(run)
        self.wait_for(run, started, lambda: last_step(run) > reached, "a step without it")
        self.ask(run, started, "stop")
        self.assertEqual(started.wait(DEADLINE), 75, self.said(run))
        self.assertIn("2 ranks instead of 4, at the same global batch of 8", self.said(run))

        steps, alone = last_step(run), WORK / "undisturbed"
        kessoku("train", self.run_file, "--out", alone, *self.settings, "--set", f"train.steps={steps}")
        expected = log_of(alone)
        self.assertEqual([r["step"] for r in log_of(run)], list(range(1, steps + 1)))
        self.assertEqual([r["categories"] for r in log_of(run)], [r["categories"] for r in expected])
        np.testing.assert_allclose(losses_of(run), losses_of(alone), rtol=1e-3)
        # As far as a few steps of Adam may go where a gradient is but rounding error.
        weights, lr_sum = weights_of(alone), sum(r["lr"] for r in expected)
        off = np.concatenate([np.abs(value - weights[name]).ravel() for name, value in weights_of(run).items()])
        print(f"{steps} steps: losses off by at most {np.max(np.abs(losses_of(run) / losses_of(alone) - 1)):.1e}, weights by {off.max():.1e} "
              f"of summed steps of {lr_sum:.1e}", flush=True)
        self.assertLess(off.max(), lr_sum / 10)
        self.assertLess((off > lr_sum / 100).mean(), 1e-3)

    def test_a_stop_that_cannot_reach_a_host_ends_all_the_same(self):
        """What mpirun has sent to a host that is gone it would wait for for hours; the ranks' watchdogs end the run."""
        run, started = self.start("stopped", "node3", "--set", "communication.timeout_seconds=10")
        self.ask(run, started, "cut")
        self.ask(run, started, "stop")
        self.assertEqual(started.wait(DEADLINE), 75, self.said(run))
        self.assertRegex(self.said(run), r"ended with \d+ instead of a checkpoint at its last step; the newest one is of step [1-9]")
        self.assertTrue((run / "checkpoints/latest").exists())


if __name__ == "__main__":
    possible = subprocess.run([EMULATION, "--check"], capture_output=True, text=True)
    if possible.returncode == 69:
        print("skipped:", possible.stderr.strip())
        sys.exit(77)
    run_tests()
