"""Disks that are full, read-only or gone while `kessoku train` writes its checkpoints and its log, and damaged checkpoints.

    disk_test.py KESSOKU WORK_FOLDER [TESTS...]

KESSOKU_TEST_SEED repeats a run of it. Exit code 77 (skipped) with the reason where no file system may be mounted.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
import own_mounts  # noqa: F401
from harness import (DEADLINE, ENDLESS, WORK, chosen_seed, command, kessoku, last_step, make_inputs, require_equal,
                     run_tests, start, wait_for)

STEPS = 8
DISK = WORK / "disk"


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def fill(leave=0):
    """Takes what is left of the disk but for `leave` bytes; the file that does it."""
    with open(DISK / "filler", "ab", buffering=0) as file:
        for block in (1 << 20, 1 << 12):
            while os.statvfs(DISK).f_bavail * os.statvfs(DISK).f_frsize >= leave + block:
                try:
                    file.write(bytes(block))
                except OSError:
                    break
    return DISK / "filler"


def newest(run):
    """The step of the newest complete checkpoint."""
    try:
        return int((run / "checkpoints/latest").readlink().name.removeprefix("step-"))
    except OSError:
        return 0


class Disk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.chance = random.Random(chosen_seed())
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.settings = ["--set", f"train.steps={STEPS}", "--set", "checkpoint.every_steps=4", "--set", "checkpoint.keep=1",
                        "--set", "metrics.port=-1"]
        kessoku("train", cls.run_file, "--out", WORK / "undisturbed", *cls.settings)

    def setUp(self):
        DISK.mkdir(exist_ok=True)
        mount("-t", "tmpfs", "-o", "size=400m", "none", DISK)  # a checkpoint takes 120
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(DISK)])

    def start(self, name, *arguments, ranks=0):
        run = DISK / name
        started = start(command("train", self.run_file, "--out", run, *self.settings, *arguments, ranks=ranks), WORK / f"{name}.err")
        self.addCleanup(started.kill)
        self.wait_for(started, run, lambda: newest(run) >= 4, "the first checkpoint")
        return run, started

    def said(self, run):
        return (WORK / f"{run.name}.err").read_text()

    def wait_for(self, started, run, condition, what):
        def reached():
            self.assertIsNone(started.poll(), self.said(run))
            return condition()
        wait_for(reached, what)

    def stop(self, run, started):
        started.send_signal(signal.SIGUSR1)
        self.assertEqual(started.wait(DEADLINE), 75, self.said(run))

    def require_equal(self, run, ranks=0):
        require_equal(run, WORK / "undisturbed", [self.run_file, *self.settings], ranks=ranks)

    def test_stderr_on_a_full_disk_costs_nothing_but_what_it_would_say(self):
        for log_format in ("text", "json"):
            run = DISK / log_format
            with open("/dev/full", "w") as full:
                subprocess.run(command("train", self.run_file, "--out", run, *self.settings, "--log-format", log_format), stderr=full, check=True)
            self.require_equal(run)
            shutil.rmtree(run)

    def test_a_full_disk_costs_checkpoints_but_not_the_run(self):
        run, started = self.start("full", *ENDLESS)
        leave = self.chance.choice([0, 1 << 20, 30 << 20, 100 << 20])

        def dropped():  # an old checkpoint that goes leaves room for one more
            fill(leave)
            return "is dropped" in self.said(run)
        self.wait_for(started, run, dropped, "a checkpoint that does not fit")
        self.assertRegex(self.said(run), r"the checkpoint of step \d+ is dropped: .*No space left on device; .*step-\d{8} stays")
        kept = newest(run)
        kessoku("inspect", run / "checkpoints/latest")
        (DISK / "filler").unlink()
        self.wait_for(started, run, lambda: newest(run) > kept, "a later checkpoint")
        self.stop(run, started)
        self.assertEqual([p.name for p in (run / "checkpoints").iterdir() if p.name.endswith(".tmp")], [])
        self.require_equal(run)

    def test_a_disk_that_is_full_at_the_end_is_74_and_loses_nothing(self):
        for program in ("train", "launch"):
            run = DISK / f"full-at-the-end-{program}"
            arguments = [self.run_file, "--out", run, *self.settings, "--set"]
            kessoku("train", *arguments, "train.steps=6")
            filler = fill(leave=1 << 20)  # enough for its log
            said = kessoku(program, *arguments, "train.steps=9", expect=74).stderr
            self.assertIn("the checkpoint of step 9 could not be written; the same command resumes from the one before", said)
            self.assertEqual(newest(run), 6)
            if program == "launch":
                self.assertEqual(said.count("launch: mpirun"), 1, "it was started again")
            filler.unlink()
            kessoku(program, *arguments, "train.steps=9")
            self.require_equal(run)
            shutil.rmtree(run)

    def test_a_disk_that_becomes_read_only_is_waited_for(self):
        run, started = self.start("read-only", *ENDLESS)
        mount("--bind", DISK, DISK)  # the log is open for writing: what it lies on cannot become read-only itself
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(DISK)])
        mount("-o", "remount,bind,ro", DISK)
        self.wait_for(started, run, lambda: "Read-only file system" in self.said(run), "that it is told")
        kept = newest(run)
        mount("-o", "remount,bind,rw", DISK)
        self.wait_for(started, run, lambda: newest(run) > kept, "a later checkpoint")
        self.stop(run, started)
        self.require_equal(run)

    def test_a_folder_that_vanishes_is_made_anew(self):
        run, started = self.start("vanished", *ENDLESS, ranks=2)
        os.rename(run, DISK / "away")  # at once; to remove it takes a moment
        shutil.rmtree(DISK / "away")
        self.wait_for(started, run, lambda: newest(run) > 4 and last_step(run) > 0, "a checkpoint and a log in a new folder")
        self.assertRegex(self.said(run), "checkpoints was removed with all checkpoints in it; it is created again|log.jsonl was removed; it is created again")
        self.stop(run, started)
        stopped = last_step(run)
        kessoku("train", self.run_file, "--out", run, *self.settings, "--set", f"train.steps={stopped + 4}", ranks=2)
        self.assertEqual(last_step(run), stopped + 4)

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
                del damaged[self.chance.randrange(len(whole) - 1):]  # more than a last newline
            file.write_bytes(b"" if how == "empty" else damaged)
            if how == "remove":
                file.unlink()
            again = WORK / "again"
            with self.subTest(name, how=how):
                shutil.copytree(run, again, symlinks=True)
                program = self.chance.choice(["train", "launch"])
                told = kessoku(program, self.run_file, "--out", again, *self.settings).stderr
                self.assertRegex(told, rf"warning: \S*step-{STEPS:08}[^\n]*; trying the checkpoint before it")
                self.assertIn(name, told)
                self.assertIn(f"from {again / 'checkpoints' / before.name}", told)
                self.require_equal(again)
            shutil.rmtree(again)
            file.write_bytes(whole)


if __name__ == "__main__":
    run_tests()
