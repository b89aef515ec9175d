"""A bit that flips in a rank's memory: it is found, no checkpoint is written of it, and `kessoku launch` goes on without it.

    wrong_bits_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import json
import re
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import (DEADLINE, ENVIRONMENT, PROGRAM, WORK, flip_untrained_bit, kessoku, last_step, log_of, make_inputs, mpirun_of, ranks_of, require_equal, run_tests,
                     set_all, start, wait_for)

STEPS, EVERY = 60, 5


def differences_of(run):
    return [json.loads(line) for line in (run / "differences.jsonl").read_text().splitlines()]


class WrongBits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.settings = ["--set", f"train.steps={STEPS}", "--set", "checkpoint.every_steps=4", "--set", "metrics.port=-1", "--set",
                        "train.micro_batch=2", "--set", f"verify.every_steps={EVERY}", "--set", 'optimizer.freeze=["unet.conv_in.*"]']

    def test_a_flipped_bit_is_found_and_the_run_ends_with_the_same_bits(self):
        kessoku("train", self.run_file, "--out", WORK / "undisturbed", *self.settings, ranks=2)
        verified = [record["step"] for record in log_of(WORK / "undisturbed") if record.get("verified")]
        self.assertEqual(verified, [step for step in range(1, STEPS + 1) if step % EVERY == 0 or step % 4 == 0])
        run = WORK / "flipped"
        process = start([PROGRAM, "launch", "-n", "2", self.run_file, "--out", run, *self.settings, "--backoff", "0.1"], WORK / "flipped.err")
        self.addCleanup(process.kill)
        wait_for(lambda: any(run.glob("checkpoints/step-*/state/run.json")), "a checkpoint")
        flip_untrained_bit(self, self.model, ranks_of(mpirun_of(process.pid))[1])
        self.assertEqual(process.wait(DEADLINE), 0, (WORK / "flipped.err").read_text())
        said = (WORK / "flipped.err").read_text()
        self.assertRegex(said, r"wrong bits at step \d+: untrained weights in unet\.conv_in\.weight of rank 1 on \S+ are not what they should be; "
                               r"the same command resumes from \S+step-\d+")
        self.assertIn("ended with 77", said)
        difference, = differences_of(run)
        self.assertEqual(difference["ranks"], [1])
        require_equal(run, WORK / "undisturbed", [self.run_file, *self.settings], ranks=2)

    def test_checkpoints_that_were_not_verified_are_not_gone_on_from(self):
        run = WORK / "unverified"
        off = ["--set", "verify.every_steps=0"]
        for steps, extra in ((8, []), (12, off)):
            kessoku("train", self.run_file, "--out", run, *self.settings, "--set", f"train.steps={steps}", *extra)
        manifest = {step: json.loads((run / f"checkpoints/step-{step:08}/state/run.json").read_text()) for step in (8, 12)}
        self.assertEqual({step: each["verified"] for step, each in manifest.items()}, {8: True, 12: False})
        rarely = {"verify.every_steps": 10**9, "checkpoint.every_steps": 0, "train.steps": 10**6}
        process = start([PROGRAM, "train", self.run_file, "--out", run, *self.settings, *set_all(rarely)], WORK / "unverified.err")
        self.addCleanup(process.kill)
        wait_for(lambda: last_step(run) >= 13, "step 13")
        flip_untrained_bit(self, self.model, process.pid)
        process.send_signal(signal.SIGUSR1)  # asks for a checkpoint
        said = (WORK / "unverified.err").read_text
        self.assertEqual(process.wait(DEADLINE), 77, said())
        self.assertRegex(said(), r"untrained weights in unet\.conv_in\.weight of rank 0 .*; the same command resumes from \S+step-00000008")
        self.assertEqual(sorted(path.name for path in (run / "checkpoints").iterdir()),
                         ["latest", "step-00000004", "step-00000008", "step-00000012.unverified"])
        self.assertEqual((run / "checkpoints/latest").readlink().name, "step-00000008")

    def launch_with(self, name, hosts, said_by_runs):
        """Over hosts that all are this machine, with an mpirun that ends with 77 after having said that."""
        run, mpirun, agent = WORK / name, WORK / f"{name}.sh", WORK / "agent.sh"
        run.mkdir()
        for number, said in enumerate(said_by_runs):
            (WORK / f"{name}.{number}").write_text(json.dumps(said) + "\n")
        mpirun.write_text(f"#!/bin/sh\nfor i in 0 1 2 3; do [ -e {WORK}/{name}.$i ] || continue\n"
                          f"cat {WORK}/{name}.$i >> {run}/differences.jsonl; rm {WORK}/{name}.$i; exit 77; done\nexit 0\n")
        agent.write_text("#!/bin/sh\nexit 0\n")
        for script in (mpirun, agent):
            script.chmod(0o755)
        done = subprocess.run([str(word) for word in (PROGRAM, "launch", "--hosts", hosts, "--agent", agent, "--mpirun", mpirun, self.run_file,
                                                      "--out", run, *self.settings, "--backoff", "0.1", "--patience", "2")],
                              capture_output=True, text=True, env=ENVIRONMENT, timeout=DEADLINE)
        return done, re.findall(r"--host (\S+) ", done.stderr)

    def test_a_host_that_is_named_twice_is_left_out(self):
        fault = {"step": 5, "what": "weights", "ranks": [3], "hosts": ["kessoku-b.cluster"]}
        done, hosts = self.launch_with("named", "kessoku-a:2,kessoku-b:2,kessoku-c:4", [fault, fault])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(hosts, ["kessoku-a:2,kessoku-b:2,kessoku-c:4"] * 2 + ["kessoku-a:2,kessoku-c:4"])
        self.assertIn("host kessoku-b.cluster had wrong bits again: continuing without it", done.stderr)
        self.assertIn("4 ranks instead of 8", done.stderr)

    def test_hosts_that_are_not_known_to_be_at_fault_stay(self):
        fault = {"step": 5, "what": "weights", "ranks": [0, 2], "hosts": ["kessoku-a", "kessoku-b"]}
        done, hosts = self.launch_with("unnamed", "kessoku-a:2,kessoku-b:2", [fault, fault, fault])
        self.assertEqual(done.returncode, 77, done.stderr)
        self.assertEqual(set(hosts), {"kessoku-a:2,kessoku-b:2"})
        self.assertIn("giving up", done.stderr)


if __name__ == "__main__":
    run_tests()
