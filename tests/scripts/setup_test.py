"""What scripts/setup.sh says of NVIDIA's driver before it installs anything, and what it installs on which system.

    setup_test.py KESSOKU WORK_FOLDER

Scripts stand in for the programs that it asks.
"""
import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

ROOT, WORK = Path(__file__).resolve().parents[2], Path(sys.argv.pop()).absolute()
sys.argv.pop()  # the program is not needed


class Setup:
    """`ask` runs a copy of setup.sh, in whose folder nothing is set up."""

    def setUp(self):
        shutil.rmtree(WORK, ignore_errors=True)
        (WORK / "checkout/scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts/setup.sh", WORK / "checkout/scripts")

    def stand_in(self, tool, script):
        (WORK / tool).write_text(f"#!/bin/sh\n{script}\n")
        (WORK / tool).chmod(0o755)

    def ask(self, *options, expect, inside=()):
        environment = os.environ | {"PATH": f"{WORK}:{os.environ['PATH']}"}
        command = [*inside, WORK / "checkout/scripts/setup.sh", *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout + done.stderr


class Driver(Setup, unittest.TestCase):
    def setup_with(self, driver, *options, expect):
        self.stand_in("nvidia-smi", f"[ \"$1\" = -L ] && echo 'GPU 0: RTX' || echo '{driver}'")
        self.stand_in("dpkg-query", "exit 1")
        self.stand_in("id", "echo 1000")
        self.stand_in("sudo", "exit 1")
        return self.ask(*options, expect=expect)

    def test_a_driver_that_is_too_old_is_refused_first(self):
        for options in ((), ("--gpu",), ("--tests", "--gpu")):
            with self.subTest(options):
                said = self.setup_with("550.163.01", *options, expect=64)
                self.assertIn("driver here is 550.163.01, and LibTorch's CUDA 13 needs 580 or later", said)
                self.assertIn("run this with --cuda12 for an older LibTorch", said)
                self.assertNotIn("system packages", said)

    def test_an_older_libtorch_is_taken_for_it_and_remembered(self):
        said = self.setup_with("550.163.01", "--cuda12", expect=64)
        self.assertRegex(said, r"GPU driver +done in \d+ s \(550\.163\.01\)")
        self.assertIn("packages are missing", said)  # as far as this test lets it get
        (WORK / "checkout/.venv").mkdir()
        (WORK / "checkout/.venv/installed-LibTorch-for-CUDA-12").touch()
        self.assertIn("packages are missing", self.setup_with("550.163.01", "--tests", expect=64))

    def test_none_is_offered_where_none_exists(self):
        for options in ((), ("--cuda12",)):
            with self.subTest(options):
                said = self.setup_with("470.256.02", *options, expect=64)
                self.assertIn("driver here is 470.256.02", said)
                self.assertNotIn("run this with --cuda12", said)
                self.assertIn("--cpu", said)

    def test_a_tool_that_fails_is_told(self):
        self.assertIn("does not tell the driver's version", self.setup_with("Failed to initialize NVML", expect=64))

    def test_an_unknown_option_shows_how_it_is_used(self):
        said = self.setup_with("580.1", "--test", expect=64)
        for option in ("--tests", "--device-tests", "--gpu", "--cpu", "--cuda12"):
            self.assertIn(f"setup.sh {option} ", said)
        self.assertIn("what to do", said.splitlines()[-1])


class LibTorch(Setup, unittest.TestCase):
    def asked_of_pip(self, *options, gpu):
        """On a host that has all packages and a tokenizer: the arguments for LibTorch, up to a configuration that fails."""
        self.stand_in("nvidia-smi", f"[ {int(gpu)} = 1 ] || exit 9\n[ \"$1\" = -L ] && echo 'GPU 0: RTX' || echo 580.65.06")
        self.stand_in("dpkg-query", "echo installed")
        self.stand_in("python", f"echo \"$*\" >>{WORK}/asked")
        self.stand_in("python3", f"[ \"$2\" != venv ] || {{ mkdir -p .venv/bin && cp {WORK}/python .venv/bin/; }}")
        self.stand_in("cmake", "exit 1")
        shutil.copytree(ROOT / "scripts", WORK / "checkout/scripts", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        tokenizer = WORK / "checkout/models/clip-tokenizer"
        tokenizer.mkdir(parents=True)
        for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
            (tokenizer / name).write_text("{}")
        self.assertIn("CMake found something wrong", self.ask(*options, expect=64))
        (asked,) = [line for line in (WORK / "asked").read_text().splitlines() if "requirements-libtorch" in line]
        return asked

    def test_it_comes_with_cuda_for_gpus_also_on_a_host_without_one(self):
        for gpu, options, alone, requirements in (
                (False, (), True, "requirements-libtorch.txt"), (False, ("--gpu",), False, "requirements-libtorch.txt"),
                (True, (), False, "requirements-libtorch.txt"), (True, ("--cpu",), True, "requirements-libtorch.txt"),
                (False, ("--gpu", "--cuda12"), False, "requirements-libtorch-cuda12.txt")):
            with self.subTest(gpu=gpu, options=options):
                self.setUp()
                asked = self.asked_of_pip(*options, gpu=gpu)
                self.assertEqual("--no-deps" in asked, alone)
                self.assertTrue(asked.endswith(f"-r scripts/{requirements}"), asked)


class Requirements(unittest.TestCase):
    def test_of_both_libtorches_are_pinned_to_the_same_cuda(self):
        for name, cuda in (("requirements-libtorch.txt", 13), ("requirements-libtorch-cuda12.txt", 12)):
            wheels = dict(re.findall(r"^([\w-]+)==([\w.]+)$", (ROOT / "scripts" / name).read_text(), re.M))
            self.assertIn("torch", wheels)
            versions = [version for wheel, version in wheels.items() if wheel.startswith("nvidia-cuda-")]
            self.assertGreater(len(versions), 2)
            self.assertEqual({version.split(".")[0] for version in versions}, {str(cuda)})


def can_mount():
    return subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True).returncode == 0


@unittest.skipUnless(can_mount(), "mounting is not permitted here")
class System(Setup, unittest.TestCase):
    SYSTEMS = {
        "bookworm": "ID=debian\nVERSION_CODENAME=bookworm\n",
        "trixie": "ID=debian\nVERSION_CODENAME=trixie\n",
        "jammy": "ID=ubuntu\nVERSION_CODENAME=jammy\nUBUNTU_CODENAME=jammy\n",
        "noble": "ID=ubuntu\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n",
        "a derivative of noble": "ID=linuxmint\nVERSION_CODENAME=xia\nUBUNTU_CODENAME=noble\n",
        "an unknown one": "ID=other\n",
    }

    def missing_on(self, system, *options):
        """The packages that it asks for on a machine that has none."""
        self.stand_in("dpkg-query", "exit 1")
        self.stand_in("id", "echo 1000")
        self.stand_in("sudo", "exit 1")
        for python in ("python3", *(f"python3.{minor}" for minor in range(11, 15))):
            self.stand_in(python, "exit 1")
        release = WORK / "os-release"
        release.write_text(self.SYSTEMS[system])
        mount = ("unshare", "--map-root-user", "--mount", "sh", "-c", f'mount --bind {release} /etc/os-release && exec "$@"', "sh")
        said = self.ask(*options, expect=64, inside=mount)
        return set(re.search(r"apt-get install --no-install-recommends (.*)", said)[1].split())

    def test_what_it_does_not_package_is_not_asked_for(self):
        elsewhere = {"cmake", "libtomlplusplus-dev", "prometheus-cpp-dev"}
        for system in self.SYSTEMS:
            with self.subTest(system):
                missing = self.missing_on(system, "--cpu", "--tests")
                self.assertTrue({"ninja-build", "libvips-dev", "libgtest-dev", "prometheus", "slurmctld"} <= missing)
                self.assertEqual("chromium" in missing, "noble" not in system and system != "jammy")
                self.assertEqual(missing & elsewhere, set() if system == "jammy" else elsewhere)
                python = {package for package in missing if package.startswith("python3")}
                version = "python3.11" if system == "jammy" else "python3"
                self.assertEqual(python, {version, f"{version}-venv"})
                self.assertEqual("g++-12" in missing, system == "jammy")

    def test_gpu_tests_need_no_browser_cluster_or_monitoring(self):
        program = self.missing_on("bookworm", "--cpu")
        self.assertEqual(self.missing_on("bookworm", "--cpu", "--device-tests") - program, {"libgtest-dev", "libgmock-dev"})
        self.assertIn("scripts/setup.sh --device-tests\n", (ROOT / "scripts/gpu_selftest.sh").read_text())


if __name__ == "__main__":
    unittest.main()
