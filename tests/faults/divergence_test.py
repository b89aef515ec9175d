"""Weights that are not finite, or not in the dtype asked for: no checkpoint holds them, and what the program says to do works.

    divergence_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import re
import shutil
import sys
import unittest
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import WORK, kessoku, last_step, make_inputs, run_tests, set_all

UNET, VAE = "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"
TEXT_ENCODER, WORDS = "text_encoder/model.safetensors", "text_model.embeddings.token_embedding.weight"


def checkpoints_of(run):
    return sorted(path.name for path in (run / "checkpoints").glob("step-*"))


class Divergence(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()

    def train(self, run, settings, expect=0, ranks=0):
        done = kessoku("train", self.run_file, "--out", run, *set_all({"metrics.port": -1} | settings), expect=expect, ranks=ranks)
        return done.stderr

    def require_finite(self, run):
        for name in checkpoints_of(run):
            for file in (run / "checkpoints" / name).rglob("*.safetensors"):
                for tensor, values in load_file(file).items():
                    self.assertTrue(np.isfinite(values).all(), f"{name}: {file.name}: {tensor}")

    def test_the_advice_after_a_divergence_works(self):
        sound = WORK / "sound"
        self.train(sound, {"train.steps": 4, "checkpoint.every_steps": 2, "checkpoint.keep": 2})
        for background in ("true", "false"):
            for ranks in (0, 2):
                with self.subTest(background=background, ranks=ranks):
                    run = WORK / f"run-{background}-{ranks}"
                    shutil.copytree(sound, run, symlinks=True)
                    each = {"train.steps": 8, "checkpoint.every_steps": 1, "checkpoint.keep": 1, "checkpoint.background": background}
                    said = self.train(run, each | {"optimizer.lr": 1e4, "optimizer.grad_clip": 0}, expect=64, ranks=ranks)
                    self.assertRegex(said, r"training diverged at step 6 .*: lower optimizer\.lr or set optimizer\.grad_clip; \S*step-00000005 led "
                                           r"to it and is now step-00000005\.diverged; the same command then resumes from \S*step-00000004")
                    self.assertIn("step-00000004", checkpoints_of(run))
                    self.assertNotIn("step-00000005", checkpoints_of(run))
                    self.assertEqual(str((run / "checkpoints/latest").readlink()), "step-00000004")
                    said = self.train(run, each | {"optimizer.lr": 1e-5}, ranks=ranks)
                    self.assertRegex(said, r"at step 4 from \S*step-00000004")
                    self.assertEqual(checkpoints_of(run), ["step-00000008"])
                    self.require_finite(run)

    def test_a_last_step_that_diverges_is_an_error_and_leaves_no_checkpoint(self):
        for name, lr in (("overflow", 1e38), ("useless", 1e4)):
            with self.subTest(name):
                run = WORK / name
                once = {"train.steps": 1, "ema.decay": 0, "optimizer.grad_clip": 0}
                said = self.train(run, once | {"optimizer.lr": lr}, expect=64)
                self.assertRegex(said, "training diverged with step 1 .*; the same command then starts from step 0")
                self.assertEqual(checkpoints_of(run), [])
                self.train(run, once | {"optimizer.lr": 1e-5})
                self.assertEqual((checkpoints_of(run), last_step(run)), (["step-00000001"], 1))
                self.require_finite(run)

    def test_weights_that_do_not_fit_are_written_as_fp32_and_said(self):
        for part, tensor, dtype, wanted in ((UNET, "conv_in.bias", "fp16", np.float32), (TEXT_ENCODER, WORDS, "fp16", np.float32),
                                            (UNET, "conv_in.bias", "fp32", np.float32), (None, None, "fp16", np.float16)):
            with self.subTest(part=part, dtype=dtype):
                model = WORK / "large"
                shutil.rmtree(model, ignore_errors=True)
                shutil.copytree(self.model, model)
                if part:
                    weights = load_file(model / part)
                    weights[tensor].flat[0] = 1e5  # of the words: one that no caption has
                    save_file(weights, model / part, metadata={"format": "pt"})
                run = WORK / "run"
                shutil.rmtree(run, ignore_errors=True)
                said = self.train(run, {"model.path": f"'{model}'", "train.steps": 2, "checkpoint.every_steps": 1, "train.target": "['unet']",
                                        "checkpoint.weights_dtype": f"'{dtype}'", "optimizer.lr": 1e-6})
                told = re.findall(r"warning: (\S+) holds values up to (\S+), which do not fit into fp16", said)
                expected = [(Path(part).parts[0] + "." + tensor, "100000")] if part and wanted != np.dtype(dtype.replace("fp", "float")) else []
                self.assertEqual(told, expected, said)
                self.require_finite(run)
                for file in (UNET, VAE, TEXT_ENCODER):
                    kinds = {values.dtype for values in load_file(run / "checkpoints/step-00000002" / file).values()}
                    self.assertEqual(kinds, {np.dtype(wanted)}, file)

    def changed_model(self, name, file, tensor, change):
        model = WORK / name
        shutil.copytree(self.model, model)
        weights = load_file(model / file)
        weights[tensor] = change(weights[tensor])
        save_file(weights, model / file, metadata={"format": "pt"})
        return f"'{model}'"

    def test_weights_beyond_fp16_are_refused_by_train_and_plan(self):
        def large(weights):
            weights.flat[0] = 1e5
            return weights

        for target, file, tensor in (("unet", UNET, "conv_in.bias"), ("unet", TEXT_ENCODER, WORDS), ("vae", VAE, "decoder.conv_in.bias")):
            part = Path(file).parts[0]
            with self.subTest(part=part):
                settings = {"model.path": self.changed_model(f"beyond-{part}", file, tensor, large), "train.precision": "'fp16'",
                            "train.target": f"['{target}']"}
                for command in (("train", self.run_file, "--out", WORK / f"beyond-{part}-run"), ("plan", self.run_file)):
                    said = kessoku(*command, *set_all(settings), expect=64).stderr
                    self.assertIn(f'train.precision = "fp16": {part}.{tensor} holds values up to 100000, which do not fit into fp16; '
                                  "take bf16 or fp32 instead", said)

    def test_fp16_leaves_out_steps_whose_loss_overflows_until_it_cannot_be_the_scale(self):
        model = self.changed_model("steep", UNET, "conv_out.weight", lambda weights: weights * 1e5)
        run = WORK / "steep-run"
        said = self.train(run, {"model.path": model, "train.steps": 60, "train.precision": "'fp16'", "train.target": "['unet']",
                                "train.global_batch": 1, "train.micro_batch": 1, "checkpoint.every_steps": 0,
                                # Backward is slow in fp16 on CPUs: let it end at the last layer.
                                "optimizer.freeze": ["unet.conv_in*", "unet.time*", "unet.down*", "unet.mid*", "unet.up*"]}, expect=64)
        self.assertRegex(said, r"training diverged at step 33 \(loss (inf|nan|-nan), gradient norm \S+\)")  # 65536 is halved 32 times
        self.assertEqual(last_step(run), 32)

    def test_a_model_that_is_not_finite_is_refused_by_name(self):
        model = WORK / "nan"
        shutil.copytree(self.model, model)
        weights = load_file(model / UNET)
        weights["conv_out.bias"][0] = np.nan
        save_file(weights, model / UNET, metadata={"format": "pt"})
        for arguments in (("sample", model, "--prompt", "x", "--steps", 1, "--out", WORK / "images"), ("convert", model, WORK / "x.ckpt"),
                          ("train", self.run_file, "--set", f"model.path='{model}'", "--out", WORK / "of-nan")):
            said = kessoku(*arguments, expect=65).stderr
            self.assertRegex(said, r'nan/unet/\S+: tensor "conv_out\.bias" holds NaN or infinity')
        self.assertFalse((WORK / "x.ckpt").exists())


if __name__ == "__main__":
    run_tests()
