"""Which nightly tests a commit runs: nightly_sample_test.py"""
import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from nightly_sample import PARTS, split


def tests(nightly, others):
    return [{"name": name, "properties": [{"name": "LABELS", "value": ["device", label]}]}
            for names, label in ((nightly, "nightly"), (others, "fast")) for name in names]


class NightlySample(unittest.TestCase):
    def test_each_test_has_its_turn_within_as_many_commits_as_there_are_parts(self):
        nightly = [f"size_{i}" for i in range(10)]
        runs = []
        for commit in range(PARTS):
            chosen, left_out = split(tests(nightly, ["plan"]), f"{commit:x}")
            self.assertEqual(sorted(chosen + left_out), nightly)
            runs += chosen
        self.assertEqual(sorted(runs), nightly)

    def test_the_expression_leaves_out_what_was_not_chosen_and_nothing_else(self):
        listed = {"tests": tests(["size", "a+b"], ["size_2", "plan"]) + [{"name": "bare", "properties": []}]}
        command = [sys.executable, ROOT / "scripts/nightly_sample.py"]
        for commit, chosen, left_out in (("abc0", "a+b", "size"), ("abc1", "size", "a+b"), ("abc2", "none", "size")):
            done = subprocess.run([*command, commit], input=json.dumps(listed), capture_output=True, text=True, check=True)
            self.assertIn(f"of 2 nightly tests this commit runs {chosen};", done.stderr)
            excluded = [test["name"] for test in listed["tests"] if re.search(done.stdout.strip(), test["name"])]
            self.assertIn(left_out, excluded)
            self.assertLessEqual(set(excluded), {"size", "a+b"} - {chosen})


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
