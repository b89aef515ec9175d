"""`kessoku sample` against diffusers' pipelines: prompts with weights, image to image, inpainting, tiles; same noise, same
image.

    pipeline_parity.py KESSOKU WORK_FOLDER
"""
import os
import contextlib
import shutil
import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler,
                       PNDMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, UniPCMultistepScheduler)
from diffusers.image_processor import VaeImageProcessor
from PIL import Image, ImageFilter

import philox
from tiny_model import tiny_pipeline

PROGRAM, WORK = Path(sys.argv[1]), Path(sys.argv[2])
SOLVERS = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "dpmpp_2m": DPMSolverMultistepScheduler,
           "euler_a": EulerAncestralDiscreteScheduler, "pndm": PNDMScheduler, "unipc": UniPCMultistepScheduler}
PROMPT, NEGATIVE, SEED = "a smiling cat and a dog, night", "blurry", 11
CASES = [("ddim", 1.0), ("ddim", 0.6), ("euler", 0.35), ("dpmpp_2m", 0.6), ("dpmpp_2m", 1.0), ("euler_a", 0.6), ("pndm", 0.6),
         ("unipc", 0.6)]  # solver, strength
STEPS = 6
torch.set_num_threads(1)


def sample(*arguments, expect=0):
    done = subprocess.run([PROGRAM, "sample", *map(str, arguments), "--threads", "1"], capture_output=True, text=True, timeout=120)
    if done.returncode != expect:
        raise AssertionError(f"{arguments}: exit code {done.returncode}\n{done.stderr}")
    return done


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def image(*arguments) -> np.ndarray:
    out = Path(WORK / "out")
    shutil.rmtree(out, ignore_errors=True)
    sample(*arguments, "--out", out, "--seed", SEED, "--negative", NEGATIVE, "--steps", STEPS, "--cfg", 4)
    return pixels(out / "00000.png")


def noise(shape, purpose=philox.INITIAL_LATENTS, index=0) -> torch.Tensor:
    return torch.from_numpy(philox.normals(shape[1:], SEED, purpose, index))[None]


def given_noise(module, first_encoding, first_step):
    """diffusers draws Kessoku's numbers: an image's noise, each encoding's (0: init, 1: masked) and each step's in order."""
    encodings, steps = iter(range(first_encoding, 9)), iter(range(first_step, 99))
    draws = {f"{module}.randn_tensor": lambda shape, **_: noise(shape),
             "diffusers.models.autoencoders.vae.randn_tensor":
                 lambda shape, **_: noise(shape, philox.VAE_SAMPLE, next(encodings)),
             "diffusers.schedulers.scheduling_euler_ancestral_discrete.randn_tensor":
                 lambda shape, **_: noise(shape, philox.SOLVER_NOISE, next(steps))}
    given = contextlib.ExitStack()
    for name, draw in draws.items():
        given.enter_context(mock.patch(name, draw))
    return given


def run_pipeline(pipeline, solver, first_encoding=0, **arguments) -> np.ndarray:
    pipeline.scheduler = SOLVERS[solver].from_pretrained(WORK / "plain/scheduler")
    pipeline.set_progress_bar_config(disable=True)
    first_step = STEPS - int(STEPS * arguments.get("strength", 1))
    with given_noise(type(pipeline).__module__, first_encoding, first_step):
        made = pipeline(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=4,
                        output_type="np", **arguments).images[0]
    return np.rint(made * 255).astype(int)


def of_kind(kind, parts):
    return kind(**{name: part for name, part in parts.components.items() if name != "image_encoder"},
                requires_safety_checker=False)


