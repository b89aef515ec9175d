"""Settings are checked before the first step: what train refuses or warns of, plan and launch do too.

    settings_test.py KESSOKU WORK_FOLDER
"""
import json
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import ENVIRONMENT, PROGRAM, WORK, kessoku, log_of, make_inputs, run_tests

PREVIEWS = ("sample.prompts=['a girl']", "sample.every_steps=2", "sample.steps=2")
COMMANDS = ("train", "plan", "launch")


def overrides(*settings):
    return [argument for setting in settings for argument in ("--set", setting)]


class Settings(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()

    def run_command(self, command, out, *settings):
        """(exit code, all that it printed); `launch` starts nothing."""
        more = {"train": ("--out", WORK / out), "launch": ("--dry-run", "--out", WORK / out)}.get(command, ())
        words = [PROGRAM, command, self.run_file, *more, *overrides(*settings)]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=ENVIRONMENT)
        return done.returncode, done.stdout + done.stderr

    def test_what_no_run_can_do_is_refused_by_all_commands(self):
        for settings, words in (
                (("sample.size=[0, 64]",), "sample.size"),
                (("sample.size=[100, 100]",), "nearest size is 104x104"),
                (("sample.solver=foo",), "sample.solver = 'foo': must be"),
                (("sample.solver=pndm", "train.zero_terminal_snr=true", "train.prediction=v_prediction"), "pndm cannot begin"),
                (("sample.steps=0",), "sample.steps"),
                (("sample.cfg=nan",), "sample.cfg"),
                (("data.flip=0.5", "train.target=['unet']"), "data.flip"),
                (("train.timesteps=[0, 1001]",), "train.timesteps"),
                (("train.zero_terminal_snr=true",), "v_prediction"),
                (("train.clip_skip=90",), "train.clip_skip"),
                (("optimizer.freeze=['unet.dwon_blocks.*']",), "unet.dwon_blocks"),
                (("mixture.fanarts=1",), "fanarts")):
            for command in COMMANDS:
                with self.subTest(f"{command}: {settings}"):
                    code, said = self.run_command(command, "refused", *PREVIEWS, *settings)
                    self.assertEqual(code, 64, said)
                    self.assertIn(words, said)
        self.assertFalse((WORK / "refused/log.jsonl").exists())

    def test_odd_settings_are_warned_of_by_all_commands(self):
        settings = ("data.caption_rename=[['Image', 'x'], ['nobody', 'y'], ['image', 'picture']]", "data.keep_tags=2",
                    "optimizer.warmup_steps=6", "sample.every_steps=5", "optimizer.schedule_cycles=2")
        for command in COMMANDS:
            code, said = self.run_command(command, "odd", *settings)
            self.assertEqual(code, 0, said)
            with self.subTest(command):
                for words in ('no caption has the word "Image"; 26 have it in other upper and lower case',
                              'no caption has the word "nobody"', "data.keep_tags = 2 has no effect",
                              "the run of 6 steps ends before", "sample.every_steps = 5 has no effect without sample.prompts",
                              "optimizer.schedule_cycles = 2 has no effect"):
                    self.assertIn(words, said)
                self.assertNotIn('the word "image"', said)

    def test_what_is_usual_is_not_warned_of(self):
        plan = json.loads(kessoku("plan", self.run_file, "--json", *overrides(
            "data.shuffle_tags=true", "data.keep_tags=2", "data.caption_rename=[['image', 'picture']]", *PREVIEWS)).stdout)
        self.assertEqual([w for w in plan["warnings"] if "effect" in w or "caption_rename" in w], [])

    def test_a_run_may_be_so_many_passes_long(self):
        settings = overrides("mixture.pass_draws=42", "train.passes=0.5")
        plan = json.loads(kessoku("plan", self.run_file, "--json", *settings).stdout)
        self.assertEqual((plan["steps"], plan["draws"]), (3, 24), "21 draws, 8 a step")
        kessoku("train", self.run_file, "--out", WORK / "passes", *settings)
        self.assertEqual(len(log_of(WORK / "passes")), 3)
        kessoku("train", self.run_file, "--out", WORK / "passes", *overrides("mixture.pass_draws=42", "train.passes=0.7"))
        self.assertEqual(len(log_of(WORK / "passes")), 4)
        self.assertEqual([c["key"] for c in log_of(WORK / "passes")[3]["changes"]], ["train.steps"])

    def test_previews_that_are_possible_are_drawn(self):
        kessoku("train", self.run_file, "--out", WORK / "drawn", *overrides("train.steps=2", "sample.size=[64, 96]", *PREVIEWS))
        self.assertEqual(len(log_of(WORK / "drawn")), 2)
        self.assertEqual(len(list((WORK / "drawn/samples").glob("step-*/00000.png"))), 2)


if __name__ == "__main__":
    run_tests()
