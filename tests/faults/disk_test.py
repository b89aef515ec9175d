"""Disks that are full, read-only or gone while `kessoku train` writes its checkpoints and its log, and damaged checkpoints.

    disk_test.py KESSOKU WORK_FOLDER [TESTS...]

KESSOKU_SEED repeats a run of it. Exit code 77 (skipped) with the reason where no file system may be mounted.
"""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np

SEED = int(os.environ.get("KESSOKU_SEED", str(random.randrange(1 << 30))))
if os.environ.get("KESSOKU_OWN_MOUNTS") is None:  # starts again where what is mounted is seen by nobody else, and gone at the end
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--user", "--map-root-user"]
    tried = subprocess.run([*own, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    if tried.returncode != 0:
        print("skipped: no file system may be mounted here:", tried.stderr.strip())
        sys.exit(77)
    os.execvpe(own[0], [*own, sys.executable, *sys.argv], os.environ | {"KESSOKU_OWN_MOUNTS": "1", "KESSOKU_SEED": str(SEED)})

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import DEADLINE, ENVIRONMENT, WORK, command, kessoku, log_of, losses_of, make_inputs, run_tests, wait_for, weights_of

STEPS = 40
DISK = WORK / "disk"


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def fill(leave=0):
    """Takes what is left of the disk but for `leave` bytes; the file that does it."""
    free = os.statvfs(DISK).f_bavail * os.statvfs(DISK).f_frsize
    with open(DISK / "filler", "wb") as file:
        try:
            for _ in range(0, max(0, free - leave), 4096):
                file.write(bytes(4096))
                file.flush()
        except OSError:
            pass
    return DISK / "filler"


def newest(run):
    """The step of the newest complete checkpoint."""
    try:
        return int((run / "checkpoints/latest").readlink().name.removeprefix("step-"))
    except OSError:
        return 0


class DiskTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"KESSOKU_SEED={SEED}", flush=True)
        cls.chance = random.Random(SEED)
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.settings = ["--set", f"train.steps={STEPS}", "--set", "checkpoint.every_steps=4", "--set", "checkpoint.keep=1",
                        "--set", "metrics.port=-1"]
        kessoku("train", cls.run_file, "--out", WORK / "undisturbed", *cls.settings)

    def setUp(self):
        DISK.mkdir(exist_ok=True)
        mount("-t", "tmpfs", "-o", "size=400m", "none", DISK)  # a checkpoint takes 120
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(DISK)])

    def start(self, name, *arguments, ranks=0, program="train"):
        run = DISK / name
        with open(WORK / f"{name}.err", "w") as said:
            started = subprocess.Popen(command(program, self.run_file, "--out", run, *self.settings, *arguments, ranks=ranks),
                                       stderr=said, env=ENVIRONMENT)
        self.addCleanup(started.kill)
        return run, started

    def said(self, run):
        return (WORK / f"{run.name}.err").read_text()

    def wait_for(self, started, run, condition, what):
        def reached():
            self.assertIsNone(started.poll(), self.said(run))
            return condition()
        wait_for(reached, what)

    def require_equal(self, run):
        self.assertEqual([r["step"] for r in log_of(run)], list(range(1, STEPS + 1)))
        np.testing.assert_array_equal(losses_of(run), losses_of(WORK / "undisturbed"))
        expected = weights_of(WORK / "undisturbed")
        for name, value in weights_of(run).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)

    def steps_of(self, run):
        try:
            return len(log_of(run))
        except (OSError, ValueError):
            return 0

    def test_a_full_disk_costs_checkpoints_but_not_the_run(self):
        run, started = self.start("full")
        self.wait_for(started, run, lambda: newest(run) >= 4, "the first checkpoint")
        filler = fill(self.chance.choice([0, 1 << 20, 30 << 20, 100 << 20]))
        self.wait_for(started, run, lambda: "is dropped" in self.said(run), "a checkpoint that does not fit")
        self.assertRegex(self.said(run), r"the checkpoint of step \d+ is dropped: .*No space left on device; .*step-\d{8} stays")
        kept = newest(run)
        kessoku("inspect", run / "checkpoints/latest")
        filler.unlink()
        self.wait_for(started, run, lambda: newest(run) > kept, "a later checkpoint")
        self.assertEqual(started.wait(DEADLINE), 0, self.said(run))
        self.assertEqual([p.name for p in (run / "checkpoints").iterdir() if p.name.endswith(".tmp")], [])
        self.require_equal(run)

    def test_a_disk_that_is_full_at_the_end_is_74_and_loses_nothing(self):
        for program, wrapped in (("train", False), ("launch", True)):
            run, started = self.start(f"full-at-the-end-{program}", program=program)
            self.wait_for(started, run, lambda: newest(run) >= 4, "the first checkpoint")
            filler = fill()
            self.assertEqual(started.wait(DEADLINE), 74, self.said(run))
            self.assertIn(f"the checkpoint of step {STEPS} could not be written; the same command goes on from the one before",
                          self.said(run))
            self.assertLess(newest(run), STEPS)
            if wrapped:
                self.assertEqual(self.said(run).count("launch: mpirun"), 1, "it was started again")
            filler.unlink()
            run, started = self.start(run.name, program=program)
            self.assertEqual(started.wait(DEADLINE), 0, self.said(run))
            self.require_equal(run)
            shutil.rmtree(run)

    def test_a_disk_that_becomes_read_only_is_waited_for(self):
        run, started = self.start("read-only")
        self.wait_for(started, run, lambda: newest(run) >= 4, "the first checkpoint")

        def remount():  # busy while a file is open for writing, as the log is
            return subprocess.run(["mount", "-o", "remount,ro", str(DISK)], capture_output=True).returncode == 0
        if not remount():
            mount("--bind", DISK, DISK)
            mount("-o", "remount,bind,ro", DISK)
            self.addCleanup(subprocess.run, ["umount", "--lazy", str(DISK)])
        self.wait_for(started, run, lambda: "Read-only file system" in self.said(run), "that it is told")
        kept = newest(run)
        mount("-o", "remount,bind,rw", DISK)
        self.wait_for(started, run, lambda: newest(run) > kept, "a later checkpoint")
        self.assertEqual(started.wait(DEADLINE), 0, self.said(run))
        self.require_equal(run)

    def test_a_folder_that_vanishes_is_made_anew(self):
        run, started = self.start("vanished", ranks=2)
        self.wait_for(started, run, lambda: newest(run) >= 4, "the first checkpoint")
        os.rename(run, DISK / "away")  # at once; to remove it takes a moment
        shutil.rmtree(DISK / "away")
        self.wait_for(started, run, lambda: newest(run) > 4 and self.steps_of(run) > 0, "a checkpoint and a log in a new folder")
        self.assertIn("is gone, and what was in it; it is made anew", self.said(run))
        started.send_signal(signal.SIGUSR1)
        self.assertEqual(started.wait(DEADLINE), 75, self.said(run))
        run, started = self.start("vanished", ranks=2)
        self.assertEqual(started.wait(DEADLINE), 0, self.said(run))
        self.assertEqual(log_of(run)[-1]["step"], STEPS)

    def test_each_file_of_a_checkpoint_may_be_damaged(self):
        """Flipped, cut, emptied or removed: the checkpoint before is used, with a warning that names the file."""
        run = WORK / "damaged"
        kessoku("train", self.run_file, "--out", run, *self.settings, "--set", "checkpoint.keep=2")
        before, last = sorted((run / "checkpoints").glob("step-*"))
        self.assertEqual(last.name, f"step-{STEPS:08}")
        manifest = last / "state/run.json"
        files = sorted({entry["file"] for entry in json.loads(manifest.read_text())["files"]} | {"state/run.json"})
        self.assertEqual(sorted(str(p.relative_to(last)) for p in last.rglob("*") if p.is_file()), files, "a file that is not listed")
        for name in files:
            file, whole = last / name, (last / name).read_bytes()
            how = self.chance.choice(["flip", "cut", "empty", "remove"])
            print(f"{name}: {how}", flush=True)
            damaged = bytearray(whole)
            if how == "flip":
                damaged[self.chance.randrange(len(whole))] ^= 1 << self.chance.randrange(8)
            elif how == "cut":
                del damaged[self.chance.randrange(len(whole)):]
            file.write_bytes(b"" if how == "empty" else damaged)
            if how == "remove":
                file.unlink()
            again = WORK / "again"
            with self.subTest(name, how=how):
                shutil.copytree(run, again, symlinks=True)
                told = kessoku("train", self.run_file, "--out", again, *self.settings).stderr
                self.assertRegex(told, rf"warning: \S*step-{STEPS:08}[^\n]*; trying the checkpoint before it")
                self.assertIn(name, told)
                self.assertIn(f"from {again / 'checkpoints' / before.name}", told)
                self.require_equal(again)
            shutil.rmtree(again)
            file.write_bytes(whole)


if __name__ == "__main__":
    run_tests()
