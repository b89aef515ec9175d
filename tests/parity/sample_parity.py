"""`kessoku sample` against diffusers' StableDiffusionPipeline: same weights, latents and solver, same image.

    sample_parity.py KESSOKU WORK_FOLDER
"""
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler
from PIL import Image
from safetensors.torch import save_file

from tiny_model import tiny_pipeline

PROGRAM, WORK = Path(sys.argv[1]), Path(sys.argv[2])
SOLVERS = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "dpmpp_2m": DPMSolverMultistepScheduler}
PROMPTS = ["a smiling cat and a dog, night", "", "Café 🎸 guitar"]
NEGATIVE = "blurry"


def sample(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM, "sample", *map(str, arguments)], capture_output=True, text=True, timeout=120)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


class SampleParity(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        cls.pipeline = tiny_pipeline()
        cls.model = WORK / "model"
        cls.pipeline.save_pretrained(cls.model)
        # The file spells out all defaults ("leading" spacing), which other schedulers then take over.
        cls.pipeline.scheduler = PNDMScheduler.from_pretrained(cls.model / "scheduler")
        cls.latents = torch.randn(len(PROMPTS), 4, 8, 12)
        save_file({"latents": cls.latents}, WORK / "latents.safetensors")
        (WORK / "prompts.txt").write_text("a cat\n\na dog\r\n", encoding="utf-8")

    def sample_ok(self, *arguments: str) -> None:
        result = sample(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr)

    def compare(self, solver: str, steps: int, cfg: float, out: Path) -> None:
        pipeline = self.pipeline
        scheduler = pipeline.scheduler
        pipeline.scheduler = SOLVERS[solver].from_config(scheduler.config)
        theirs = pipeline(PROMPTS, negative_prompt=[NEGATIVE] * len(PROMPTS), latents=self.latents, width=48, height=32,
                          num_inference_steps=steps, guidance_scale=cfg, output_type="np").images
        pipeline.scheduler = scheduler
        prompts = [a for p in PROMPTS for a in ("--prompt", p)]
        self.sample_ok(self.model, *prompts, "--negative", NEGATIVE, "--latents", WORK / "latents.safetensors",
                       "--solver", solver, "--steps", steps, "--cfg", cfg, "--size", "48x32", "--out", out,
                       "--batch", 2, "--threads", 1)
        for i, image in enumerate(theirs):
            ours = pixels(out / f"{i:05}.png")
            expected = np.rint(image * 255).astype(int)
            self.assertGreater(expected.std(), 15, "a flat image would prove nothing")
            self.assertLessEqual(np.abs(ours - expected).max(), 2, f"{solver}, image {i}")

    def test_every_solver_gives_diffusers_image(self):
        for solver in SOLVERS:
            with self.subTest(solver):
                self.compare(solver, 10, 5.0, WORK / solver)

    def test_no_guidance_gives_diffusers_image(self):
        self.compare("ddim", 6, 1.0, WORK / "unguided")

    def test_prompt_file_metadata_grid_and_batches(self):
        """An image depends on its own seed, not on the batch that it is made in."""
        common = [self.model, "--prompts", WORK / "prompts.txt", "--steps", 3, "--cfg", 2.5, "--seed", 40]
        self.sample_ok(*common, "--out", WORK / "together")
        self.sample_ok(*common, "--out", WORK / "apart", "--batch", 1, "--columns", 1)
        second = Image.open(WORK / "together/00001.png")
        self.assertEqual(second.size, (32, 32))
        self.assertEqual({k: v for k, v in second.text.items() if k in
                          ("prompt", "negative", "seed", "steps", "cfg", "solver", "size", "model")},
                         {"prompt": "a dog", "negative": "", "seed": "41", "steps": "3", "cfg": "2.5",
                          "solver": "dpmpp_2m", "size": "32x32", "model": str(self.model)})
        self.assertLessEqual(np.abs(pixels(WORK / "together/00001.png") - pixels(WORK / "apart/00001.png")).max(), 1)
        self.assertGreater(len(pixels(WORK / "apart/grid.png")), 64)
        self.assertFalse((WORK / "together/00002.png").exists())

    def test_run_folder_means_its_latest_checkpoint(self):
        run = WORK / "run/checkpoints"
        run.mkdir(parents=True)
        (run / "step-00000010").symlink_to(self.model)
        (run / "latest").symlink_to("step-00000010")
        self.sample_ok(WORK / "run", "--prompt", "a cat", "--steps", 1, "--out", WORK / "of_run")
        self.assertTrue((WORK / "of_run/grid.png").exists())

    def test_wrong_use_is_64_and_one_helpful_line(self):
        for arguments, words in [
            ([self.model, "--prompt", "x", "--size", "33x32"], "32x32"),
            ([self.model, "--prompt", "x", "--size", "big"], "WIDTHxHEIGHT"),
            ([self.model], "--prompt"),
            ([self.model, "--prompt", "x", "--solver", "heun"], "heun"),
            ([self.model, "--prompt", "x", "--latents", WORK / "latents.safetensors"], "but 1 image is asked for"),
            ([WORK, "--prompt", "x"], "model_index.json"),
            ([WORK / "nowhere", "--prompt", "x"], "no such file or folder"),
            ([self.model, "--prompts", WORK / "nowhere.txt"], "nowhere.txt"),
        ]:
            with self.subTest(words):
                result = sample(*arguments, "--out", WORK / "wrong")
                self.assertEqual(result.returncode, 64, result.stderr)
                self.assertIn(words, result.stderr)
                self.assertEqual(result.stderr.strip().count("\n"), 0, result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
