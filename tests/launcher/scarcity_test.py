"""Too little memory and too few threads: what is said, and that the advice works.

    scarcity_test.py KESSOKU WORK_FOLDER
"""
import errno
import itertools
import os
import resource
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import DEADLINE, ENVIRONMENT, PROGRAM, WORK, command, make_inputs, run_tests, set_all

SHIM = os.environ.get("KESSOKU_FAULT_SHIM") or str(PROGRAM.parent / "tests/data/libfault_shim.so")
MIB = 1 << 20


class Scarcity(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.names = (WORK / f"out-{number}" for number in itertools.count())

    def run_within(self, *arguments, memory=resource.RLIM_INFINITY, environment={}):
        """With a new folder as --out; `memory`: bytes of address space."""
        return subprocess.run(command(*arguments, "--out", next(self.names)), capture_output=True, text=True, env=ENVIRONMENT | environment,
                              timeout=DEADLINE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)))

    def compare(self, wasteful, frugal, advice):
        """In the least memory, to 64 MiB, in which all `frugal` commands work, `wasteful` ends with `advice`. 32 MiB more are left to threads'
        stacks and small pieces: what cannot be had must be something large."""
        limit = next(limit for limit in range(640 * MIB, 8192 * MIB, 64 * MIB)
                     if all(self.run_within(*arguments, memory=limit).returncode == 0 for arguments in frugal)) + 32 * MIB
        failed = self.run_within(*wasteful, memory=limit)
        self.assertEqual(failed.returncode, 74, failed.stderr)
        self.assertRegex(failed.stderr, rf"(?m)^kessoku: memory is not enough \(.*\): {advice}$")
        self.assertNotRegex(failed.stderr, "c10|enforce")

    def test_training(self):
        def train(**settings):
            return ("train", self.run_file, *set_all({"train.global_batch": 192, "train.micro_batch": 192, "train.steps": 1} | settings))
        self.compare(train(), [train(**{"train.micro_batch": 8}), train(**{"train.gradient_checkpointing": "true"}),
                               train(**{"train.precision": "'bf16'"})],
                     'lower train.micro_batch .*, or set train.gradient_checkpointing or train.precision = "bf16"')

    def test_sampling(self):
        def sample(size, *arguments):
            return ("sample", self.model, "--prompt", "x", "--steps", 1, "--threads", 1, "--size", size, *arguments)
        advice = r"lower --size, --batch or --tile \(to 256\)"
        self.compare(sample("512x512", "--tile", 0), [sample("512x512", "--tile", 128), sample("256x256", "--tile", 0)], advice)
        many = ("512x512", "--count", 16, "--tile", 128)
        self.compare(sample(*many, "--batch", 16), [sample(*many, "--batch", 1)], advice)

    def test_preparing(self):
        folder = WORK / "large-images"
        folder.mkdir()
        for i in range(2):
            Image.fromarray(np.zeros((9000, 9000, 3), np.uint8)).save(folder / f"{i}.png", compress_level=1)
        Image.new("RGB", (64, 64)).save(folder / "small.png")

        def prepare(*arguments):
            return ("prepare", folder, "--resolution", 64, "--keep", "images", *arguments)
        self.compare(prepare("--threads", 2), [prepare("--threads", 1), prepare("--threads", 2, "--max-pixels", 1_000_000)],
                     "lower --threads or --max-pixels")

    def test_threads(self):
        """Whichever thread is the first that cannot be started: the command ends with this reason, and fewer threads work."""
        def start(first, *arguments):
            return self.run_within(*arguments, environment={
                "LD_PRELOAD": SHIM, "FAULT_CALL": "thread", "FAULT_ERRNO": str(errno.EAGAIN), "FAULT_FROM": str(first)})
        for arguments, many, few, advice in (
                (("prepare", WORK / "data", "--resolution", 64, "--keep", "images"), "--threads=4", "--threads=1", "--threads"),
                (("train", self.run_file, *set_all({"train.steps": 1})), "--set=data.threads=4", "--set=data.threads=1",
                 "train.threads and data.threads"),
                (("sample", self.model, "--prompt", "x", "--steps", 1, "--size", "64x64"), "--threads=2", "--threads=1", "--threads")):
            for first in range(1, 100):
                done = start(first, *arguments, many)
                if done.returncode == 0:
                    break
                if "libgomp: Thread creation failed" in done.stderr:
                    continue  # LibTorch's library of threads ends the process itself
                with self.subTest(arguments[0], first=first):
                    self.assertEqual(done.returncode, 74, done.stderr)
                    self.assertRegex(done.stderr, r"(?m)^kessoku: (threads are not enough \(.*\): allow more \(ulimit -u, docker --pids-limit\), "
                                                  rf"or lower {advice}|.*threads run short; run the same command again)$")
            self.assertGreater(first, 2, arguments)
            done = start(first - 1, *arguments, few)
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    run_tests()
