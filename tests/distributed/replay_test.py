"""Training, replayed in PyTorch: the batches that `audit` writes, fed to diffusers' networks, schedulers and training
utilities and torch.optim.AdamW, give the same losses, gradient norms, learning rates and weights.

    replay_test.py KESSOKU WORK_FOLDER
"""
import fnmatch
import json
import shutil
import sys
import tomllib
import unittest
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel, compute_snr
from diffusers.utils.logging import disable_progress_bar
from PIL import Image
from safetensors.torch import load_file
from transformers.utils import logging

from harness import ROOT, WORK, kessoku

STEPS, LR = 10, 1e-4
RUN_FILE = """
name = "replay"
[model]
path = "{model}"
[data]
store = "{store}"
caption_dropout = 0.2
[train]
steps = {steps}
global_batch = 8
micro_batch = 4
threads = 1
[optimizer]
lr = {lr}
[checkpoint]
every_steps = 0
weights_dtype = "fp32"
[metrics]
port = -1
[audit]
batches = {steps}
"""


def make_dataset(folder: Path) -> None:
    """Smooth pictures in two shapes, with captions."""
    generator = np.random.default_rng(0)
    for name, count, size in (("a", 10, (64, 64)), ("b", 7, (80, 48))):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            small = generator.integers(0, 255, (3, 3, 3), dtype=np.uint8)
            Image.fromarray(small).resize(size, Image.BICUBIC).save(folder / name / f"{i}.png")
            (folder / name / f"{i}.txt").write_text(f"picture {i} of {name}")


class Replay:
    """What a run did, done again by diffusers and torch, as its config.toml says."""

    def __init__(self, run: Path):
        self.run = run
        self.config = tomllib.loads((run / "config.toml").read_text())
        self.train, self.options = self.config["train"], self.config["optimizer"]
        pipeline = StableDiffusionPipeline.from_pretrained(self.config["model"]["path"], safety_checker=None)
        self.unet, self.text_encoder = pipeline.unet.train(), pipeline.text_encoder.train()
        # What was trained is what the checkpoint's file says.
        self.schedule = DDPMScheduler.from_pretrained(run / "checkpoints/latest/scheduler")
        self.parameters = {f"{part}.{name}": parameter for part, module in
                           (("unet", self.unet), ("text_encoder", self.text_encoder))
                           for name, parameter in module.named_parameters() if part in self.train["target"]}
        groups = [{"params": [parameter], **self.group(name)} for name, parameter in self.parameters.items()]
        self.optimizer = torch.optim.AdamW(groups, lr=self.options["lr"], betas=self.options["betas"],
                                           eps=self.options["eps"])
        name = self.options["schedule"]
        self.lr_schedule = get_scheduler(
            "constant_with_warmup" if name == "constant" else name, self.optimizer,
            num_warmup_steps=self.options["warmup_steps"], num_training_steps=self.train["steps"],
            num_cycles=self.options["schedule_cycles"], power=self.options["schedule_power"])
        decay = self.config["ema"]["decay"]
        self.ema = EMAModel(self.parameters.values(), decay=decay) if decay else None
        self.lr_sum = 0

    def group(self, name: str) -> dict:
        lr = self.options["lr"]
        if name.startswith("text_encoder.") and self.options["text_encoder_lr"] >= 0:
            lr = self.options["text_encoder_lr"]
        decays = not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.options["no_decay"])
        return {"lr": lr, "weight_decay": self.options["weight_decay"] if decays else 0}

    def losses(self, batch: dict) -> torch.Tensor:
        timesteps = batch["timesteps"]
        noisy = self.schedule.add_noise(batch["latents"], batch["noise"], timesteps)
        context = self.text_encoder(batch["input_ids"]).last_hidden_state
        predicted = self.unet(noisy, timesteps, context).sample
        velocity = self.schedule.config.prediction_type == "v_prediction"
        target = self.schedule.get_velocity(batch["latents"], batch["noise"], timesteps) if velocity else batch["noise"]
        losses = (predicted - target).square().mean((1, 2, 3))
        gamma = self.train["min_snr_gamma"]
        if gamma:
            snr = compute_snr(self.schedule, timesteps)
            losses = losses * snr.clamp_max(gamma) / (snr + 1 if velocity else snr)
        return losses

    def step(self, losses: torch.Tensor) -> float:
        """Returns the gradient's norm."""
        self.optimizer.zero_grad()
        losses.mean().backward()
        limit = self.options["grad_clip"]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit or float("inf"))
        self.lr_sum += self.lr_schedule.get_last_lr()[0]
        self.optimizer.step()
        self.lr_schedule.step()
        if self.ema:
            self.ema.step(self.parameters.values())
        return norm.item()

    def weights(self) -> dict:
        """As they are published: the average, if there is one."""
        if self.ema:
            self.ema.copy_to(self.parameters.values())
        return {name: parameter.detach() for name, parameter in self.parameters.items()}


