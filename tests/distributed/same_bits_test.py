"""Law 2 to the bit: weights, optimizer state, averages, losses and norms of a run do not depend on the number of ranks.

    same_bits_test.py KESSOKU WORK_FOLDER [TESTS...]

The quick cases (Quick) run in each CI; the others are the matrix of what can be trained, and kills, for the nightly sample.

Environment:
    KESSOKU_SAME_BITS_STEPS  steps of the matrix (60)
    KESSOKU_SAME_BITS_KILLS  kills (8)
"""
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

import numpy as np
import torch
from harness import (ENVIRONMENT, MOST_RANKS, WORK, chosen_seed, command, is_gone, kessoku, last_step, log_of, make_inputs,
                     processes_with, run_tests, set_all, wait_for)
from safetensors import safe_open

STEPS = int(os.environ.get("KESSOKU_SAME_BITS_STEPS", "60"))
KILLS = int(os.environ.get("KESSOKU_SAME_BITS_KILLS", "8"))
BASE = {"train.micro_batch": 1, "optimizer.grad_clip": 0.5, "ema.decay": 0.9, "checkpoint.every_steps": 0, "metrics.port": -1,
        "communication.bucket_mb": 0.5, "train.min_snr_gamma": 5, "validation.fraction": 0.2, "validation.every_steps": 5}


def state_of(checkpoint):
    """Each parameter's weights, moments and average, put together from the ranks' parts."""
    manifest = json.loads((checkpoint / "state/run.json").read_text())
    numel = max(offset + count for _, offset, count in manifest["layout"])
    whole = {}
    for shard in sorted(checkpoint.glob("state/*-of-*.safetensors")):
        with safe_open(shard, "np") as file:
            ranges = json.loads(file.metadata()["ranges"])
            for key in file.keys():
                values, place = file.get_tensor(key), 0
                target = whole.setdefault(key, np.full(numel, np.nan, np.float32))
                for begin, end in ranges:
                    size = min(end, numel) - begin
                    if size > 0:
                        target[begin:begin + size] = values[place:place + size]
                    place += end - begin
    assert whole, checkpoint
    return {(key, name): values[offset:offset + count] for key, values in whole.items()
            for name, offset, count in manifest["layout"]}, manifest


def digest_of(run):
    """SHA-256 of weights and state of the newest checkpoint, and all recorded losses and norms."""
    latest = run / "checkpoints/latest"
    state, manifest = state_of(latest)
    digest = hashlib.sha256()
    for (key, name), values in sorted(state.items()):
        assert not np.isnan(values).any(), (key, name)
        digest.update(f"{key} {name}".encode() + values.tobytes())
    for file in sorted(latest.glob("*/*.safetensors")):
        if file.parent.name != "state":
            digest.update(str(file.relative_to(latest)).encode() + hashlib.sha256(file.read_bytes()).digest())
    digest.update(json.dumps([manifest[key] for key in ("step", "optimizer_steps", "loss_scale", "loss_scale_good_steps")]).encode())
    numbers = [[r["step"], r["loss"], r["grad_norm"], r["lr"], r.get("validation_loss"), r["categories"]] for r in log_of(run)]
    return digest.hexdigest(), numbers


class SameBits:
    """What the cases have in common."""

    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()

    def train(self, name, ranks, expect=0, **settings):
        run = WORK / name
        kessoku("train", self.run_file, "--out", run, *set_all(BASE | settings), ranks=ranks, expect=expect)
        return run

    def compare(self, name, numbers_of_ranks, settings):
        """Of runs over so many ranks (0: without mpirun)."""
        expected = None
        for ranks in numbers_of_ranks:
            if ranks > MOST_RANKS:
                continue
            run = self.train(f"{name}-{ranks}", ranks, **settings)
            got = digest_of(run)
            self.assertEqual(len(got[1]), settings["train.steps"])
            expected = expected or got
            with self.subTest(name=name, ranks=ranks):
                self.assertEqual(got[1], expected[1])
                self.assertEqual(got[0], expected[0])
        return expected


