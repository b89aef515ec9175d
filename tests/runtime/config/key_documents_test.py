"""What is generated from the declarations of keys is not stale, and agrees with the program."""

import copy
import json
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

import jsonschema

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import update_key_documents  # noqa: E402

PROGRAM = sys.argv[1]
WORK = Path(sys.argv[2])
SCHEMA = json.loads((ROOT / "configs/run-file.schema.json").read_text())


def keys(*arguments, expect=0):
    done = subprocess.run([PROGRAM, "keys", *arguments], capture_output=True, text=True)
    assert done.returncode == expect, done.stderr
    return done.stdout if expect == 0 else done.stderr


class Documents(unittest.TestCase):
    def test_are_not_stale(self):
        for path, text in update_key_documents.documents(PROGRAM).items():
            self.assertTrue(path.read_text() == text, f"{path} is stale: run scripts/update_key_documents.py")


class Schema(unittest.TestCase):
    def test_accepts_all_shipped_run_files(self):
        jsonschema.Draft7Validator.check_schema(SCHEMA)
        run_files = sorted(ROOT.glob("configs/*.toml"))
        self.assertGreaterEqual(len(run_files), 4)
        for file in run_files:
            with self.subTest(file.name):
                text = file.read_text()
                jsonschema.validate(tomllib.loads(text), SCHEMA)
                self.assertTrue(text.startswith("#:schema ./run-file.schema.json\n"))

    def test_refuses_and_accepts_what_the_program_does(self):
        WORK.mkdir(parents=True, exist_ok=True)
        base = {"model": {"path": "m"}, "data": {"store": "none"}}
        for section, key, value, good in (
                ("train", "steps", 5, True), ("train", "steps", 0, False), ("train", "steps", "5", False),
                ("train", "stepz", 5, False), ("train", "precision", "bf16", True),
                ("train", "precision", "fp8", False), ("train", "prediction", "", True),
                ("train", "beta_range", [], True), ("train", "beta_range", [0.1, 0.2], True),
                ("train", "beta_range", [0.1], False), ("train", "beta_range", [0, 0.2], False),
                ("optimizer", "text_encoder_lr", -1, True), ("optimizer", "text_encoder_lr", -0.5, False),
                ("optimizer", "eps", 0, False), ("ema", "decay", 0.5, True), ("ema", "decay", 1.0, False),
                ("metrics", "port", -1, True), ("metrics", "port", -2, False),
                ("sample", "size", [64, 64], True), ("sample", "size", [], True), ("sample", "size", [0, 64], False),
                ("sample", "solver", "nonsense", False), ("sample", "steps", -3, False),
                ("sample", "prompts", ["a", "b"], True), ("sample", "prompts", [1], False),
                ("data", "max_token_length", 150, True), ("data", "max_token_length", 100, False),
                ("data", "caption_rename", [["a", "b"]], True), ("data", "caption_rename", [["", "b"]], False),
                ("optimizer", "lr_scale", [["unet.*", 0.5]], True), ("optimizer", "lr_scale", [["unet.*"]], False),
                ("mixture", "a/*", 0.5, True), ("mixture", "a/*", -1, False), ("mixture", "pass_draws", 7, True),
                ("optimiser", "lr", 1.0, False)):
            with self.subTest(f"{section}.{key} = {value}"):
                document = copy.deepcopy(base)
                document.setdefault(section, {})[key] = value
                file = WORK / "run.toml"
                file.write_text("".join(
                    f"[{name}]\n" + "".join(f"{json.dumps(k)} = {json.dumps(v)}\n" for k, v in table.items())
                    for name, table in document.items()))
                done = subprocess.run([PROGRAM, "plan", file], capture_output=True, text=True)
                self.assertEqual(jsonschema.Draft7Validator(SCHEMA).is_valid(document), good)
                # What is accepted fails for its store, which is not there.
                self.assertEqual("run.toml, line" not in done.stderr, good, done.stderr)


class KeysCommand(unittest.TestCase):
    def test_finds_by_part_of_a_name_and_by_pattern(self):
        names = [key["key"] for key in json.loads(keys("_lr", "--json"))]
        self.assertEqual(names, ["optimizer.text_encoder_lr", "optimizer.end_lr"])
        self.assertEqual([key["key"] for key in json.loads(keys("*.decay", "--json"))], ["ema.decay"])
        self.assertGreater(len(json.loads(keys("--json"))), 80)

    def test_says_all_about_a_key(self):
        text = keys("train.steps")
        for words in ("train.steps = 1000 optimizer steps", "a whole number from 1 to 1000000000",
                      "on resume: recorded"):
            self.assertIn(words, text)

    def test_names_what_was_meant(self):
        self.assertIn("optimizer.lr", keys("learning_rate", expect=64))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
