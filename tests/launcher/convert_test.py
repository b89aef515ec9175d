"""`kessoku convert` and `kessoku inspect` of models, against torch, safetensors and diffusers.

    convert_test.py KESSOKU WORK_FOLDER
"""
import filecmp
import json
import shutil
import sys
import unittest
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import WORK, kessoku, make_model, run_tests


class Convert(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = make_model()
        for name in ("x.safetensors", "x.ckpt", "bin"):
            kessoku("convert", cls.model, WORK / name, *(["--bin"] if name == "bin" else []))
        cls.state = torch.load(WORK / "x.ckpt", weights_only=True)["state_dict"]
        cls.ldm = load_file(WORK / "x.safetensors")

    def assert_same_folders(self, a, b):
        files = sorted(path.relative_to(a) for path in a.rglob("*") if path.is_file())
        self.assertEqual(files, sorted(path.relative_to(b) for path in b.rglob("*") if path.is_file()))
        for file in files:
            self.assertTrue(filecmp.cmp(a / file, b / file, shallow=False), file)

    def assert_same_weights(self, pipeline, expected):
        for part in ("unet", "vae", "text_encoder"):
            found = getattr(pipeline, part).state_dict()
            self.assert_same_tensors(found, getattr(expected, part).state_dict(), part)

    def assert_same_tensors(self, found, wanted, part=""):
        self.assertEqual(found.keys(), wanted.keys())
        for name in wanted:
            self.assertTrue(torch.equal(found[name], wanted[name]), f"{part}: {name}")

    def test_every_format_and_back_gives_the_same_files(self):
        for name in ("x.safetensors", "x.ckpt", "bin"):
            with self.subTest(name):
                kessoku("convert", WORK / name, WORK / f"{name}-back")
                self.assert_same_folders(self.model, WORK / f"{name}-back")
        kessoku("convert", WORK / "x.ckpt-back", WORK / "again.ckpt")
        self.assertTrue(filecmp.cmp(WORK / "x.ckpt", WORK / "again.ckpt", shallow=False))

    def test_torch_safetensors_and_diffusers_read_the_same_weights(self):
        self.assert_same_tensors(self.state, self.ldm)
        expected = StableDiffusionPipeline.from_pretrained(self.model)
        bin_files = StableDiffusionPipeline.from_pretrained(WORK / "bin", use_safetensors=False)
        self.assert_same_weights(bin_files, expected)
        for name in ("x.safetensors", "x.ckpt"):
            with self.subTest(name):
                single = StableDiffusionPipeline.from_single_file(
                    WORK / name, config=str(self.model), local_files_only=True)
                self.assert_same_weights(single, expected)

    def test_averages_are_taken_on_request_beside_the_extras_of_other_trainers(self):
        """In the legacy form, with names as LDM's LitEma makes them."""
        averaged = {k: v + 1 for k, v in self.state.items() if k.startswith("model.diffusion_model.")}
        ema = {"model_ema." + k.removeprefix("model.").replace(".", ""): v for k, v in averaged.items()}
        torch.save({"state_dict": self.state | ema, "epoch": 3, "callbacks": {Path: Path("x")}},
                   WORK / "ema.ckpt", _use_new_zipfile_serialization=False)
        config = ("--config", self.model)
        self.assertTrue(json.loads(kessoku("inspect", WORK / "ema.ckpt", *config, "--json").stdout)["ema"])
        kessoku("convert", WORK / "ema.ckpt", WORK / "plain.safetensors", *config)
        kessoku("convert", WORK / "ema.ckpt", WORK / "ema.safetensors", *config, "--ema")
        for name, value in load_file(WORK / "plain.safetensors").items():
            self.assertTrue(torch.equal(value, self.ldm[name]), name)
        found = load_file(WORK / "ema.safetensors")
        for name, value in self.ldm.items():
            self.assertTrue(torch.equal(found[name], averaged.get(name, value)), name)

    def test_a_part_by_itself(self):
        kessoku("convert", self.model, WORK / "vae.pt", "--part", "vae")
        kessoku("convert", WORK / "vae.pt", WORK / "vae")
        self.assert_same_folders(self.model / "vae", WORK / "vae")

    def test_half_precision_rounds_as_torch_does(self):
        kessoku("convert", self.model, WORK / "half.ckpt", "--dtype", "f16")  # the old spelling of fp16
        half = torch.load(WORK / "half.ckpt", weights_only=True)["state_dict"]
        for name, value in self.ldm.items():
            wanted = value.half() if value.is_floating_point() else value
            self.assertTrue(torch.equal(half[name], wanted), name)

    def test_a_file_that_is_cut_off_is_65_and_leaves_nothing(self):
        for name in ("x.safetensors", "x.ckpt"):
            cut = WORK / f"cut-{name}"
            whole = (WORK / name).read_bytes()
            cut.write_bytes(whole[: len(whole) // 2])
            for arguments in (("inspect", cut), ("convert", cut, WORK / "none")):
                with self.subTest(arguments=arguments):
                    error = kessoku(*arguments, expect=65).stderr
                    self.assertIn(cut.name, error)
                    self.assertEqual(error.count("\n"), 1, error)
        self.assertFalse((WORK / "none").exists())
        self.assertEqual(list(WORK.glob("*.tmp*")), [])

    def test_dictionaries_around_the_weights_are_opened(self):
        for name, wrapped in (("twice", {"state_dict": {"state_dict": self.state}, "epoch": 1}), ("model", {"model": self.state, "ema": {}}),
                              ("module", {"state_dict": {"module": self.state}}), ("bare", self.state)):
            with self.subTest(name):
                torch.save(wrapped, WORK / f"{name}.ckpt")
                kessoku("convert", WORK / f"{name}.ckpt", WORK / f"{name}.safetensors", "--config", self.model)
                self.assert_same_tensors(load_file(WORK / f"{name}.safetensors"), self.ldm)

    def test_averages_alone_are_the_weights(self):
        ema = {"model_ema." + k.removeprefix("model.").replace(".", "") if k.startswith("model.diffusion_model.") else k: v
               for k, v in self.state.items()}
        save_file(ema, WORK / "only-ema.safetensors")
        kessoku("convert", WORK / "only-ema.safetensors", WORK / "only.safetensors", "--config", self.model)
        self.assert_same_tensors(load_file(WORK / "only.safetensors"), self.ldm)

    def test_a_vision_tower_beside_the_text_encoder_is_ignored(self):
        whole = WORK / "clip"
        shutil.copytree(self.model, whole)
        file, config = whole / "text_encoder/model.safetensors", whole / "text_encoder/config.json"
        tower = {"vision_model.embeddings.class_embedding": torch.zeros(8), "visual_projection.weight": torch.zeros(8, 8)}
        save_file(load_file(file) | tower, file, metadata={"format": "pt"})
        config.write_text(json.dumps({"model_type": "clip", "text_config": json.loads(config.read_text()), "vision_config": {}}))
        kessoku("convert", whole, WORK / "text-only")
        self.assert_same_folders(WORK / "text-only", self.model)
        ldm = {"cond_stage_model.transformer." + name: value for name, value in tower.items()}
        save_file(self.ldm | ldm, WORK / "tower.safetensors")
        kessoku("convert", WORK / "tower.safetensors", WORK / "no-tower.safetensors", "--config", self.model)
        self.assert_same_tensors(load_file(WORK / "no-tower.safetensors"), self.ldm)
        kessoku("convert", whole / "text_encoder", WORK / "part")
        self.assert_same_folders(WORK / "part", self.model / "text_encoder")

    def test_marks_say_how_the_unet_was_trained(self):
        marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
        unet = load_file(self.model / "unet/diffusion_pytorch_model.safetensors")
        for name, weights in (("marked", self.ldm), ("marked-unet", unet)):
            save_file(weights | marks, WORK / f"{name}.safetensors")
            kessoku("convert", WORK / f"{name}.safetensors", WORK / f"{name}.ckpt", "--config", self.model)
            written = torch.load(WORK / f"{name}.ckpt", weights_only=True)
            schedule = json.loads(written["kessoku_config"])["scheduler"]
            self.assertEqual((schedule["prediction_type"], schedule["rescale_betas_zero_snr"]), ("v_prediction", True))
            self.assertFalse(marks.keys() & written["state_dict"].keys())

    def test_the_scheduler_is_the_one_that_the_index_names(self):
        model = WORK / "two-schedulers"
        shutil.copytree(self.model, model)
        config = model / "scheduler/scheduler_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": "DDIMScheduler", "beta_end": 0.013}))
        expected = StableDiffusionPipeline.from_pretrained(model).scheduler
        warning = kessoku("convert", model, WORK / "one-scheduler").stderr
        self.assertRegex(warning, 'warning: .*model_index.json names "PNDMScheduler", but .*scheduler_config.json was written by "DDIMScheduler"')
        self.assertEqual(kessoku("convert", WORK / "one-scheduler", WORK / "once-more").stderr.count("warning"), 0)
        found = StableDiffusionPipeline.from_pretrained(WORK / "one-scheduler").scheduler
        self.assertIs(type(found), type(expected))
        self.assertTrue(torch.equal(found.betas, expected.betas))

    def test_what_is_no_weight_file_is_named(self):
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4265146304\n"
        page = "\n<!DOCTYPE html>\n<html><head></head></html>"
        for content, says in ((pointer, "a Git LFS pointer"), (page, "a web page"), ("Entry not found", 'what a server said ("Entry not found")'),
                              ("", "the file is empty")):
            for name in ("x.safetensors", "x.ckpt"):
                file = WORK / "wrong" / name
                file.parent.mkdir(exist_ok=True)
                file.write_text(content)
                self.assertIn(says, kessoku("inspect", file, expect=65).stderr)
        model = WORK / "pointers"
        for part in ("unet/config.json", "unet/diffusion_pytorch_model.safetensors"):
            shutil.rmtree(model, ignore_errors=True)
            shutil.copytree(self.model, model)
            (model / part).write_text(pointer)
            said = kessoku("convert", model, WORK / "none", expect=65).stderr
            self.assertIn(f"{part}: a Git LFS pointer, not the file itself; fetch it with `git lfs pull`", said)

    def test_values_that_do_not_fit_are_refused(self):
        large = self.state | {"first_stage_model.decoder.conv_out.bias": self.state["first_stage_model.decoder.conv_out.bias"] + 1e5}
        torch.save(large, WORK / "large.ckpt")
        said = kessoku("convert", WORK / "large.ckpt", WORK / "none.ckpt", "--dtype", "fp16", "--config", self.model, expect=65).stderr
        self.assertRegex(said, r'decoder\.conv_out\.bias" holds values up to 1000\d\d, which do not fit into fp16; take bf16 or fp32')
        kessoku("convert", WORK / "large.ckpt", WORK / "large.safetensors", "--dtype", "bf16", "--config", self.model)

    def test_nothing_is_overwritten(self):
        kessoku("convert", self.model, WORK / "x.ckpt", expect=64)


if __name__ == "__main__":
    run_tests()