class PipelineParity(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        cls.plain = tiny_pipeline(levels=3)
        cls.plain.save_pretrained(WORK / "plain")
        cls.inpainting = tiny_pipeline(seed=4, in_channels=9)
        cls.inpainting.save_pretrained(WORK / "inpainting")
        cls.init = cls.save_image("init.png", 48, 40)
        mask = np.zeros((40, 48), np.uint8)
        mask[8:30, 10:37] = 255
        cls.mask = Image.fromarray(mask)
        cls.mask.save(WORK / "mask.png")

    @staticmethod
    def save_image(name, width, height) -> Image.Image:
        y, x = np.mgrid[0:height, 0:width]
        rgb = np.stack([128 + 100 * np.sin(x / 7), 255 * y / height, 128 + 100 * np.cos((x + y) / 5)], -1)
        image = Image.fromarray(rgb.clip(0, 255).astype(np.uint8))
        image.save(WORK / name)
        return image

    def assert_same(self, ours, theirs, tolerance=2):
        self.assertEqual(ours.shape, theirs.shape)
        self.assertGreater(theirs.std(), 15, "a flat image would prove nothing")
        self.assertLessEqual(np.abs(ours - theirs).max(), tolerance)

    # --- text to image

    def compare_text(self, *arguments, **theirs):
        height, width = theirs["height"], theirs["width"]
        expected = run_pipeline(self.plain, "ddim", **theirs,
                                latents=noise((1, 4, height // 4, width // 4)))
        self.assert_same(image(WORK / "plain", "--size", f"{width}x{height}", "--solver", "ddim",
                                 *arguments), expected)

    def test_any_size_divisible_by_the_autoencoders_downscale(self):
        for width, height in ((40, 24), (56, 72), (8, 8)):
            with self.subTest(size=(width, height)):
                self.compare_text("--prompt", PROMPT, width=width, height=height)
        odd = image(WORK / "plain", "--prompt", PROMPT, "--size", "36x20")  # diffusers refuses it
        self.assertEqual(odd.shape, (20, 36, 3))

    def embed(self, *prompts, clip_skip=0):
        """A1111's formula, by transformers: prompts of (text, weight) runs, None begins a chunk."""
        tokenizer, encoder, embedded = self.plain.tokenizer, self.plain.text_encoder, []
        for runs in prompts:
            chunks, weights = [[]], [[]]
            for run in runs:
                if run is None:
                    chunks, weights = chunks + [[]], weights + [[]]
                    continue
                for token in tokenizer(run[0], add_special_tokens=False).input_ids:
                    if len(chunks[-1]) == 75:
                        chunks, weights = chunks + [[]], weights + [[]]
                    chunks[-1].append(token)
                    weights[-1].append(run[1])
            embedded.append((chunks, weights))
        length = max(len(chunks) for chunks, _ in embedded)
        result, self.factors = [], []
        for chunks, weights in embedded:
            parts = []
            for i in range(length):
                own, factor = (chunks[i], weights[i]) if i < len(chunks) else ([], [])
                padding = 76 - len(own)
                ids = torch.tensor([[tokenizer.bos_token_id, *own, *[tokenizer.eos_token_id] * padding]])
                with torch.no_grad():
                    layers = encoder(ids, output_hidden_states=True).hidden_states
                    z = encoder.final_layer_norm(layers[-1 - clip_skip])[0]
                weighed = z * torch.tensor([1.0, *factor, *[1.0] * padding])[:, None]
                restore = (z.mean() / weighed.mean()).item()
                self.factors.append(restore)
                parts.append(weighed * restore if 0.5 <= restore <= 2 else weighed)
            result.append(torch.cat(parts)[None])
        return result

    def compare_prompts(self, prompt, negative, prompt_runs, negative_runs, *arguments, clip_skip=0):
        positive, other = self.embed(prompt_runs, negative_runs, clip_skip=clip_skip)
        pipeline = self.plain
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        with torch.no_grad():
            expected = pipeline(prompt_embeds=positive, negative_prompt_embeds=other, latents=noise((1, 4, 8, 8)), height=32,
                                width=32, num_inference_steps=6, guidance_scale=4, output_type="np").images[0]
        shutil.rmtree(WORK / "prompts", ignore_errors=True)
        sample(WORK / "plain", "--prompt", prompt, "--negative", negative, "--solver", "ddim", "--steps", 6, "--cfg", 4,
               "--size", "32x32", "--seed", SEED, "--out", WORK / "prompts", *arguments)
        self.assert_same(pixels(WORK / "prompts/00000.png"), np.rint(expected * 255).astype(int))

    def test_weights_follow_the_web_uis_formula(self):
        self.compare_prompts("a (cat:1.4), [dog] ((night))", "(blurry:0.5) \\(x\\)",
                             [("a", 1), ("cat", 1.4), (",", 1), ("dog", 1 / 1.1), ("night", 1.21)],
                             [("blurry", 0.5), ("(x)", 1)])
        self.assertTrue(all(0.5 <= f <= 2 for f in self.factors) and self.factors[0] != 1, self.factors)

    def test_clip_skip(self):
        self.compare_prompts("a (cat:1.4)", NEGATIVE, [("a", 1), ("cat", 1.4)], [(NEGATIVE, 1)], "--clip-skip", 1, clip_skip=1)

    def test_a_mean_next_to_zero_is_not_restored(self):
        words = "one two three four five six seven eight nine ten " * 7
        self.compare_prompts(f"({words}:-0.2)", "", [(words, -0.2)], [])
        self.assertTrue(any(not 0.5 <= f <= 2 for f in self.factors), self.factors)

    def test_long_prompts_and_break_become_chunks(self):
        long = "a red house, " * 30
        self.compare_prompts(long, NEGATIVE, [(long, 1)], [(NEGATIVE, 1)])
        self.compare_prompts(f"cat BREAK (dog:1.2) {long}", long, [("cat", 1), None, ("dog", 1.2), (long, 1)], [(long, 1)])

    def test_one_chunk_and_plain_text_on_request(self):
        long = "a (red) house, " * 30
        cut = self.plain.tokenizer.decode(self.plain.tokenizer(long, add_special_tokens=False).input_ids[:75])
        self.compare_prompts(long, NEGATIVE, [(cut, 1)], [(NEGATIVE, 1)], "--chunks", 1, "--plain")

    def test_tiles(self):
        self.plain.vae.enable_tiling()
        try:
            for size in ((80, 56), (32, 104)):
                self.compare_text("--prompt", PROMPT, "--tile", 32, width=size[0], height=size[1])
            untiled = image(WORK / "plain", "--prompt", PROMPT, "--size", "80x56", "--solver", "ddim")
            tiled = image(WORK / "plain", "--prompt", PROMPT, "--size", "80x56", "--solver", "ddim",
                            "--tile", 32)
            self.assertGreater(np.abs(untiled - tiled).max(), 2, "tiles that change nothing are none")
        finally:
            self.plain.vae.disable_tiling()

    # --- image to image

    def test_image_to_image(self):
        pipeline = of_kind(StableDiffusionImg2ImgPipeline, self.plain)
        for solver, strength in CASES:
            with self.subTest(solver=solver, strength=strength):
                expected = run_pipeline(pipeline, solver, image=self.init, strength=strength)
                self.assert_same(image(WORK / "plain", "--prompt", PROMPT, "--init", WORK / "init.png", "--strength", strength,
                                         "--solver", solver), expected)

    def test_image_to_image_in_tiles(self):
        pipeline = of_kind(StableDiffusionImg2ImgPipeline, self.plain)
        large = self.save_image("large.png", 104, 72)
        pipeline.vae.enable_tiling()
        try:
            expected = run_pipeline(pipeline, "ddim", image=large, strength=0.5)
        finally:
            pipeline.vae.disable_tiling()
        self.assert_same(image(WORK / "plain", "--prompt", PROMPT, "--init", WORK / "large.png", "--strength", 0.5, "--solver",
                                 "ddim", "--tile", 32), expected)

    def test_images_of_other_sizes_are_fitted_as_diffusers_does(self):
        pipeline = of_kind(StableDiffusionImg2ImgPipeline, self.plain)
        other = self.save_image("other.png", 75, 50)
        rounded = other.resize((72, 48), Image.LANCZOS)  # as preprocess(image) for a downscale of 4 and 8 alike
        cropped = VaeImageProcessor().resize(other, 32, 40, resize_mode="crop")
        for fitted, arguments in ((rounded, ()), (cropped, ("--size", "40x32"))):
            expected = run_pipeline(pipeline, "ddim", image=fitted, strength=0.5)
            self.assert_same(image(WORK / "plain", "--prompt", PROMPT, "--init", WORK / "other.png", "--strength", 0.5,
                                     "--solver", "ddim", *arguments), expected)

    def test_bf16_errs_no_more_than_diffusers_in_bf16(self):
        start = noise((1, 4, 12, 10))
        exact = run_pipeline(self.plain, "ddim", height=48, width=40, latents=start)
        half = type(self.plain).from_pretrained(WORK / "plain", torch_dtype=torch.bfloat16, safety_checker=None,
                                                requires_safety_checker=False)
        theirs = run_pipeline(half, "ddim", height=48, width=40, latents=start.bfloat16())
        ours = image(WORK / "plain", "--prompt", PROMPT, "--size", "40x48", "--solver", "ddim", "--dtype", "bf16")
        error, limit = (np.sqrt(np.mean((made - exact) ** 2)) for made in (ours, theirs))
        self.assertGreater(error, 0, "in fp32 all the same")
        self.assertLessEqual(error, 1.1 * limit)
        sample("--from", WORK / "out/00000.png", "--out", WORK / "again")
        np.testing.assert_array_equal(pixels(WORK / "again/00000.png"), ours)

    # --- inpainting

    def compare_inpainting(self, parts, folder, solver, strength, mask="mask.png", **size):
        pipeline = of_kind(StableDiffusionInpaintPipeline, parts)
        only_masked = parts is self.inpainting and strength == 1  # is encoded
        expected = run_pipeline(pipeline, solver, int(only_masked), image=self.init, mask_image=Image.open(WORK / mask), strength=strength, height=40, width=48)
        ours = image(folder, "--prompt", PROMPT, "--init", WORK / "init.png", "--mask", WORK / mask, "--strength", strength,
                       "--solver", solver)
        self.assert_same(ours, expected)
        return ours

    def test_inpainting_with_an_ordinary_unet(self):
        for solver, strength in CASES:
            with self.subTest(solver=solver, strength=strength):
                self.compare_inpainting(self.plain, WORK / "plain", solver, strength)

    def test_inpainting_with_an_inpainting_unet(self):
        for solver, strength in CASES:
            with self.subTest(solver=solver, strength=strength):
                self.compare_inpainting(self.inpainting, WORK / "inpainting", solver, strength)

    def test_masks_of_any_size_and_color(self):
        blurred = np.linspace(0, 255, 30 * 20).reshape(20, 30).astype(np.uint8)
        Image.fromarray(blurred).save(WORK / "gray.png")
        colors = np.random.default_rng(1).integers(0, 255, (55, 44, 3)).astype(np.uint8)
        Image.fromarray(colors).save(WORK / "colors.png")
        for mask in ("gray.png", "colors.png"):
            self.compare_inpainting(self.plain, WORK / "plain", "ddim", 0.6, mask)
        holes = np.zeros((40, 48, 4), np.uint8)  # white strokes on nothing
        holes[8:30, 10:37] = 255
        Image.fromarray(holes).save(WORK / "strokes.png")
        arguments = ("--prompt", PROMPT, "--init", WORK / "init.png")
        np.testing.assert_array_equal(image(WORK / "plain", *arguments, "--mask", WORK / "strokes.png"),
                                      image(WORK / "plain", *arguments, "--mask", WORK / "mask.png"))

    @unittest.skipIf(os.environ.get("KESSOKU_DEVICE") == "cuda", "group norms of one channel make large errors of rounding out of a uniform image")
    def test_an_inpainting_model_without_a_mask_paints_all(self):
        white = Image.new("L", (48, 40), 255)
        white.save(WORK / "white.png")
        expected = self.compare_inpainting(self.inpainting, WORK / "inpainting", "ddim", 1.0, "white.png")
        np.testing.assert_array_equal(image(WORK / "inpainting", "--prompt", PROMPT, "--size", "48x40", "--solver", "ddim"), expected)

    def test_the_original_is_kept_outside_the_mask(self):
        original = np.asarray(self.init).astype(int)
        mask = np.asarray(self.mask) > 127
        arguments = (WORK / "plain", "--prompt", PROMPT, "--init", WORK / "init.png", "--mask", WORK / "mask.png")
        made = image(*arguments)
        self.assertGreater(np.abs(made - original)[~mask].max(), 2)
        exact = image(*arguments, "--keep-original", "--feather", 0)
        np.testing.assert_array_equal(exact[~mask], original[~mask])
        np.testing.assert_array_equal(exact[mask], made[mask])
        soft = image(*arguments, "--keep-original", "--feather", 3)
        near = np.asarray(Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(7))) > 0
        np.testing.assert_array_equal(soft[~near], original[~near])
        np.testing.assert_array_equal(soft[mask], made[mask])
        ring = near & ~mask
        self.assertTrue((np.abs(soft - original)[ring] <= np.abs(made - original)[ring] + 1).all())
        self.assertGreater(np.abs(soft - original)[ring].max(), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
