"""Training, replayed in PyTorch: the batches that `audit` writes, fed to diffusers' networks, schedulers and training
utilities, torch.optim.AdamW and lion-pytorch, give the same losses, gradient norms, learning rates and weights.

    replay_test.py KESSOKU WORK_FOLDER
"""
import fnmatch
import json
import os
import shutil
import sys
import tomllib
import unittest
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, StableDiffusionPipeline
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel, compute_snr
from diffusers.utils.logging import disable_progress_bar
from lion_pytorch import Lion
from PIL import Image
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode, flop_registry
from transformers.utils import logging

from harness import ROOT, WORK, kessoku, log_of, run_tests

STEPS, LR = 10, 1e-4
# PyTorch's: the GPU of the program, unless a stand-in plays it, which computes attention in other operations.
ON_GPU = os.environ.get("KESSOKU_DEVICE") == "cuda"
DEVICE = "cuda" if ON_GPU and torch.cuda.is_available() else "cpu"
STAND_IN = ON_GPU and DEVICE == "cpu"
for way in ("", "_backward"):  # PyTorch 2.11 does not count attention on CPUs
    attention = "_scaled_dot_product_flash_attention"
    flop_registry.setdefault(getattr(torch.ops.aten, f"{attention}_for_cpu{way}"), flop_registry[getattr(torch.ops.aten, attention + way)])
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
precision = "fp32"
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
    """Smooth images in two shapes, with captions; the losses of one folder count half."""
    generator = np.random.default_rng(0)
    for name, count, size in (("a", 10, (64, 64)), ("b", 7, (80, 48))):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            small = generator.integers(0, 255, (3, 3, 3), dtype=np.uint8)
            Image.fromarray(small).resize(size, Image.BICUBIC).save(folder / name / f"{i}.png")
            (folder / name / f"{i}.txt").write_text(f"image {i} of {name}")
    (folder / "b/loss_scale.txt").write_text("0.5")


def widen(unet) -> None:
    """Makes an inpainting UNet of an ordinary one: the mask and the masked latents do not matter yet."""
    narrow = unet.conv_in
    unet.conv_in = torch.nn.Conv2d(2 * narrow.in_channels + 1, narrow.out_channels, 3, padding=1)
    with torch.no_grad():
        unet.conv_in.weight.zero_()[:, :narrow.in_channels] = narrow.weight
        unet.conv_in.bias.copy_(narrow.bias)


