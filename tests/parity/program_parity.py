"""What `kessoku init` writes opens in diffusers as a pipeline, and `kessoku forward` computes what it computes.

    program_parity.py KESSOKU WORK_FOLDER
"""
import sys
import unittest
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import WORK, empty_work_folder, init, kessoku, run_tests

TOLERANCE = 2e-4


def run_pipeline(pipeline, inputs: dict) -> dict:
    """What each module makes of its inputs: {module: (name of the output, tensor)}."""
    with torch.no_grad():
        moments = pipeline.vae.encode(inputs["vae_encoder"]["sample"]).latent_dist
        return {
            "unet": ("sample", pipeline.unet(**inputs["unet"]).sample),
            "text_encoder": ("last_hidden_state", pipeline.text_encoder(**inputs["text_encoder"]).last_hidden_state),
            "vae_encoder": ("moments", torch.cat([moments.mean, moments.logvar], 1)),
            "vae_decoder": ("sample", pipeline.vae.decode(inputs["vae_decoder"]["latent_sample"]).sample),
        }


class ProgramParity(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        empty_work_folder()
        cls.model = init(WORK / "model", "--seed", 5)
        torch.manual_seed(1)

    def forward(self, module, inputs, *arguments, expect=0):
        """What the program makes of the inputs; with an exit code, the line that it says instead."""
        save_file(inputs, WORK / "in.safetensors")
        done = kessoku("forward", module, self.model, WORK / "in.safetensors", WORK / "out.safetensors", *arguments, expect=expect)
        return done.stderr if expect else load_file(WORK / "out.safetensors")

    def test_diffusers_makes_an_image_with_what_init_writes(self):
        pipeline = StableDiffusionPipeline.from_pretrained(self.model)
        pipeline.set_progress_bar_config(disable=True)
        image = pipeline("a cat", num_inference_steps=2, guidance_scale=4).images[0]
        self.assertEqual(image.size, (64, 64))

    def test_each_network_computes_what_diffusers_computes_in_fp32_and_bf16(self):
        pipeline = StableDiffusionPipeline.from_pretrained(self.model)
        inputs = {
            "unet": {"sample": torch.randn(2, 16, 8, 8), "timestep": torch.tensor([3, 800]),
                     "encoder_hidden_states": torch.randn(2, 77, 64)},
            "text_encoder": {"input_ids": torch.randint(0, 49408, (2, 77))},
            "vae_encoder": {"sample": torch.rand(2, 3, 64, 48) * 2 - 1},
            "vae_decoder": {"latent_sample": torch.randn(2, 16, 8, 6)},
        }
        exact = run_pipeline(pipeline, inputs)
        rounded = run_pipeline(pipeline.to(torch.bfloat16), {
            module: {name: t.bfloat16() if t.is_floating_point() else t for name, t in tensors.items()}
            for module, tensors in inputs.items()})
        for module, tensors in inputs.items():
            with self.subTest(module):
                output, expected = exact[module]
                difference = (self.forward(module, tensors)[output] - expected).abs().max().item()
                found = self.forward(module, tensors, "--dtype", "bf16")[output]
                self.assertEqual(found.dtype, torch.bfloat16)
                error, their_error = (torch.linalg.norm(t.float() - expected).item() for t in (found, rounded[module][1]))
                print(f"{module}: {tuple(found.shape)}, largest difference {difference:.1e}; bf16 is {error:.2e} off, "
                      f"diffusers {their_error:.2e}")
                self.assertLessEqual(difference, TOLERANCE)
                self.assertLessEqual(error, 1.25 * their_error)

    def test_inputs_that_do_not_fit_are_65_and_one_line(self):
        for module, inputs, words in (("unet", {"sample": torch.randn(2, 16, 8, 8)}, "encoder_hidden_states"),
                                      ("text_encoder", {"input_ids": torch.tensor([[49408]])}, "49408"),
                                      ("vae_encoder", {"sample": torch.zeros(1, 3, 7, 64)}, "at least 8")):
            with self.subTest(module):
                error = self.forward(module, inputs, expect=65)
                self.assertIn(words, error)
                self.assertEqual(error.count("\n"), 1, error)

    def test_wrong_use_is_64(self):
        tokenizer = ("--tokenizer", self.model / "tokenizer")
        kessoku("init", "--preset", "tiny", self.model, *tokenizer, expect=64)
        kessoku("init", "--preset", "sdxl", WORK / "other", *tokenizer, expect=64)
        error = kessoku("forward", "unet", WORK / "none", "in", "out", expect=64).stderr
        self.assertEqual(error.count("\n"), 1, error)

    def test_a_seed_gives_the_same_weights_each_time(self):
        again = init(WORK / "again", "--seed", 5)
        weights = "unet/diffusion_pytorch_model.safetensors"
        self.assertEqual((self.model / weights).read_bytes(), (again / weights).read_bytes())


if __name__ == "__main__":
    run_tests()
