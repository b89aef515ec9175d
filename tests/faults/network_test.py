"""A host whose cable is pulled: `kessoku launch` over emulated hosts (scripts/cluster_emulation.sh) goes on without it.

    network_test.py KESSOKU WORK_FOLDER [TESTS...]

KESSOKU_SEED repeats a run of it. Exit code 77 (skipped) with the reason where the machine does not permit namespaces.
"""
import os
import random
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import ENVIRONMENT, PROGRAM, ROOT, WORK, kessoku, log_of, losses_of, make_inputs, run_tests, weights_of

EMULATION = ROOT / "scripts/cluster_emulation.sh"
SEED = int(os.environ.get("KESSOKU_SEED", str(random.randrange(1 << 30))))
STEPS = 24
# As ssh would: a host that cannot be reached does not answer.
AGENT = """#!/bin/sh
ip -n "$1" -o link show eth0 | grep -q ",UP" || { echo "$1: no route to host" >&2; exit 255; }
exec $KESSOKU_CLUSTER_AGENT "$@"
"""
SCRIPT = """
{program} launch --hosts node1,node2,node3,node4 --agent {agent} --host-timeout 5 --backoff 0.1 {arguments} &
launch=$!
reached() {{ grep -q "\\"step\\":$1," {run}/log.jsonl 2> /dev/null && test -e {run}/checkpoints/latest; }}
until reached {unplugged}; do kill -0 $launch || exit 99; sleep 0.05; done
{emulation} --link {host} down
{then}
wait $launch
"""


class NetworkTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.settings = ["--set", f"train.steps={STEPS}", "--set", "checkpoint.every_steps=4", "--set", "metrics.port=-1",
                        "--set", "train.micro_batch=1"]
        kessoku("train", cls.run_file, "--out", WORK / "undisturbed", *cls.settings)
        cls.agent = WORK / "agent.sh"
        cls.agent.write_text(AGENT)
        cls.agent.chmod(0o755)

    def unplug(self, name, host, step, *arguments, then=""):
        """Over four hosts, of which one loses its link after a step and a checkpoint; exit code, what was said, and the run."""
        run = WORK / name
        words = " ".join(map(str, (self.run_file, "--out", run, *self.settings, *arguments)))
        script = SCRIPT.format(program=PROGRAM, agent=self.agent, emulation=EMULATION, arguments=words, run=run, host=host, unplugged=step,
                               then=then)
        # Ten seconds until it is noticed are enough here.
        fast = {f"OMPI_MCA_oob_tcp_keepalive_{key}": value for key, value in (("time", "4"), ("intvl", "2"), ("probes", "3"))}
        done = subprocess.run([EMULATION, "--hosts", "4", "bash", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True, env=ENVIRONMENT | fast, timeout=240)
        return done.returncode, done.stderr, run

    def test_goes_on_without_the_host_at_the_same_global_batch(self):
        chance = random.Random(SEED)
        host, step = chance.choice(["node2", "node3", "node4"]), chance.randrange(5, STEPS - 4)
        print(f"KESSOKU_SEED={SEED}: {host} loses its link after step {step}", flush=True)
        code, errors, run = self.unplug("unplugged", host, step)
        self.assertEqual(code, 0, errors)
        self.assertIn(f"host {host} does not answer: goes on without it", errors)
        self.assertIn("2 ranks instead of 4, at the same global batch of 8", errors)
        self.assertEqual([r["step"] for r in log_of(run)], list(range(1, STEPS + 1)))
        expected = log_of(WORK / "undisturbed")
        self.assertEqual([r["categories"] for r in log_of(run)], [r["categories"] for r in expected])
        np.testing.assert_allclose(losses_of(run), losses_of(WORK / "undisturbed"), rtol=1e-3)
        # As far as a few steps of Adam may go where a gradient is but rounding error.
        weights, lr_sum = weights_of(WORK / "undisturbed"), sum(r["lr"] for r in expected)
        off = np.concatenate([np.abs(value - weights[name]).ravel() for name, value in weights_of(run).items()])
        print(f"losses off by at most {np.max(np.abs(losses_of(run) / losses_of(WORK / 'undisturbed') - 1)):.1e}, weights by {off.max():.1e} "
              f"of summed steps of {lr_sum:.1e}", flush=True)
        self.assertLess(off.max(), lr_sum / 10)
        self.assertLess((off > lr_sum / 100).mean(), 1e-3)

    def test_a_stop_that_cannot_reach_a_host_ends_all_the_same(self):
        """What mpirun has sent to a host that is gone it would wait for for hours; the ranks' watchdogs end the run."""
        code, errors, run = self.unplug("stopped", "node3", 6, "--set", "communication.timeout_seconds=3", then="kill -USR1 $launch")
        self.assertEqual(code, 75, errors)
        self.assertRegex(errors, r"ended with \d+ instead of a checkpoint at its last step; the newest one is of step [1-9]")
        self.assertTrue((run / "checkpoints/latest").exists())


if __name__ == "__main__":
    possible = subprocess.run([EMULATION, "--check"], capture_output=True, text=True)
    if possible.returncode == 69:
        print("skipped:", possible.stderr.strip())
        sys.exit(77)
    run_tests()
