"""A machine that fails is not a bad image: machine_faults_test.py PROGRAM WORK_DIR

Disks and network file systems that do not answer, too few descriptors, threads, memory or rights end `prepare` with 74 and the store as it
was; and a store never loses more than it was asked to.
"""
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

PROGRAM, WORK = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
SHIM = os.environ.get("KESSOKU_FAULT_SHIM") or PROGRAM.parent / "tests/data/libfault_shim.so"
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")
IMAGES = 12


def fault(call, number, first, once=False, match=".png"):
    more = {"FAULT_ONCE": "1"} if once else {}
    return dict(LD_PRELOAD=str(SHIM), FAULT_CALL=call, FAULT_ERRNO=str(number), FAULT_FROM=str(first), FAULT_MATCH=match, **more)


def content(store):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in store.iterdir()}


class Preparation:
    def setUp(self):
        self.work = WORK / self.id().rpartition(".")[2]
        shutil.rmtree(self.work, ignore_errors=True)
        self.images, self.store = self.work / "images", self.work / "store"
        generator = np.random.default_rng(0)
        for i in range(IMAGES):
            folder = self.images / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 255, (64, 64, 3), np.uint8)).save(folder / f"{i:02}.png")
            (folder / f"{i:02}.txt").write_text(f"image {i}")

    def run_prepare(self, *more, store=None, environment=None, ranks=None, user=None):
        launcher = ["mpirun", "-n", str(ranks), "--oversubscribe"] if ranks else []
        usual = {"--keep": "images", "--buckets": "64x64", "--threads": "1"}
        usual = [word for key, value in usual.items() if key not in more for word in (key, value)]
        command = [*launcher, PROGRAM, "prepare", self.images, "--out", store or self.store, *usual, *more]
        return subprocess.run(list(map(str, command)), env={**ENVIRONMENT, **(environment or {})}, capture_output=True, text=True,
                              timeout=200, user=user)

    def assert_untouched(self, before):
        """All files of the store are as they were; beside them there may be work that goes on next time."""
        self.assertEqual({name: digest for name, digest in content(self.store).items() if name in before}, before)

    def prepare(self, *more, **options):
        done = self.run_prepare("--json", *more, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def refused(self, code, *says, more=(), **options):
        done = self.run_prepare(*more, **options)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        for text in says:
            self.assertIn(text, done.stderr)
        return done.stderr


class MachineFaults(Preparation, unittest.TestCase):
    def check(self, says, environment, **options):
        """The store stays as it was, and the same command makes it whole once the machine works."""
        self.prepare()
        before = content(self.store)
        self.refused(74, says, environment=environment, **options)
        self.assert_untouched(before)
        self.assertEqual(self.prepare()["examples"], IMAGES)

    def test_images_that_cannot_be_opened_any_more(self):
        self.check("Input/output error", fault("open", errno.EIO, 5))

    def test_images_that_cannot_be_read_any_more(self):
        self.check("Input/output error", fault("read", errno.EIO, 5))

    def test_a_stale_handle_once(self):
        self.check("Stale file handle", fault("open", errno.ESTALE, 7, once=True))

    def test_too_few_descriptors(self):
        self.check("Too many open files", fault("open", errno.EMFILE, 3))

    def test_too_little_memory_for_the_system(self):
        self.check("Cannot allocate memory", fault("open", errno.ENOMEM, 3))

    def test_a_folder_that_cannot_be_listed(self):
        self.check("b: cannot read the folder: Input/output error", fault("list", errno.EIO, 1, match="/b"))

    def test_captions_that_cannot_be_read(self):
        self.check("Input/output error", fault("open", errno.EIO, 4, match=".txt"))

    def test_on_one_of_two_ranks(self):
        self.check("Input/output error", fault("open", errno.EIO, 3), ranks=2)

    def test_the_old_store_that_cannot_be_read(self):
        for match in ("store.json", ".h5"):
            with self.subTest(match):
                shutil.rmtree(self.store, ignore_errors=True)
                self.check("Input/output error", fault("open", errno.EIO, 1, match=match))

    def test_while_a_new_store_is_made(self):
        # The first reading looks at the headers, the second makes the rows.
        for first in (3, IMAGES + 5):
            with self.subTest(first):
                shutil.rmtree(self.store, ignore_errors=True)
                self.refused(74, "Stale file handle", environment=fault("open", errno.ESTALE, first, once=True))
                self.assertFalse((self.store / "store.json").exists())
                summary = self.prepare()
                self.assertEqual((summary["examples"], summary["skipped"]), (IMAGES, []))

    def test_threads_that_cannot_be_started(self):
        for threads in ("1", "2"):
            with self.subTest(threads):
                shutil.rmtree(self.store, ignore_errors=True)
                self.refused(74, more=("--threads", threads), environment=fault("thread", errno.EAGAIN, 1))
                self.assertFalse((self.store / "store.json").exists())

    def test_rights_that_are_missing(self):
        user = 65534 if os.geteuid() == 0 else None
        if user is not None:  # who may read everything cannot test it
            self.store.mkdir()
            for path in (WORK, self.work):
                path.chmod(0o755)
            self.store.chmod(0o777)
        for path in (self.images / "b", self.images / "a/00.png"):
            with self.subTest(path.name):
                mode = path.stat().st_mode
                path.chmod(0)
                self.refused(74, f"{path.name}: cannot", "Permission denied", user=user)
                path.chmod(mode)
                self.assertFalse((self.store / "store.json").exists())


class Losses(Preparation, unittest.TestCase):
    def test_images_of_the_store_that_are_bad_now(self):
        self.prepare()
        before = content(self.store)
        (self.images / "a/04.png").write_bytes((self.images / "a/04.png").read_bytes()[:200])
        stderr = self.refused(65, "a/04.png", "1 image cannot be used", "--replace")
        self.assertIn("the store holds what they were", stderr)
        self.assert_untouched(before)
        self.assertEqual(self.prepare("--replace")["examples"], IMAGES - 1)

    def test_most_images_gone(self):
        self.prepare()
        before = content(self.store)
        elsewhere = self.work / "b"
        (self.images / "b").rename(elsewhere)
        self.assertEqual(self.prepare(store=self.work / "half")["examples"], IMAGES // 2)
        (self.images / "a/00.png").unlink()
        self.refused(64, f"7 of its {IMAGES} images are not in", "--replace")
        self.assert_untouched(before)
        self.assertEqual(self.prepare("--replace")["examples"], IMAGES // 2 - 1)

    def test_a_folder_that_was_renamed_is_no_loss(self):
        self.prepare()
        for name in "ab":
            (self.images / name).rename(self.images / f"new {name}")
        for ranks in (None, 2):
            summary = self.prepare(ranks=ranks)
            self.assertEqual((summary["examples"], summary["reused"]), (IMAGES, IMAGES))

    def test_other_settings(self):
        self.prepare()
        before = content(self.store)
        for more, says in ((("--resolution", "256"), "resolution 512, not 256"), (("--background", "black"), "background"),
                           (("--buckets", "64x64,80x48"), "other buckets"), (("--variants", "2"), "variants")):
            with self.subTest(more):
                self.refused(64, says, "--replace", more=more)
                self.assert_untouched(before)
        self.assertEqual(self.prepare("--background", "black", "--replace")["encoded"], IMAGES)

    def test_what_the_store_keeps_is_not_dropped_for_less(self):
        tokenizer = Path(__file__).parents[3] / "models/clip-tokenizer"
        subprocess.run([PROGRAM, "init", "--preset", "tiny", self.work / "model", "--tokenizer", tokenizer], check=True,
                       capture_output=True)
        model = ("--model", self.work / "model", "--keep")
        self.prepare(*model, "moments")
        self.assertEqual(self.prepare(*model, "moments,images")["examples"], IMAGES)  # more is no loss
        self.refused(64, "images, which --keep leaves out", more=(*model, "moments"))
        self.assertEqual(json.loads((self.store / "store.json").read_text())["kept"], ["moments", "images"])


class Sizes(Preparation, unittest.TestCase):
    def test_images_that_are_enlarged_or_cropped_to_little_are_told(self):
        Image.new("RGB", (16, 20)).save(self.images / "a/tiny.png")
        Image.new("RGB", (1000, 100)).save(self.images / "a/long.png")
        summary = self.prepare()
        total = IMAGES + 2
        self.assertIn(f"images enlarged 2 times or more to fill their bucket: 1 of {total}, most of all a/tiny.png of 16x20, 4.0 times",
                      summary["warnings"][0])
        self.assertIn(f"images that lose more than half of their area to fit a bucket: 1 of {total}, most of all a/long.png of 1000x100, of "
                      "which 10 % is left", summary["warnings"][1])
        told = json.loads(subprocess.run([PROGRAM, "inspect", self.store, "--json"], capture_output=True, check=True).stdout)["warnings"]
        self.assertEqual(told, summary["warnings"])
        with h5py.File(next(self.store.glob("shard-*"))) as file:
            self.assertEqual(file["64x64/images"].shape[0], total)


    def test_a_resolution_far_from_the_models_is_told(self):
        tokenizer = Path(__file__).parents[3] / "models/clip-tokenizer"
        subprocess.run([PROGRAM, "init", "--preset", "tiny", self.work / "model", "--tokenizer", tokenizer], check=True,
                       capture_output=True)
        model = ("--model", self.work / "model", "--keep", "moments")
        self.assertIn("made for images of about 64 pixels a side, and --resolution is 512", self.run_prepare(*model).stderr)
        self.assertNotIn("made for images", self.run_prepare(*model, "--resolution", "64", store=self.work / "small").stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