def published(run: Path) -> dict:
    latest = run / "checkpoints/latest"
    weights = {f"unet.{k}": v for k, v in load_file(latest / "unet/diffusion_pytorch_model.safetensors").items()}
    text_encoder = load_file(latest / "text_encoder/model.safetensors")
    return weights | {f"text_encoder.{k.removeprefix('text_model.')}": v for k, v in text_encoder.items()}


class ReplayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        disable_progress_bar()
        logging.disable_progress_bar()
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        make_dataset(WORK / "data")
        # Trained weights: fresh ones would hide what depends on the prediction's size.
        cls.model, cls.store, cls.run_file = WORK / "model", WORK / "store", WORK / "run.toml"
        shutil.copytree(ROOT / "models/demo-base", cls.model)
        shutil.copytree(ROOT / "models/clip-tokenizer", cls.model / "tokenizer", dirs_exist_ok=True)
        kessoku("prepare", WORK / "data", "--out", cls.store, "--model", cls.model, "--resolution", 64,
                "--keep", "moments")
        cls.run_file.write_text(RUN_FILE.format(model=cls.model, store=cls.store, steps=STEPS, lr=LR))

    def replay(self, name: str, settings: dict, ranks: int = 0) -> list:
        """Trains, compares with the replay, and returns the batches."""
        run = WORK / name
        overrides = [a for key, value in settings.items() for a in ("--set", f"{key}={json.dumps(value)}")]
        kessoku("train", self.run_file, "--out", run, *overrides, ranks=ranks)
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        self.assertEqual(len(log), STEPS)
        replay, batches = Replay(run), []
        for record in log:
            batch = load_file(run / f"audit/step-{record['step']:08}.safetensors")
            losses = replay.losses(batch)
            torch.testing.assert_close(losses.detach(), batch["loss"], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(losses.mean().item(), record["loss"], rtol=1e-5)
            np.testing.assert_allclose(replay.lr_schedule.get_last_lr()[0], record["lr"], rtol=1e-6)
            np.testing.assert_allclose(replay.step(losses), record["grad_norm"], rtol=1e-4)
            batches.append(batch)
        self.compare_weights(replay, published(run))
        return batches

    def compare_weights(self, replay: Replay, ours: dict) -> None:
        """Weights agree to a hundredth of the summed learning rates, but where gradients are rounding errors: there a
        step of Adam is lr in either direction."""
        expected = {name.replace("text_encoder.text_model.", "text_encoder."): w for name, w in replay.weights().items()}
        difference = torch.cat([(ours[name] - weight).abs().flatten() for name, weight in expected.items()])
        far = difference > replay.lr_sum / 100
        print(f"{replay.run.name}: {far.sum()} of {len(far)} weights differ by more than a hundredth of the summed "
              f"learning rates, at most by {difference.max().item() / replay.lr_sum:.3f} of them", flush=True)
        self.assertLess(difference.max().item(), 2 * replay.lr_sum)
        self.assertLess(far.float().mean().item(), 1e-3)

    def test_plain_over_ranks(self):
        self.replay("plain", {}, ranks=2)

    def test_gradient_clipping_with_accumulation(self):
        self.replay("clip", {"optimizer.grad_clip": 0.05, "train.micro_batch": 1})

    def test_min_snr(self):
        self.replay("min-snr", {"train.min_snr_gamma": 5.0})

    def test_v_prediction(self):
        self.replay("v", {"train.prediction": "v_prediction"})

    def test_zero_terminal_snr(self):
        batches = self.replay("zero-snr", {"train.prediction": "v_prediction", "train.zero_terminal_snr": True,
                                           "train.timesteps": [990, 1000]})
        timesteps = torch.cat([batch["timesteps"] for batch in batches])
        self.assertEqual((timesteps.min().item(), timesteps.max().item()), (990, 999))
        config = json.loads((WORK / "zero-snr/checkpoints/latest/scheduler/scheduler_config.json").read_text())
        self.assertTrue(config["rescale_betas_zero_snr"])
        self.assertEqual(config["_class_name"], "DDIMScheduler")
        pipeline = StableDiffusionPipeline.from_pretrained(WORK / "zero-snr/checkpoints/latest", safety_checker=None)
        pipeline.scheduler.set_timesteps(20)
        self.assertEqual(pipeline.scheduler.timesteps[0].item(), 999)

    def test_other_betas(self):
        self.replay("linear", {"train.beta_schedule": "linear", "train.beta_range": [1e-4, 0.02]})
        self.replay("cosine", {"train.beta_schedule": "squaredcos_cap_v2"})

    def test_offset_and_pyramid_noise(self):
        shared = self.replay("offset", {"train.noise_offset": 0.8})
        means = torch.cat([batch["noise"].mean((2, 3)).flatten() for batch in shared])
        self.assertGreater(means.std().item(), 0.6)
        layered = self.replay("pyramid", {"train.pyramid_levels": 6, "train.pyramid_discount": 0.6})
        for batch in layered:
            torch.testing.assert_close(batch["noise"].flatten(1).std(1), torch.ones(8))
        self.replay("both-noises", {"train.noise_offset": 0.1, "train.pyramid_levels": 6})

    def test_weight_decay_with_exceptions(self):
        self.replay("decay", {"optimizer.weight_decay": 5.0, "optimizer.no_decay": ["*.bias", "*norm*"]})

    def test_learning_rates(self):
        self.replay("linear-lr", {"optimizer.schedule": "linear", "optimizer.warmup_steps": 3,
                                  "optimizer.text_encoder_lr": 3e-5})
        self.replay("restarts", {"optimizer.schedule": "cosine_with_restarts", "optimizer.schedule_cycles": 2})
        self.replay("polynomial", {"optimizer.schedule": "polynomial", "optimizer.schedule_power": 2.0})

    def test_ema(self):
        self.replay("ema", {"ema.decay": 0.9})

    def test_text_encoder_alone(self):
        self.replay("text-encoder", {"train.target": ["text_encoder"]})

    def test_all_together_over_ranks(self):
        self.replay("together", {"optimizer.grad_clip": 0.05, "train.micro_batch": 2, "train.min_snr_gamma": 3.0,
                                 "train.prediction": "v_prediction", "train.zero_terminal_snr": True,
                                 "train.noise_offset": 0.1, "train.pyramid_levels": 4,
                                 "optimizer.weight_decay": 1.0, "optimizer.no_decay": ["*.bias"],
                                 "optimizer.schedule": "cosine", "optimizer.warmup_steps": 2,
                                 "optimizer.text_encoder_lr": 5e-5, "ema.decay": 0.8}, ranks=2)

    def test_what_does_not_go_together_is_refused(self):
        for settings, words in (("train.zero_terminal_snr=true", "v_prediction"),
                                ("train.timesteps=[0, 1001]", "train.timesteps"),
                                ("train.timesteps=[5, 5]", "train.timesteps"),
                                ("train.noise_offset=-1", "train.noise_offset"),
                                ("train.pyramid_levels=11", "train.pyramid_levels"),
                                ("train.beta_range=[0.1]", "train.beta_range"),
                                ("optimizer.schedule=step", "cosine_with_restarts"),
                                ("train.min_snr_gama=5", "did you mean train.min_snr_gamma")):
            with self.subTest(settings):
                errors = kessoku("train", self.run_file, "--out", WORK / "x", "--set", settings, expect=64).stderr
                self.assertEqual(errors.count("\n"), 1, errors)
                self.assertIn(words, errors)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
