"""What the program did not write stays: each command that replaces or removes files, against files of others in the same places.

    overwrite_test.py KESSOKU WORK_FOLDER
"""
import shutil
import sys
import unittest
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import WORK, kessoku, make_inputs, run_tests, set_all


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*")) if not path.is_symlink()}


class Overwriting(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.finished = WORK / "run"
        kessoku(*cls.train(cls.finished))

    @classmethod
    def train(cls, run, run_file=None, **settings):
        return ["train", run_file or cls.run_file, "--out", run, *set_all({"metrics.port": -1, "train.steps": 2} | settings)]

    def require_refused(self, place, *arguments, says=()):
        """The command is refused in one line, and all below `place` is as it was."""
        before = content(place)
        said = kessoku(*arguments, expect=64).stderr
        self.assertEqual(said.count("\n"), 1, said)
        for word in says:
            self.assertIn(word, said)
        self.assertEqual(content(place), before, arguments)
        return said

    # --- convert --force

    def test_convert_replaces_what_it_wrote(self):
        folder, file, network = WORK / "own", WORK / "own.safetensors", WORK / "own-unet"
        for more in ((), ("--force",), ("--force", "--dtype", "fp16"), ("--force",)):
            kessoku("convert", self.model, folder, *more)
            kessoku("convert", self.model, file, *more)
            kessoku("convert", self.model, network, "--part", "unet", *more)
        self.require_refused(WORK / "own", "convert", self.model, folder, says=["--force replaces it"])
        kessoku("convert", self.model, folder, "--bin", "--force")  # other files than before, and none of those
        self.assertEqual(sorted(path.name for path in (folder / "unet").iterdir()), ["config.json", "diffusion_pytorch_model.bin"])
        self.assertEqual([path.name for path in WORK.iterdir() if ".tmp" in path.name or ".old" in path.name], [])

    def test_convert_leaves_all_else(self):
        def others(name, *files):
            folder = WORK / "others" / name
            for file in files:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_text("years of work")
            return folder
        model_and_more = WORK / "others/model-and-more"
        shutil.copytree(self.model, model_and_more)
        (model_and_more / "unet/notes.txt").write_text("years of work")
        others_config = WORK / "others/edited"
        shutil.copytree(self.model, others_config)
        config = others_config / "unet/config.json"
        config.write_text(config.read_text().replace("{", '{"mine": 1,', 1))
        linked = WORK / "others/linked"
        shutil.copytree(self.model, linked)
        weights = linked / "vae/diffusion_pytorch_model.safetensors"
        weights.rename(WORK / "others/blob")
        weights.symlink_to(WORK / "others/blob")
        save_file({"a": torch.zeros(1)}, WORK / "others/theirs.safetensors")
        (WORK / "others/theirs.ckpt").write_bytes(b"\x80\x02}.")
        (WORK / "others/link").symlink_to(self.model)
        for place in (others("images", "a.png", "sub/note.txt"), others("half", "config.json"), model_and_more, others_config, linked, self.store,
                      self.finished, self.finished / "checkpoints", self.finished / "checkpoints/step-00000002", WORK / "others/theirs.safetensors",
                      WORK / "others/theirs.ckpt", WORK / "others/link"):
            with self.subTest(place=place):
                self.require_refused(WORK, "convert", self.model, place, "--force", says=["is there already", "give another name"])

    def test_convert_leaves_its_source(self):
        source = WORK / "source"
        kessoku("convert", self.model, source)
        kessoku("convert", self.model, WORK / "source.ckpt")
        for arguments in ((source, source), (source, WORK), (source, source / "unet", "--part", "unet"), (WORK / "source.ckpt", WORK / "source.ckpt"),
                          (self.finished, self.finished), (WORK / "source.ckpt", source, "--config", source), (self.model, source, "--vae", source / "vae")):
            with self.subTest(arguments=arguments):
                self.require_refused(WORK, "convert", *arguments, "--force", "--dtype", "bf16", says=["is there already"])

    # --- train --out

    def test_train_leaves_files_with_its_names(self):
        for name, text in (("config.toml", self.run_file.read_text()), ("log.jsonl", "one line"), ("log.jsonl", '{"my": 1}\n{"my": 2}\n'),
                           ("mixture.json", "[]"), ("lock", "and key"), ("account.jsonl", "mine"), ("metrics/targets.json", '[{"targets": []}]')):
            with self.subTest(name):
                folder = WORK / "mine"
                shutil.rmtree(folder, ignore_errors=True)
                (folder / name).parent.mkdir(parents=True)
                (folder / name).write_text(text)
                self.require_refused(folder, *self.train(folder, **{"metrics.port": 0}), says=[str(folder / name), "would overwrite it"])
        (folder / "config.toml").write_text(self.run_file.read_text())
        shutil.rmtree(folder / "metrics")
        self.require_refused(folder, *self.train(folder, folder / "config.toml"), says=["config.toml"])

    def test_a_runs_own_settings_start_it_again(self):
        kessoku(*self.train(self.finished, self.finished / "config.toml"))
        old = WORK / "old"  # of a program with other keys
        shutil.copytree(self.finished, old, symlinks=True)
        settings = old / "config.toml"
        settings.write_text("key_that_is_gone = 1\n" + settings.read_text())
        kessoku(*self.train(old))

    def test_old_checkpoints_go_but_not_what_somebody_put_there(self):
        run = WORK / "kept"
        every = {"checkpoint.every_steps": 1, "checkpoint.keep": 1, "checkpoint.background": "false"}
        kessoku(*self.train(run, **every))
        checkpoints = run / "checkpoints"
        (checkpoints / "step-00000002/fp16.safetensors").write_text("years of work")
        (checkpoints / "step-of-mine.tmp").mkdir()
        (checkpoints / "step-of-mine.tmp/note.txt").write_text("years of work")
        kessoku(*self.train(run, **every | {"train.steps": 3}))
        self.assertEqual(content(checkpoints / "step-00000002"), {"fp16.safetensors": b"years of work"})
        self.assertTrue((checkpoints / "step-of-mine.tmp/note.txt").exists())
        kessoku(*self.train(run, **every | {"train.steps": 4}))
        self.assertTrue((checkpoints / "step-00000004").exists())

    # --- others

    def test_forward_plan_and_report_leave_others_files(self):
        mine = WORK / "tables"
        mine.mkdir()
        save_file({"input_ids": torch.zeros(1, 77, dtype=torch.int32)}, mine / "in.safetensors")
        forward = ("forward", "text_encoder", self.model, mine / "in.safetensors")
        for _ in range(2):
            kessoku(*forward, mine / "out.safetensors")
        self.assertEqual(list(load_file(mine / "out.safetensors")), ["last_hidden_state"])
        self.require_refused(mine, *forward, mine / "in.safetensors")
        self.require_refused(self.model, *forward, self.model / "text_encoder/model.safetensors", says=["give another OUT"])
        plan = ("plan", self.run_file, "--schedule")
        for _ in range(2):
            kessoku(*plan, mine / "schedule.csv")
        (mine / "mine.csv").write_text("draw,my\n1,2\n")
        self.require_refused(mine, *plan, mine / "mine.csv", says=["give another name"])
        for _ in range(2):
            kessoku("report", self.finished)
        (self.finished / "report.html").write_text("<html>mine</html>")
        self.require_refused(self.finished, "report", self.finished, says=["move it away"])
        (self.finished / "report.html").unlink()


if __name__ == "__main__":
    run_tests()
