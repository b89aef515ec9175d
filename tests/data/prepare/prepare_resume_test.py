"""`kessoku prepare`, killed at random moments, resumes where it was, also with another number of ranks.
Two at once; captions only; a store that was damaged.

    prepare_resume_test.py KESSOKU WORK_FOLDER [TESTS...]

KESSOKU_TEST_SEED repeats a run of it.
"""
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "distributed"))
from harness import ENVIRONMENT, PROGRAM, WORK, chosen_seed, command, kessoku, make_model, run_tests

ENVIRONMENT["OMP_NUM_THREADS"] = "1"
IMAGES = 60


def arguments(images, store, *more, threads=1):
    return ("prepare", images, "--out", store, "--keep", "images,moments", "--model", WORK / "model",
            "--resolution", 64, "--threads", threads, "--json", *more)


def prepare(images, store, *more, ranks=0, threads=1):
    return json.loads(kessoku(*arguments(images, store, *more, threads=threads), ranks=ranks).stdout)


def journalled(store):
    """Bytes of the journals: they grow with each row that is done."""
    sizes = []
    for path in store.glob("*.journal"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            pass
    return sum(sizes)


def kill_all(session):
    """Ends all processes of a session, mpirun's ranks too (each is a group of its own), and waits until they are gone."""
    while True:
        alive = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(its_session) == session and state != "Z":
                alive.append(int(stat.parent.name))
        if not alive:
            return
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)


