"""What the program makes of NVIDIA's driver, which a library of the tests stands in for. LibTorch's CUDA library is the wheel's own.

    gpu_driver_test.py KESSOKU WORK_FOLDER

Environment: KESSOKU_FAKE_DRIVER, the folder of that library.
"""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import PROGRAM, WORK, make_model, run_tests

CUDA = r"LibTorch \(CUDA \d+\.\d\)"


class GpuDriver(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = make_model()

    def sample(self, device, expect, gpus=1, version=13000, error=0):
        environment = {name: value for name, value in os.environ.items() if name != "KESSOKU_DEVICE"} | {
            "LD_LIBRARY_PATH": os.environ["KESSOKU_FAKE_DRIVER"], "KESSOKU_FAKE_DRIVER_GPUS": str(gpus),
            "KESSOKU_FAKE_DRIVER_VERSION": str(version), "KESSOKU_FAKE_DRIVER_ERROR": str(error)}
        command = [PROGRAM, "sample", self.model, "--prompt", "x", "--steps", "1", "--size", "32x32", "--device", device,
                   "--out", tempfile.mkdtemp(dir=WORK)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, expect, done.stderr)
        return done.stderr

    def test_a_driver_that_is_too_old_is_told_with_both_versions(self):
        for device in ("auto", "cuda"):
            with self.subTest(device):
                said = self.sample(device, 64, gpus=2, version=12040)
                self.assertRegex(said, rf"^kessoku: this host has 2 GPUs and a driver for CUDA 12\.4, but {CUDA} needs a newer one: "
                                       'update the driver, set up again with scripts/setup.sh --cuda12, or choose device "cpu"\n$')
        self.sample("cpu", 0, version=12040)

    def test_a_gpu_that_libtorch_does_not_find_is_told(self):
        for device in ("auto", "cuda"):
            with self.subTest(device):
                self.assertRegex(self.sample(device, 64, version=99000),
                                 rf"(?m)^kessoku: this host has 1 GPU and a driver for CUDA 99\.0, but {CUDA} finds no GPU: ")

    def test_without_a_gpu_auto_takes_the_cpu(self):
        no_device, stub = 100, 34
        for name, shown in (("none", {"gpus": 0}), ("no device", {"error": no_device}), ("a toolkit's stub", {"error": stub})):
            with self.subTest(name):
                self.sample("auto", 0, **shown)
                self.assertIn("shows no GPU", self.sample("cuda", 64, **shown))


if __name__ == "__main__":
    run_tests()
