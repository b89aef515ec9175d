"""`kessoku prepare` and `kessoku inspect` on datasets of all dialects, from outside.

    dataset_command_test.py KESSOKU WORK_FOLDER
"""
import itertools
import json
import sys
import unittest
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "distributed"))
from harness import WORK, empty_work_folder, kessoku, run_tests

COLORS = itertools.count(1)


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (next(COLORS), 0, 0)).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class DatasetCommand(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        empty_work_folder()

    def setUp(self):
        self.root = WORK / self.id().rsplit(".", 1)[1] / "set"
        self.store = self.root.parent / "store"

    def prepare(self, dataset, *more):
        done = kessoku("prepare", dataset, "--out", self.store, "--keep", "images", "--resolution", 64, "--json", *more)
        inspected = json.loads(kessoku("inspect", self.store, "--json").stdout)
        return json.loads(done.stdout), {entry.pop("path"): entry for entry in inspected["categories"]}

    def assert_refused(self, code, words, dataset, *more):
        with self.subTest(words):
            done = kessoku("prepare", dataset, "--out", WORK / "refused", "--keep", "images", *more, expect=code)
            self.assertIn(words, done.stderr)
            *before, error = done.stderr.strip().splitlines()
            self.assertIn(words, error)
            self.assertTrue(all(line.startswith("warning: ") for line in before), done.stderr)

    def make_everydream(self):
        image(self.root / "a/1.png")
        image(self.root / "a/b/2.png")
        write(self.root / "a/1.txt", "one")
        write(self.root / "a/b/2.txt", "two")
        write(self.root / "a/multiply.txt", "0.5")
        write(self.root / "a/global.yaml", "cond_dropout: 0.25\nbatch_id: night\n")

    def test_everydream2_settings_are_kept(self):
        self.make_everydream()
        summary, categories = self.prepare(self.root)
        self.assertEqual((summary["examples"], summary["warnings"]), (2, []))
        self.assertEqual(categories["a"], {"examples": 2, "multiply": 0.5, "settings": [
            {"multiply": 0.5, "loss_scale": 1.0, "caption_dropout": 0.25, "batch_id": "night"}]})
        self.assertIn('batch_id "night"', kessoku("inspect", self.store).stdout)

    def test_everydream1_cuts_multipliers_with_a_warning(self):
        self.make_everydream()
        summary, categories = self.prepare(self.root, "--dialect", "everydream1")
        self.assertEqual(categories["a"], {"examples": 2, "multiply": 0.0})
        self.assertTrue(any("cut to 0" in warning for warning in summary["warnings"]), summary)

    def test_everydream2_files_that_are_wrong_are_refused_by_line(self):
        self.make_everydream()
        write(self.root / "a/local.yaml", "multiply: 1\n  tags: [")
        self.assert_refused(65, "a/local.yaml:2: not YAML", self.root)
        write(self.root / "list.json", '[{"image": "a/1.png",\n "multiply": -1}]')
        self.assert_refused(65, "list.json:2: multiply", self.root / "list.json")

    def test_everydream2_lists_name_what_is_missing(self):
        self.make_everydream()
        write(self.root / "list.json", '[{"image": "a/1.png", "main_prompt": "x"}, {"image": "gone.png"}]')
        summary, _ = self.prepare(self.root / "list.json")
        self.assertEqual(summary["examples"], 1)
        self.assertEqual([entry["source"] for entry in summary["skipped"]], ["gone.png"])

    def test_screenshot_pipeline_weights_come_from_the_csv(self):
        for name in ("1_character/class1", "1_character/class2", "others/class1", "others/class3"):
            image(self.root / name / "1.png")
        weights, dialect = self.root.parent / "weights.csv", ("--dialect", "screenshot-pipeline")
        write(weights, "1_character,3\nclass1, 4\n*class2,6\n")
        _, categories = self.prepare(self.root, *dialect, "--weights", weights)
        self.assertEqual({path: entry["weight"] for path, entry in categories.items()}, {
            ".": 1, "1_character": 3, "1_character/class1": 4, "1_character/class2": 6, "others": 1,
            "others/class1": 4, "others/class3": 1})
        write(weights, "1_character,3\nclass1\n")
        self.assert_refused(65, "weights.csv:2: 1 columns", self.root, *dialect, "--weights", weights)
        self.assert_refused(64, "none.csv", self.root, *dialect, "--weights", self.root.parent / "none.csv")

    def test_kohya_repeats_come_from_the_folders_names(self):
        image(self.root / "10_bocchi/1.png")
        image(self.root / "other/2.png")
        kohya = ("--dialect", "kohya")
        summary, categories = self.prepare(self.root, *kohya)
        self.assertEqual(categories, {".": {"examples": 1, "multiply": 1.0},
                                      "10_bocchi": {"examples": 1, "multiply": 10.0}})
        self.assertEqual(len(summary["warnings"]), 2, summary)
        self.assertIn("images without a caption: 1 of 1", summary["warnings"][0])
        self.assertIn("other (1 image)", summary["warnings"][1])
        write(self.root / "meta.jsonl", '{"image_path": "other/2.png", "caption": "two"}\n{"image_path": ')
        self.assert_refused(65, "meta.jsonl:2: not JSON", self.root / "meta.jsonl", *kohya)
        self.assert_refused(64, "10_name", self.root / "other", *kohya)
        self.assert_refused(64, "did you mean 'kohya'", self.root, "--dialect", "koya")


if __name__ == "__main__":
    run_tests()
