"""`kessoku convert` and `kessoku inspect` of models, against torch, safetensors and diffusers.

    convert_test.py KESSOKU WORK_FOLDER
"""
import filecmp
import json
import sys
import unittest
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

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

    def test_nothing_is_overwritten(self):
        kessoku("convert", self.model, WORK / "x.ckpt", expect=64)


if __name__ == "__main__":
    run_tests()