class Replay(torch.nn.Module):
    """What a run did, done again by diffusers and torch, as its config.toml says."""

    def __init__(self, run: Path, device: str = "cpu"):
        super().__init__()
        self.run, self.device = run, device
        self.config = tomllib.loads((run / "config.toml").read_text())
        self.options, self.target = self.config["optimizer"], self.config["train"]["target"]
        pipeline = StableDiffusionPipeline.from_pretrained(self.config["model"]["path"], safety_checker=None)
        self.unet, self.text_encoder = pipeline.unet.train(), pipeline.text_encoder.train()
        self.vae = pipeline.vae
        if self.config["train"]["inpainting"]:
            widen(self.unet)
        self.to(device)
        # What was trained is what the checkpoint's file says.
        self.schedule = DDPMScheduler.from_pretrained(run / "checkpoints/latest/scheduler")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(self.is_trained(name))
        self.trained = {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
        groups = [{"params": [parameter], **self.group(name)} for name, parameter in self.trained.items()]
        common = {"lr": self.options["lr"], "betas": tuple(self.options["betas"])}
        self.optimizer = {"adamw": lambda: torch.optim.AdamW(groups, **common, eps=self.options["eps"]),
                          "lion": lambda: Lion(groups, **common)}[self.options["name"]]()
        name = self.options["schedule"]
        self.lr_schedule = get_scheduler(
            "constant_with_warmup" if name == "constant" else name, self.optimizer,
            num_warmup_steps=self.options["warmup_steps"], num_training_steps=self.config["train"]["steps"],
            num_cycles=self.options["schedule_cycles"], power=self.options["schedule_power"])
        decay = self.config["ema"]["decay"]
        self.ema = EMAModel(self.trained.values(), decay=decay) if decay else None
        self.rates = []

    def is_trained(self, name: str) -> bool:
        frozen = any(fnmatch.fnmatchcase(name, pattern) for pattern in self.options["freeze"])
        return name.split(".")[0] in self.target and not frozen

    def group(self, name: str) -> dict:
        lr = self.options["lr"]
        if name.startswith("text_encoder.") and self.options["text_encoder_lr"] >= 0:
            lr = self.options["text_encoder_lr"]
        scales = [scale for pattern, scale in self.options["lr_scale"] if fnmatch.fnmatchcase(name, pattern)]
        lr *= scales[-1] if scales else 1
        decays = not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.options["no_decay"])
        return {"lr": lr, "weight_decay": self.options["weight_decay"] if decays else 0}

    def forward(self, batch: dict) -> torch.Tensor:
        """One loss a draw."""
        batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        timesteps = batch["timesteps"]
        noisy = self.schedule.add_noise(batch["latents"], batch["noise"], timesteps)
        if "masks" in batch:
            noisy = torch.cat([noisy, self.inpainting_channels(batch)], 1)
        context = self.text_encoder(batch["input_ids"]).last_hidden_state
        predicted = self.unet(noisy, timesteps, context).sample
        velocity = self.schedule.config.prediction_type == "v_prediction"
        target = self.schedule.get_velocity(batch["latents"], batch["noise"], timesteps) if velocity else batch["noise"]
        losses = (predicted - target).square().mean((1, 2, 3)) * batch["loss_scale"]
        gamma = self.config["train"]["min_snr_gamma"]
        if gamma:
            snr = compute_snr(self.schedule, timesteps)
            losses = losses * snr.clamp_max(gamma) / (snr + 1 if velocity else snr)
        return losses

    @torch.no_grad()
    def inpainting_channels(self, batch: dict) -> torch.Tensor:
        seen = batch["images"] * (batch["masks"] < 0.5)
        latents = self.vae.encode(seen).latent_dist.mean * self.vae.config.scaling_factor
        return torch.cat([torch.nn.functional.interpolate(batch["masks"], latents.shape[-2:]), latents], 1)

    def step(self, losses: torch.Tensor) -> float:
        """Returns the gradient's norm."""
        self.optimizer.zero_grad()
        losses.mean().backward()
        limit = self.options["grad_clip"]
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), limit or float("inf"))
        self.rates.append(self.lr_schedule.get_last_lr()[0])
        self.optimizer.step()
        self.lr_schedule.step()
        if self.ema:
            self.ema.step(self.trained.values())
        return norm.item()

    def weights(self) -> dict:
        """As they are published: the average, if there is one."""
        if self.ema:
            self.ema.copy_to(self.trained.values())
        return {name: parameter.detach().cpu() for name, parameter in self.trained.items()}


def published(run: Path) -> dict:
    latest = run / "checkpoints/latest"
    weights = {f"unet.{k}": v for k, v in load_file(latest / "unet/diffusion_pytorch_model.safetensors").items()}
    text_encoder = load_file(latest / "text_encoder/model.safetensors")
    return weights | {f"text_encoder.{k.removeprefix('text_model.')}": v for k, v in text_encoder.items()}


def replay_with_ddp(rank: int, ranks: int, run: Path, out: Path) -> None:
    """One process of DistributedDataParallel, on its part of each batch. Leaves what it saw in `out`.RANK."""
    torch.distributed.init_process_group("gloo", f"file://{out}.rendezvous", rank=rank, world_size=ranks)
    replay = Replay(run)
    parallel = torch.nn.parallel.DistributedDataParallel(replay)
    losses, norms = [], []
    for step in range(1, STEPS + 1):
        batch = load_file(run / f"audit/step-{step:08}.safetensors")
        own = parallel({name: tensor.chunk(ranks)[rank] for name, tensor in batch.items()})
        norms.append(replay.step(own))
        losses.append(own.detach())
    torch.save({"losses": losses, "norms": norms, "weights": replay.weights(), "lr_sum": sum(replay.rates)}, f"{out}.{rank}")
    torch.distributed.destroy_process_group()


