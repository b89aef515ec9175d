"""Communicator and gradient reducer under the thread sanitizer: over MPI and, where they are built, on what stands in for GPUs.

    thread_sanitizer_test.py KESSOKU WORK_FOLDER

Builds the programs that it runs, which nobody else needs.
"""
import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import ENVIRONMENT, PROGRAM, WORK, run_tests

BUILD = PROGRAM.resolve().parent
PROGRAMS = BUILD / "tests/threads"
SUPPRESSIONS = Path(__file__).resolve().parent / "suppressions.txt"
STAND_INS = os.environ.get("KESSOKU_STAND_INS")
SEEN = "WARNING: ThreadSanitizer"
ON_CPU = ENVIRONMENT | {"TSAN_OPTIONS": f"suppressions={SUPPRESSIONS}", "OMP_NUM_THREADS": "1", "KESSOKU_DEVICE": "cpu"}
# LibTorch's autograd on GPUs and what stands in for GPUs order their threads by atomics of their own, which the sanitizer does not
# see: there it looks at what our code itself reads and writes, and not at memory that they copy, set or free.
ON_GPU = ON_CPU | {"TSAN_OPTIONS": ON_CPU["TSAN_OPTIONS"] + ":ignore_noninstrumented_modules=1",
                   "KESSOKU_DEVICE": "cuda", "LD_LIBRARY_PATH": STAND_INS or ""}


def run(*command, environment=ON_CPU):
    return subprocess.run([str(word) for word in command], env=environment, timeout=600, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def setUpModule():
    WORK.mkdir(parents=True, exist_ok=True)
    subprocess.run([os.environ.get("KESSOKU_CMAKE", "cmake"), "--build", BUILD, "--target", "thread_sanitizer_programs"], check=True)
    started = run(PROGRAMS / "planted_race_tsan", "--gtest_list_tests")
    if "unexpected memory mapping" in started.stdout:  # g++ 12 knows 28 random bits of addresses, newer kernels have 32
        raise unittest.SkipTest("the kernel places memory where the thread sanitizer cannot follow: sysctl vm.mmap_rnd_bits=28")


class ThreadSanitizer(unittest.TestCase):
    def require_no_races(self, environment):
        for ranks in (2, 3):
            for program in ("communicator", "gradient_reducer"):
                with self.subTest(program, ranks=ranks):
                    done = run("mpirun", "--bind-to", "none", "--oversubscribe", "-n", ranks, PROGRAMS / f"{program}_tsan",
                               environment=environment)
                    self.assertNotIn(SEEN, done.stdout)
                    self.assertEqual(done.returncode, 0, done.stdout)
                    self.assertIn("PASSED", done.stdout)

    def test_sees_a_race(self):
        for environment in (ON_CPU, ON_GPU):
            done = run(PROGRAMS / "planted_race_tsan", environment=environment)
            self.assertIn(SEEN + ": data race", done.stdout)
            self.assertIn("planted_race.cpp", done.stdout)
            self.assertNotEqual(done.returncode, 0)

    def test_finds_none_over_mpi(self):
        self.require_no_races(ON_CPU)

    @unittest.skipUnless(STAND_INS, "built without what stands in for GPUs")
    def test_finds_none_on_gpus(self):
        self.require_no_races(ON_GPU)


if __name__ == "__main__":
    run_tests()