def kill_when(moment, images, store, ranks):
    """Kills it when `moment()` holds. Returns whether it was still at work."""
    process = subprocess.Popen(command(*arguments(images, store), ranks=ranks), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not moment():
        time.sleep(0.001)
    at_work = process.poll() is None
    kill_all(process.pid)
    process.wait()
    return at_work


def content(store):
    """By source: caption, category, rows."""
    manifest = json.loads((store / "store.json").read_text())
    rows = {}
    for shard in manifest["shards"]:
        with h5py.File(store / shard["file"]) as file:
            for bucket, group in file.items():
                texts = {}
                for name in ("caption", "source"):
                    blob, at = bytes(group[name + "_bytes"][...]), group[name + "_offsets"][...]
                    texts[name] = [blob[a:b].decode() for a, b in zip(at, at[1:])]
                for i, source in enumerate(texts["source"]):
                    rows[source] = (texts["caption"][i], manifest["categories"][group["category"][i]]["path"],
                                    group["images"][i].tobytes(), group["moments"][i].tobytes())
    return rows


def make_dataset(root):
    generator = np.random.default_rng(0)
    for i in range(IMAGES):
        folder = root / ("a" if i % 3 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        size = (500, 300 + i) if i % 2 else (300, 300)
        Image.fromarray(generator.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(folder / f"{i:03}.png")
        (folder / f"{i:03}.txt").write_text(f"image {i}")


class PrepareResume(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.chance = random.Random(chosen_seed())
        make_model()
        cls.images, cls.whole = WORK / "images", WORK / "whole"
        make_dataset(cls.images)
        cls.encoded = prepare(cls.images, cls.whole)["encoded"]
        cls.expected = content(cls.whole)

    def copy_of_store(self, name):
        return Path(shutil.copytree(self.whole, WORK / name))

    def test_threads_do_not_matter(self):
        self.assertEqual((self.encoded, len(self.expected)), (IMAGES, IMAGES))
        prepare(self.images, WORK / "by-threads", threads=2)
        self.assertEqual(content(WORK / "by-threads"), self.expected)

    def kill_often(self, store, ranks_of):
        """At random moments, of time and of work done; how often it was done before."""
        kills = too_late = 0
        while kills < 6:
            if kills == 2:
                end = time.monotonic() + self.chance.uniform(0, 1)
                killed = kill_when(lambda: time.monotonic() > end, self.images, store, ranks_of(kills))
            else:
                # The last time some rows are done for sure: journals begin with less than 1,000 bytes.
                more = 3000 if kills == 5 else journalled(store) + self.chance.randrange(1, 20 * IMAGES)
                killed = kill_when(lambda: journalled(store) > more, self.images, store, ranks_of(kills))
            kills += killed
            if not killed:  # it was done before
                too_late += 1
                self.assertLess(too_late, 50, "it is always done before it can be killed")
                shutil.rmtree(store)
        return too_late

    def check_kills(self, name, ranks_of):
        """Killed until it is left alone."""
        store = WORK / name
        too_late = self.kill_often(store, ranks_of)
        summary = prepare(self.images, store, ranks=ranks_of(6))
        print(f"ranks {[ranks_of(k) for k in range(7)]}: 6 kills, {too_late} too late; {summary['encoded']} of {IMAGES} encoded "
              f"at last, {summary['reused']} reused", flush=True)
        self.assertEqual(summary["examples"], IMAGES)
        self.assertEqual(content(store), self.expected)
        left = [path.name for path in store.iterdir() if path.suffix in (".journal", ".part", ".lock")]
        self.assertEqual(left, [])
        again = prepare(self.images, store)
        self.assertTrue(again["unchanged"])
        self.assertEqual(again["reused"], IMAGES)
        self.assertGreater(summary["reused"], 0, "nothing was kept by any of the kills")

    def test_resumes_after_kills(self):
        self.check_kills("killed", lambda kill: 0)

    def test_resumes_after_kills_over_ranks(self):
        self.check_kills("killed-ranks", lambda kill: 2)

    def test_resumes_at_another_number_of_ranks(self):
        self.check_kills("killed-elastic", lambda kill: 2 + kill % 2)

    def test_a_store_that_another_process_is_writing_is_left_alone(self):
        store = WORK / "two"
        store.mkdir()
        with open(store / "prepare.lock", "w") as held:  # as the other one does
            held.write("process 1 on elsewhere")
            held.flush()
            fcntl.flock(held, fcntl.LOCK_EX)
            for ranks in (0, 2):
                stderr = kessoku(*arguments(self.images, store), ranks=ranks, expect=64).stderr
                self.assertIn("another kessoku prepare (process 1 on elsewhere) is writing this store", stderr)
        self.assertEqual(prepare(self.images, store)["encoded"], IMAGES)

    def test_damaged_rows_are_named_each_and_made_again(self):
        store = self.copy_of_store("damaged")
        shard = next(store.glob("shard-*"))
        self.assertIn(f"sound, {IMAGES} examples", kessoku("inspect", store, "--verify").stdout)
        with h5py.File(shard, "r+") as file:
            bucket = next(iter(file.values()))
            names = bytes(bucket["source_bytes"][...])
            at = bucket["source_offsets"][...]
            damaged = [names[at[i]:at[i + 1]].decode() for i in (0, 3)]
            bucket["images"][0, 0, 1, 2, 3] ^= 1
            bucket["moments"][3, 0, 1, 2, 3] += 1
        manifest = json.loads((store / "store.json").read_text())
        self.assertEqual(manifest["shards"][0]["bytes"], shard.stat().st_size)
        found = kessoku("inspect", store, "--verify", expect=65)
        for name in damaged:
            self.assertIn(f"({name}) is damaged", found.stdout)
        self.assertEqual(len(found.stdout.strip().splitlines()), 2, found.stdout)
        self.assertIn("2 damaged", found.stderr)
        summary = prepare(self.images, store)
        self.assertEqual((summary["encoded"], summary["reused"]), (2, IMAGES - 2))
        self.assertEqual(content(store), self.expected)

    def test_captions_only_refreshes_words_and_keeps_rows(self):
        images, store = Path(shutil.copytree(self.images, WORK / "captions")), self.copy_of_store("refreshed")
        rows_before = {p.stat().st_ino for p in store.glob("shard-*")}
        (images / "a/001.txt").write_text("another caption")
        (images / "b/multiply.txt").write_text("2.5")
        shutil.copy(images / "a/001.png", images / "a/new.png")
        (images / "a/002.png").rename(WORK / "002.png")
        summary = prepare(images, store, "--captions-only")
        in_b = len(list((images / "b").glob("*.png")))
        self.assertEqual((summary["refreshed"], summary["encoded"]), (1 + in_b, 0))
        for warning, words in zip(summary["warnings"], ("images without a caption: 1 of 60", "a/002.txt: a text without an image",
                                                        "1 image of the store", "1 image of the dataset"), strict=True):
            self.assertIn(words, warning)
        caption = ("another caption", *self.expected["a/001.png"][1:])
        self.assertEqual(content(store), self.expected | {"a/001.png": caption})
        manifest = json.loads((store / "store.json").read_text())
        self.assertEqual(manifest["categories"][2]["multiply"], 2.5)
        self.assertEqual({p.stat().st_ino for p in store.glob("rows-*")}, rows_before)
        dumped = subprocess.run(["h5dump", "-H", next(store.glob("shard-*"))], capture_output=True, text=True)
        self.assertEqual(dumped.returncode, 0, dumped.stderr)
        self.assertIn("caption_bytes", dumped.stdout)
        self.assertFalse(prepare(images, store, "--captions-only")["refreshed"])
        (images / "a/new.png").unlink()
        (WORK / "002.png").rename(images / "a/002.png")
        self.assertTrue(prepare(images, store)["unchanged"])
        (images / "a/001.txt").write_text("a third one")
        self.assertEqual(prepare(images, store)["refreshed"], 1)
        self.assertEqual(content(store)["a/001.png"][0], "a third one")


if __name__ == "__main__":
    run_tests()