class ReplayInPyTorch(unittest.TestCase):
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
                "--keep", "moments,images")
        cls.run_file.write_text(RUN_FILE.format(model=cls.model, store=cls.store, steps=STEPS, lr=LR))

    def tearDown(self):
        for run in WORK.glob("*/checkpoints"):  # 120 MB each, and 30 of them
            shutil.rmtree(run.parent)

    def replay(self, name: str, settings: dict, ranks: int = 0) -> list:
        """Trains, compares with the replay, and returns the batches."""
        run = WORK / name
        overrides = [a for key, value in settings.items() for a in ("--set", f"{key}={json.dumps(value)}")]
        kessoku("train", self.run_file, "--out", run, *overrides, ranks=ranks)
        log = log_of(run)
        self.assertEqual(len(log), STEPS)
        replay, batches = Replay(run, DEVICE), []
        for record in log:
            batch = load_file(run / f"audit/step-{record['step']:08}.safetensors")
            with FlopCounterMode(display=False) as counter:
                losses = replay(batch)
                norm = replay.step(losses)
            if not STAND_IN:
                self.assertEqual(record["flops"], counter.get_total_flops())
            torch.testing.assert_close(losses.detach().cpu(), batch["loss"], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(losses.mean().item(), record["loss"], rtol=1e-5)
            np.testing.assert_allclose(replay.rates[-1], record["lr"], rtol=1e-6)
            np.testing.assert_allclose(norm, record["grad_norm"], rtol=1e-4)
            batches.append(batch)
        self.compare_weights(run, replay.weights(), sum(replay.rates))
        return batches

    def compare_weights(self, run: Path, theirs: dict, lr_sum: float) -> None:
        """Weights agree to a hundredth of the summed learning rates, but where gradients are rounding errors: there a
        step of Adam is lr in either direction."""
        ours = published(run)
        difference = torch.cat([(ours[name.replace(".text_model.", ".")] - weight).abs().flatten()
                                for name, weight in theirs.items()])
        far = difference > lr_sum / 100
        print(f"{run.name}: {far.sum()} of {len(far)} weights differ by more than a hundredth of the summed learning "
              f"rates, at most by {difference.max().item() / lr_sum:.3f} of them", flush=True)
        self.assertLess(difference.max().item(), 2 * lr_sum)
        self.assertLess(far.float().mean().item(), 1e-3)

    def test_plain_over_ranks(self):
        batches = self.replay("plain", {}, ranks=2)
        self.assertEqual(set(torch.cat([batch["loss_scale"] for batch in batches]).tolist()), {0.5, 1})

    def test_plain_with_distributed_data_parallel(self):
        run, seen = WORK / "ddp", WORK / "ddp.pt"
        kessoku("train", self.run_file, "--out", run, ranks=2)
        # Forked, for imports take longer than the replay.
        torch.multiprocessing.start_processes(replay_with_ddp, (2, run, seen), nprocs=2, start_method="fork")
        first, second = (torch.load(f"{seen}.{rank}") for rank in (0, 1))
        for record, *losses, norm in zip(log_of(run), first["losses"], second["losses"], first["norms"], strict=True):
            batch = load_file(run / f"audit/step-{record['step']:08}.safetensors")
            torch.testing.assert_close(torch.cat(losses), batch["loss"], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(torch.cat(losses).mean().item(), record["loss"], rtol=1e-5)
            np.testing.assert_allclose(norm, record["grad_norm"], rtol=1e-4)
        self.compare_weights(run, first["weights"], first["lr_sum"])

    def test_accumulation(self):
        self.replay("accumulation", {"optimizer.grad_clip": 0, "train.micro_batch": 1})

    def test_gradient_clipping(self):
        self.replay("clip-alone", {"optimizer.grad_clip": 0.05, "train.micro_batch": 8})

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

    def test_weight_decay(self):
        self.replay("decay-alone", {"optimizer.weight_decay": 5.0})

    def test_weight_decay_with_exceptions(self):
        self.replay("decay", {"optimizer.weight_decay": 5.0, "optimizer.no_decay": ["*.bias", "*norm*"]})

    def test_lion(self):
        self.replay("lion", {"optimizer.name": "lion", "optimizer.lr": 3e-5})
        config = tomllib.loads((WORK / "lion/config.toml").read_text())
        self.assertEqual(config["optimizer"]["betas"], [0.9, 0.99])
        self.replay("lion-and-all", {"optimizer.name": "lion", "optimizer.lr": 3e-5, "optimizer.betas": [0.95, 0.98], "optimizer.weight_decay": 5.0,
                                     "optimizer.no_decay": ["*.bias"], "optimizer.schedule": "cosine", "optimizer.grad_clip": 0.05,
                                     "optimizer.text_encoder_lr": 1e-5, "ema.decay": 0.8, "train.micro_batch": 2}, ranks=2)

    def test_learning_rates(self):
        self.replay("warm-up", {"optimizer.warmup_steps": 4})
        self.replay("cosine-lr", {"optimizer.schedule": "cosine"})
        self.replay("linear-lr", {"optimizer.schedule": "linear", "optimizer.warmup_steps": 3,
                                  "optimizer.text_encoder_lr": 3e-5})
        self.replay("restarts", {"optimizer.schedule": "cosine_with_restarts", "optimizer.schedule_cycles": 2})
        self.replay("polynomial", {"optimizer.schedule": "polynomial", "optimizer.schedule_power": 2.0})

    def test_freezing_and_learning_rates_by_name(self):
        self.replay("by-name", {"optimizer.freeze": ["unet.down_blocks.*", "text_encoder.*embedding*"],
                                "optimizer.lr_scale": [["*.attn2.*", 0.1], ["*.attn2.to_out.*", 0.5], ["unet.conv_out.*", 2.0]]},
                    ranks=2)
        base = load_file(self.model / "unet/diffusion_pytorch_model.safetensors")
        trained = load_file(WORK / "by-name/checkpoints/latest/unet/diffusion_pytorch_model.safetensors")
        for name, weight in base.items():
            self.assertEqual(torch.equal(weight, trained[name]), name.startswith("down_blocks."), name)

    def test_stops_after_hours_with_a_checkpoint(self):
        run = WORK / "hours"
        errors = kessoku("train", self.run_file, "--out", run, "--set", "train.stop_after_hours=1e-7", ranks=2, expect=75).stderr
        self.assertIn("stopped at step 1 of 10", errors)
        kessoku("train", self.run_file, "--out", run)
        self.assertEqual([record["step"] for record in log_of(run)], list(range(1, STEPS + 1)))

    def test_inpainting(self):
        settings = {"train.inpainting": True, "train.whole_masks": 0.3, "train.target": ["unet"]}
        batches = self.replay("inpainting", settings, ranks=2)
        masks = torch.cat([batch["masks"].mean((1, 2, 3)) for batch in batches])
        self.assertGreater((masks == 1).sum(), 10)  # of 80, a third
        self.assertLess((masks == 1).sum(), 40)
        self.assertGreater(masks.min(), 0.01)
        # Stopped in between and gone on with.
        overrides = [a for key, value in settings.items() for a in ("--set", f"{key}={json.dumps(value)}")]
        for steps in (4, STEPS):
            kessoku("train", self.run_file, "--out", WORK / "halves", *overrides, "--set", f"train.steps={steps}", ranks=2)
        first, second = WORK / "inpainting", WORK / "halves"
        self.assertEqual([r["loss"] for r in log_of(first)], [r["loss"] for r in log_of(second)])
        again = published(second)
        for name, weight in published(first).items():
            self.assertTrue(torch.equal(weight, again[name]), name)
        # Diffusers knows it for what it is (and paints with 9 channels alone: pipeline_parity); so does kessoku.
        latest = first / "checkpoints/latest"
        pipeline = DiffusionPipeline.from_pretrained(latest, safety_checker=None)
        self.assertEqual(type(pipeline).__name__, "StableDiffusionInpaintPipeline")
        image, mask = Image.new("RGB", (64, 64), (200, 30, 90)), Image.new("L", (64, 64), 0)
        mask.paste(255, (16, 16, 48, 48))
        image.save(WORK / "image.png")
        mask.save(WORK / "mask.png")
        kessoku("sample", latest, "--prompt", "image 1", "--init", WORK / "image.png", "--mask", WORK / "mask.png",
                "--keep-original", "--steps", 2, "--out", WORK / "painted")
        painted = np.asarray(Image.open(WORK / "painted/00000.png"))
        self.assertEqual(painted[2, 2].tolist(), [200, 30, 90])
        # It can be trained further, and says what it is.
        more = ("train", self.run_file, "--out", WORK / "more", "--set", f"model.path={latest}", "--set", "train.steps=1")
        self.assertIn("train.inpainting", kessoku(*more, expect=64).stderr)
        kessoku(*more, "--set", "train.inpainting=true")

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
                                ("optimizer.freeze=['unet.dwon_blocks.*']", "unet.dwon_blocks.*"),
                                ("optimizer.freeze=['*']", "nothing"),
                                ("optimizer.lr_scale=[['unet.*', -1]]", "optimizer.lr_scale"),
                                ("optimizer.lr_scale=[['unet.*']]", "must be pairs"),
                                ("train.whole_masks=2", "train.whole_masks"),
                                ("train.min_snr_gama=5", "did you mean train.min_snr_gamma")):
            with self.subTest(settings):
                errors = kessoku("train", self.run_file, "--out", WORK / "x", "--set", settings, expect=64).stderr
                self.assertEqual(errors.count("\n"), 1, errors)
                self.assertIn(words, errors)


if __name__ == "__main__":
    run_tests()
