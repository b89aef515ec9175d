"""What scripts/setup.sh says of NVIDIA's driver before it installs anything; a script stands in for nvidia-smi.

    setup_test.py KESSOKU WORK_FOLDER
"""
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

ROOT, WORK = Path(__file__).resolve().parents[2], Path(sys.argv.pop()).absolute()
sys.argv.pop()  # the program is not needed


class Setup(unittest.TestCase):
    def setup_with(self, driver, *options, expect):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        tool = WORK / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] && echo 'GPU 0: RTX' || echo '{driver}'\n")
        tool.chmod(0o755)
        environment = os.environ | {"PATH": f"{WORK}:{os.environ['PATH']}"}
        done = subprocess.run([ROOT / "scripts/setup.sh", *options], env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_a_driver_that_is_too_old_is_refused_first(self):
        for options in ((), ("--gpu",), ("--tests", "--gpu")):
            with self.subTest(options):
                said = self.setup_with("550.163.01", *options, expect=64)
                self.assertIn("driver here is 550.163.01, and LibTorch's CUDA 13 needs 580 or later", said)
                self.assertNotIn("Debian packages", said)

    def test_a_tool_that_fails_is_told(self):
        self.assertIn("does not tell the driver's version", self.setup_with("Failed to initialize NVML", expect=64))

    def test_an_unknown_option_shows_how_it_is_used(self):
        self.assertIn("setup.sh --tests", self.setup_with("580.1", "--test", expect=64))


if __name__ == "__main__":
    unittest.main()