class Quick(SameBits, unittest.TestCase):
    def test_unet_and_text_encoder_on_any_number_of_ranks(self):
        settings = {"train.target": ["unet", "text_encoder"], "train.global_batch": 6, "train.steps": 6}
        whole = self.compare("both", (0, 2, 3, 6), settings)
        for name, ranks, changes in (
                ("unsharded", 3, {"optimizer.shard": "false"}), ("in-turn", 2, {"communication.overlap": "false"}),
                ("small-buckets", 2, {"communication.bucket_mb": 0.1}), ("in-the-foreground", 3, {"checkpoint.background": "false"})):
            with self.subTest(name):
                self.assertEqual(digest_of(self.train(name, ranks, **settings | changes)), whole)

    def test_a_run_that_changes_its_ranks_on_the_way(self):
        settings = {"train.global_batch": 6, "train.precision": "'bf16'", "validation.fraction": 0}
        whole = self.train("at-once", 1, **settings, **{"train.steps": 9})
        for steps, ranks in ((3, 3), (5, 2), (9, 6)):
            run = self.train("on-the-way", ranks, **settings, **{"train.steps": steps})
        self.assertEqual(digest_of(run), digest_of(whole))

    def test_what_changes_the_bits_is_said(self):
        for name, ranks, settings, expected in (
                ("even", 2, {"train.global_batch": 6}, "bits         the same on 1, 2, 3, 6 ranks"),
                ("uneven", 2, {"train.global_batch": 6, "train.micro_batch": 2},
                 "2 ranks do not divide the 3 micro-batches of 2 draws, so that a rank computes 1 at once"),
                ("wire", 2, {"communication.wire": "'bf16'"}, "rounded on the wire"),
                ("fast", 2, {"communication.reduction": "'fast'"}, "communication.reduction")):
            done = kessoku("train", self.run_file, "--out", WORK / f"said-{name}",
                           *set_all(BASE | {"train.steps": 1} | settings), ranks=ranks)
            self.assertIn(expected, done.stderr)
        threads = WORK / "said-even"
        done = kessoku("train", self.run_file, "--out", threads,
                       *set_all(BASE | {"train.steps": 2, "train.global_batch": 6, "train.threads": 2}))
        self.assertRegex(done.stderr, r"arithmetic was .*, 1 thread, is .*, 2 threads")
        changes = [change["key"] for record in log_of(threads) for change in record.get("changes", [])]
        self.assertIn("arithmetic", changes)
        plan = kessoku("plan", self.run_file, *set_all({"communication.wire": "'bf16'"})).stdout
        self.assertIn("depend on the number of ranks", plan)
        table = kessoku("plan", self.run_file, "--ranks", "1,2,4", "--link", "1GB/s", "--compute", "1s",
                        *set_all({"train.global_batch": 12, "train.micro_batch": 4})).stdout
        self.assertRegex(table, r"2 ranks: .*micro-batches of 4")
        self.assertNotRegex(table, r"1 rank: .*micro-batches")


def shrink(model):
    """A tenth of the tiny preset, so that many steps on many ranks take seconds."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    def config_of(part, **changes):
        config = json.loads((model / part / "config.json").read_text()) | changes
        shutil.rmtree(model / part)
        return config

    torch.manual_seed(0)
    UNet2DConditionModel.from_config(config_of("unet", block_out_channels=[16, 32], norm_num_groups=4, attention_head_dim=2,
                                               cross_attention_dim=16)).save_pretrained(model / "unet")
    AutoencoderKL.from_config(config_of("vae", block_out_channels=[4, 8, 8, 16])).save_pretrained(model / "vae")
    CLIPTextModel(CLIPTextConfig(**config_of("text_encoder", hidden_size=16, intermediate_size=32, num_attention_heads=2))
                  ).save_pretrained(model / "text_encoder")


class Matrix(SameBits, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        shrink(cls.model)
        shutil.rmtree(cls.store)
        kessoku("prepare", WORK / "data", "--out", cls.store, "--model", cls.model, "--resolution", 32, "--keep", "moments,images")

    def compare_all(self, target, **more):
        for global_batch, ranks in ((12, (0, 2, 3, 4, 6, 12)), (8, (0, 2, 4, 8))):
            for precision, optimizer in itertools.product(("fp32", "bf16"), ("adamw", "lion")):
                lr = {"adamw": 1e-3, "lion": 1e-4}[optimizer]
                self.compare(f"{'-'.join(target)}-{global_batch}-{precision}-{optimizer}", ranks,
                             {"train.target": target, "communication.bucket_mb": 0.2, "train.steps": STEPS, "train.global_batch": global_batch,
                              "train.precision": f"'{precision}'", "optimizer.name": f"'{optimizer}'", "optimizer.lr": lr} | more)

    def test_unet(self):
        self.compare_all(["unet"])

    def test_unet_and_text_encoder(self):
        self.compare_all(["unet", "text_encoder"])

    def test_text_encoder(self):
        self.compare_all(["text_encoder"])

    def test_vae(self):
        self.compare_all(["vae"], **{"train.min_snr_gamma": 0})


class Kills(SameBits, unittest.TestCase):
    def test_each_restart_on_another_number_of_ranks(self):
        """A run that is killed at random, and goes on with other ranks each time."""
        chance = random.Random(chosen_seed())
        settings = {"train.global_batch": 12, "checkpoint.every_steps": 2, "checkpoint.keep": 2}
        run, arguments = WORK / "killed", ["train", self.run_file, "--out", WORK / "killed", *set_all(BASE | settings)]
        kills = 0
        while kills < KILLS:
            ranks = chance.choice((1, 2, 3, 4, 6))
            process = subprocess.Popen(command(*arguments, "--set=train.steps=100000", ranks=ranks), env=ENVIRONMENT,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
            begin, until = last_step(run), chance.uniform(0, 3)
            end = time.monotonic() + 120
            while last_step(run) <= begin and time.monotonic() < end:
                time.sleep(0.05)
            time.sleep(until)
            self.assertIsNone(process.poll(), "the run ended by itself")
            for number in processes_with(str(run)):
                os.kill(number, signal.SIGKILL)
            process.wait()
            wait_for(lambda: all(is_gone(number) for number in processes_with(str(run))), "the ranks' end")
            kills += 1
        steps = last_step(run) + 2
        kessoku(*arguments, f"--set=train.steps={steps}", ranks=2)
        whole = self.train("undisturbed", 4, **settings | {"train.steps": steps})
        print(f"{kills} kills within {steps} steps", flush=True)
        self.assertEqual(digest_of(run), digest_of(whole))


if __name__ == "__main__":
    run_tests()
