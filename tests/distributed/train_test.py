"""`kessoku train` as its users run it: over ranks, interrupted, resumed, watched, and misused.

    train_test.py KESSOKU WORK_FOLDER
"""
import json
import re
import shutil
import signal
import subprocess
import unittest
import urllib.request

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch

from harness import (DEADLINE, ENVIRONMENT, PROGRAM, ROOT, RUN_FILE, WORK, command, kessoku, log_of, losses_of, make_dataset,
                     make_inputs, require_same_weights, run_tests, wait_for, weights_of)


class Train(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        kessoku("train", cls.run_file, "--out", WORK / "one")

    def train(self, name, *arguments, **how):
        kessoku("train", self.run_file, "--out", WORK / name, *arguments, **how)
        return WORK / name

    def test_one_rank_waits_for_nobody(self):
        phases = [record["phases"] for record in log_of(WORK / "one")]
        communication, optimizer = (np.median([p[name] for p in phases]) for name in ("communication", "optimizer"))
        self.assertLess(communication, 0.1 * optimizer)

    def test_losses_and_draws_do_not_depend_on_the_number_of_ranks(self):
        expected = log_of(WORK / "one")
        for ranks in (1, 2, 4):
            got = log_of(self.train(f"ranks-{ranks}", ranks=ranks))
            self.assertEqual([r["categories"] for r in got], [r["categories"] for r in expected])
            np.testing.assert_allclose([r["loss"] for r in got], [r["loss"] for r in expected], rtol=1e-4)
            np.testing.assert_allclose([r["grad_norm"] for r in got], [r["grad_norm"] for r in expected], rtol=1e-3)

    def test_a_profile_shows_what_each_thread_of_a_rank_does(self):
        said = kessoku("train", self.run_file, "--out", WORK / "profiled", "--set", "train.steps=5", "--profile", 2, ranks=2).stderr
        self.assertNotRegex(said, r"(?i)error|profiler_")
        profiled = WORK / "profiled"
        plain = self.train("not-profiled", "--set", "train.steps=5", ranks=2)
        np.testing.assert_array_equal(losses_of(profiled), losses_of(plain))
        self.assertFalse((plain / "profile").exists())
        for rank in (0, 1):
            events = [event for event in json.loads((profiled / f"profile/rank-{rank}.json").read_text())["traceEvents"] if event["ph"] == "X"]
            threads = {name: {event["tid"] for event in events if event["name"] == name}
                       for name in ("data", "forward", "backward", "optimizer", "reduce-scatter", "aten::convolution", "aten::convolution_backward")}
            self.assertEqual(sum(event["name"] == "optimizer" for event in events), 2)
            self.assertEqual(len(threads["forward"]), 1, threads)
            self.assertTrue(threads["aten::convolution"] >= threads["forward"], threads)
            self.assertTrue(threads["aten::convolution_backward"], threads)
            self.assertTrue(threads["reduce-scatter"].isdisjoint(threads["forward"]) and threads["reduce-scatter"], threads)
            [forward, *_] = [event for event in events if event["name"] == "forward"]
            inside = [event for event in events if event["name"] == "aten::convolution"
                      and forward["ts"] <= event["ts"] <= event["ts"] + event["dur"] <= forward["ts"] + forward["dur"]]
            self.assertGreater(len(inside), 5)

    def test_losses_do_not_depend_on_accumulation_or_on_sharding_the_optimizer(self):
        expected = losses_of(WORK / "one")
        accumulated = self.train("accumulated", "--set", "train.micro_batch=2")
        np.testing.assert_allclose(losses_of(accumulated), expected, rtol=1e-4)
        plain = self.train("unsharded", "--set", "optimizer.shard=false", ranks=2)
        np.testing.assert_allclose(losses_of(plain), expected, rtol=1e-4)

    def test_gradient_checkpointing_gives_the_same_bits(self):
        for name, *settings in (("denoising", "train.steps=3"), ("autoencoder", "train.steps=2", "train.target=['vae']")):
            overrides = [argument for setting in settings for argument in ("--set", setting)]
            plain = self.train(f"{name}-plain", *overrides)
            checkpointed = self.train(f"{name}-checkpointed", *overrides, "--set", "train.gradient_checkpointing=true")
            np.testing.assert_array_equal(losses_of(checkpointed), losses_of(plain))
            state = "checkpoints/latest/state/shard-00000-of-00001.safetensors"  # weights and moments
            self.assertEqual((checkpointed / state).read_bytes(), (plain / state).read_bytes())

    def test_bf16_and_fp16_lose_what_fp32_loses_and_resume_bit_equal(self):
        expected = losses_of(WORK / "one")
        for precision, ranks in (("bf16", 2), ("fp16", 0)):
            half = ("--set", f"train.precision={precision}")
            whole = self.train(precision, *half, ranks=ranks)
            self.assertFalse(np.array_equal(losses_of(whole), expected))
            np.testing.assert_allclose(losses_of(whole), expected, rtol=0.02)
            halves = WORK / f"{precision}-halves"
            shutil.copytree(whole, halves, symlinks=True)
            shutil.rmtree(halves / "checkpoints/step-00000006")
            self.train(halves.name, *half, ranks=ranks)
            np.testing.assert_array_equal(losses_of(halves), losses_of(whole))
            require_same_weights(halves, whole)

    def test_fp16_leaves_out_steps_that_overflow_and_adamw_does_not_count_them(self):
        """As with torch's GradScaler: however many were left out, AdamW's first step is a whole learning rate. A run that goes on counts on."""
        shutil.copytree(WORK / "data", WORK / "loud")
        (WORK / "loud/global.yaml").write_text("loss_scale: 1000\n")  # too loud for the first scale, 65,536
        kessoku("prepare", WORK / "loud", "--out", WORK / "loud-store", "--model", self.model, "--resolution", 64, "--keep", "moments")
        settings = [f"data.store={WORK / 'loud-store'}", "train.precision=fp16", "train.steps=10", "optimizer.weight_decay=0",
                    "checkpoint.every_steps=1", "checkpoint.keep=0", "checkpoint.background=false"]
        overrides = [word for setting in settings for word in ("--set", setting)]
        run = self.train("loud-run", *overrides)
        states = [run / f"checkpoints/step-{step:08}/state" for step in range(1, 11)]
        shard = "shard-00000-of-00001.safetensors"
        counts = [json.loads((state / "run.json").read_text())["optimizer_steps"] for state in states]
        parameters = [load_file(state / shard)["parameters"] for state in states]
        moved = [not np.array_equal(before, after) for before, after in zip(parameters, parameters[1:])]
        self.assertEqual(np.diff(counts).tolist(), [int(step) for step in moved])
        first = counts.index(1)
        self.assertGreater(first, 2)
        change = np.abs(parameters[first] - parameters[first - 1]).max()
        self.assertAlmostEqual(change / log_of(run)[first]["lr"], 1, delta=1e-3)
        whole, losses = (states[-1] / shard).read_bytes(), losses_of(run)
        for step in range(first + 2, 11):
            shutil.rmtree(run / f"checkpoints/step-{step:08}")
        self.train("loud-run", *overrides)
        np.testing.assert_array_equal(losses_of(run), losses)
        self.assertEqual((states[-1] / shard).read_bytes(), whole)

    def test_resume_is_bit_equal_to_not_having_stopped(self):
        for ranks in (0, 2):
            whole = self.train(f"whole-{ranks}", ranks=ranks)
            halves = WORK / f"halves-{ranks}"
            self.train(halves.name, "--set", "train.steps=4", ranks=ranks)
            shutil.rmtree(halves / "checkpoints/step-00000004")  # as if killed before the last one
            (halves / "checkpoints/latest").unlink()
            (halves / "checkpoints/latest").symlink_to("step-00000003")
            self.train(halves.name, ranks=ranks)
            self.assertEqual([r["step"] for r in log_of(halves)], [1, 2, 3, 4, 5, 6])
            np.testing.assert_array_equal(losses_of(halves), losses_of(whole))
            require_same_weights(halves, whole)

    def test_lion_resumes_bit_equal_and_not_as_adamw(self):
        lion = ("--set", "optimizer.name=lion", "--set", "optimizer.lr=1e-4", "--set", "train.precision=bf16")
        whole, halves = self.train("lion", *lion, ranks=2), WORK / "lion-halves"
        self.train(halves.name, *lion, "--set", "train.steps=3", ranks=2)
        self.assertEqual(set(load_file(halves / "checkpoints/latest/state/shard-00000-of-00002.safetensors")), {"exp_avg", "parameters", "ema"})
        for steps, ranks in ((6, 2), (8, 0)):
            self.train(halves.name, *lion, "--set", f"train.steps={steps}", ranks=ranks)
            np.testing.assert_array_equal(losses_of(halves)[:6], losses_of(whole))
        other = ("train", self.run_file, "--out", halves, "--set", "train.precision=bf16", "--set", "train.steps=9",
                 "--set", "optimizer.betas=[0.9, 0.99]")
        for advice in ((), ("--allow-change", "optimizer.name")):
            self.assertIn("start a new run from that checkpoint", kessoku(*other, *advice, expect=64).stderr)

    def test_resume_at_another_number_of_ranks_goes_on_with_the_same_losses(self):
        run = self.train("elastic", "--set", "train.steps=3", ranks=4)
        self.train("elastic", ranks=2)
        np.testing.assert_allclose(losses_of(run), losses_of(WORK / "one"), rtol=1e-4)

    def test_interrupt_leaves_a_checkpoint_from_which_the_same_command_goes_on(self):
        for ranks, stop in ((0, signal.SIGINT), (0, signal.SIGTERM), (2, signal.SIGUSR1)):
            run = WORK / f"stopped-{ranks}-{stop.name}"
            arguments = ("train", self.run_file, "--out", run, "--set", "train.steps=100000")
            process = subprocess.Popen(command(*arguments, ranks=ranks), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
            wait_for(lambda: (run / "log.jsonl").exists() and len((run / "log.jsonl").read_text().splitlines()) > 1,
                     "two steps")
            process.send_signal(stop)
            _, errors = process.communicate(timeout=DEADLINE)
            self.assertEqual(process.returncode, 75, errors)
            self.assertIn("the same command resumes", errors)
            step = log_of(run)[-1]["step"]
            self.assertTrue((run / "checkpoints/latest").resolve().name.endswith(f"{step:08}"))
            kessoku("train", self.run_file, "--out", run, "--set", f"train.steps={step + 2}", ranks=ranks)
            self.assertEqual([r["step"] for r in log_of(run)], list(range(1, step + 3)))

    def test_each_rank_serves_metrics_on_loopback_while_it_trains(self):
        run = WORK / "watched"
        arguments = ("train", self.run_file, "--out", run, "--set", "train.steps=100000")
        process = subprocess.Popen(command(*arguments, ranks=2), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        try:
            targets_file = run / "metrics/targets.json"
            wait_for(targets_file.exists, "targets.json")
            targets = json.loads(targets_file.read_text())
            self.assertEqual([t["labels"]["rank"] for t in targets], ["0", "1"])
            for target in targets:
                address = target["targets"][0]
                self.assertTrue(address.startswith("127.0.0.1:"))

                def steps():
                    page = urllib.request.urlopen(f"http://{address}/metrics", timeout=DEADLINE).read().decode()
                    found = re.search(r"^kessoku_steps_total\{.*\} (\d+)", page, re.MULTILINE)
                    return found and int(found.group(1)) > 0
                wait_for(steps, "a step in /metrics")
        finally:
            process.send_signal(signal.SIGUSR1)
            process.wait(timeout=DEADLINE)
        self.assertFalse(targets_file.exists(), "targets of a run that is over")

    def test_diffusers_opens_the_result_and_makes_an_image(self):
        pipeline = StableDiffusionPipeline.from_pretrained(WORK / "one/checkpoints/latest", safety_checker=None)
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        image = pipeline("image 1 of a", height=64, width=64, num_inference_steps=2,
                           generator=torch.manual_seed(0)).images[0]
        self.assertEqual(image.size, (64, 64))

    def test_a_model_that_was_trained_elsewhere_starts_a_run_from_any_format(self):
        """Diffusers takes a checkpoint, trains on, and saves it in all its ways; other tools have LDM's. Nothing is learned here, and nothing lost."""
        pipeline = StableDiffusionPipeline.from_pretrained(WORK / "one/checkpoints/latest", safety_checker=None)
        generator = torch.manual_seed(1)
        for module in (pipeline.unet, pipeline.text_encoder):
            for parameter in module.parameters():
                parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator)
        pipeline.save_pretrained(WORK / "elsewhere")
        pipeline.save_pretrained(WORK / "elsewhere-bin", safe_serialization=False)
        kessoku("convert", WORK / "elsewhere", WORK / "ldm.safetensors")
        kessoku("convert", WORK / "elsewhere", WORK / "ldm.ckpt")
        torch.save(torch.load(WORK / "ldm.ckpt", weights_only=True), WORK / "legacy.ckpt", _use_new_zipfile_serialization=False)
        pipeline.to(torch.float16).save_pretrained(WORK / "elsewhere-half", variant="fp16")
        still = ("--set", "train.steps=1", "--set", "optimizer.lr=0", "--set", "ema.decay=0")
        expected = None
        for path in ("elsewhere", "elsewhere-bin", "ldm.safetensors", "ldm.ckpt", "legacy.ckpt", "elsewhere-half", "from-elsewhere"):
            also = []
            if path.endswith(("ckpt", "safetensors")):
                also = ["--set", f"model.config={self.model}"]
            if path == "elsewhere-half":  # a rounded VAE is not the one that the store was encoded with
                also = ["--set", f"model.vae={WORK / 'elsewhere'}"]
            run = self.train(f"from-{path}", "--set", f"model.path={WORK / path}", *also, *still)
            weights = weights_of(run)
            expected = expected or weights
            for name, value in weights.items():
                wanted = expected[name].astype(np.float16).astype(np.float32) if path == "elsewhere-half" else expected[name]
                np.testing.assert_array_equal(value, wanted, err_msg=f"{path}: {name}")
        saved = load_file(WORK / "elsewhere/unet/diffusion_pytorch_model.safetensors")
        self.assertTrue(all(np.array_equal(expected[name], value) for name, value in saved.items()))

    def test_audited_batches_give_the_same_losses_and_weights_in_pytorch(self):
        run = self.train("audit", "--set", "audit.batches=6", "--set", "ema.decay=0", "--set", "train.micro_batch=2", ranks=2)
        pipeline = StableDiffusionPipeline.from_pretrained(self.model, safety_checker=None)
        unet, text_encoder = pipeline.unet.train(), pipeline.text_encoder.train()
        schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
        parameters = {f"{part}.{name}": parameter for part, module in (("unet", unet), ("text_encoder", text_encoder))
                      for name, parameter in module.named_parameters()}
        optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, weight_decay=0.01)
        for record in log_of(run):
            batch = load_torch(run / f"audit/step-{record['step']:08}.safetensors")
            noisy = schedule.add_noise(batch["latents"], batch["noise"], batch["timesteps"])
            context = text_encoder(batch["input_ids"]).last_hidden_state
            losses = (unet(noisy, batch["timesteps"], context).sample - batch["noise"]).square().mean((1, 2, 3))
            torch.testing.assert_close(losses.detach(), batch["loss"], rtol=1e-3, atol=1e-5)
            self.assertAlmostEqual(losses.mean().item(), record["loss"], delta=1e-4 * record["loss"])
            optimizer.zero_grad()
            losses.mean().backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            self.assertAlmostEqual(norm.item(), record["grad_norm"], delta=1e-3 * record["grad_norm"])
            optimizer.step()
        ours = {name.removeprefix("text_model."): value for name, value in weights_of(run).items()}
        difference = torch.cat([(torch.from_numpy(ours[name.split(".", 1)[1].removeprefix("text_model.")]) - parameter.detach())
                                .abs().flatten() for name, parameter in parameters.items()])
        # A step of Adam is at most about lr, whatever the gradient; where that is rounding error its sign is open.
        self.assertLess(difference.max().item(), 6 * 2 * 1e-3)
        self.assertLess((difference > 6 * 1e-3 / 100).float().mean().item(), 0.01)

    def test_long_captions_and_clip_skip_train_as_in_pytorch(self):
        long = "image of " + "a cat, a dog and " * 40
        run = self.train("long", "--set", "audit.batches=3", "--set", "train.steps=3", "--set", "data.max_token_length=225",
                         "--set", "train.clip_skip=1", "--set", f"data.caption_rename=[['image', '{long}']]")
        pipeline = StableDiffusionPipeline.from_pretrained(self.model, safety_checker=None)
        unet, text_encoder = pipeline.unet, pipeline.text_encoder
        schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
        parameters = [*unet.parameters(), *text_encoder.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
        norm_layer = getattr(text_encoder, "text_model", text_encoder).final_layer_norm
        for record in log_of(run):
            batch = load_torch(run / f"audit/step-{record['step']:08}.safetensors")
            self.assertEqual(batch["input_ids"].shape, (8, 231))
            states = [norm_layer(text_encoder(ids, output_hidden_states=True).hidden_states[-2])
                      for ids in batch["input_ids"].split(77, 1)]
            noisy = schedule.add_noise(batch["latents"], batch["noise"], batch["timesteps"])
            output = unet(noisy, batch["timesteps"], torch.cat(states, 1)).sample
            losses = (output - batch["noise"]).square().mean((1, 2, 3))
            torch.testing.assert_close(losses.detach(), batch["loss"], rtol=1e-3, atol=1e-5)
            optimizer.zero_grad()
            losses.mean().backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            self.assertAlmostEqual(norm.item(), record["grad_norm"], delta=1e-3 * record["grad_norm"])
            optimizer.step()
        filled = [(batch["input_ids"][:, chunk * 77 + 1] != 49407).any().item() for chunk in range(3)]
        self.assertEqual(filled, [True] * 3, "no caption of three chunks was drawn")
        before, after = (load_file(folder / "text_encoder/model.safetensors") for folder in (self.model, run / "checkpoints/latest"))
        unused = [name for name in before if ".layers.1." in name]
        self.assertTrue(unused)
        for name in unused:
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)
        trained = [name for name in before if ".layers.0.mlp.fc1.weight" in name]
        self.assertFalse(np.array_equal(before[trained[0]], after[trained[0]]))

    def test_captions_that_are_cut_are_reported_once(self):
        rename = f"data.caption_rename=[['image', '{'cat ' * 80}']]"
        done = kessoku("train", self.run_file, "--out", WORK / "cut", "--set", "train.steps=1", "--set", rename, ranks=2)
        lines = [line for line in done.stderr.splitlines() if "captions are longer" in line]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertRegex(lines[0], r"warning: 26 of 26 captions are longer than data.max_token_length = 75: (\d+) tokens are cut off")
        plan = json.loads(kessoku("plan", self.run_file, "--set", rename, "--json").stdout)
        self.assertEqual(["warning: " + w for w in plan["warnings"] if "captions" in w], lines)
        fits = kessoku("train", self.run_file, "--out", WORK / "fits", "--set", "train.steps=1", "--set", rename,
                       "--set", "data.max_token_length=150")
        self.assertNotIn("captions are longer", fits.stderr)

    def test_sample_prompts_make_grids_over_time(self):
        run = self.train("grids", "--set", "train.steps=2", "--set", "sample.every_steps=1", "--set", "sample.steps=2",
                         "--set", "sample.prompts=['one', 'two', 'three']", ranks=2)
        for step in (0, 1, 2):
            folder = run / f"samples/step-{step:08}"
            self.assertEqual(sorted(p.name for p in folder.glob("*.png")),
                             ["00000.png", "00001.png", "00002.png", "grid.png"])
            self.assertEqual((folder / "prompts.txt").read_text(), "one\ntwo\nthree\n")

    def test_the_autoencoder_learns_and_its_scaling_factor_is_fitted(self):
        run = self.train("vae", "--set", "train.target=['vae']", "--set", "vae.fit_scaling_factor=true",
                         "--set", "train.steps=25", "--set", "train.micro_batch=4", ranks=2)
        losses = losses_of(run)
        self.assertLess(losses[-5:].mean(), 0.9 * losses[:5].mean())
        config = json.loads((run / "checkpoints/latest/vae/config.json").read_text())
        self.assertNotEqual(config["scaling_factor"], 1)

    def test_the_newest_checkpoints_stay_and_the_milestones_for_good(self):
        kept = ("--set", "checkpoint.every_steps=2", "--set", "checkpoint.keep=2", "--set", "checkpoint.keep_every_steps=6")
        run = self.train("kept", "--set", "train.steps=16", "--set", "checkpoint.background=false", *kept)
        latest = run / "checkpoints/latest"
        self.assertEqual(sorted(p.name for p in (run / "checkpoints").iterdir()),
                         ["latest", *(f"step-{step:08}" for step in (6, 12, 14, 16))])
        self.assertEqual(str(latest.readlink()), "step-00000016")
        latest.unlink()  # it is for people; what counts are the folders
        self.train("kept", "--set", "train.steps=17", *kept)
        self.assertEqual(str(latest.readlink()), "step-00000017")
        self.assertEqual([record["step"] for record in log_of(run)], list(range(1, 18)))

    def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(self):
        run = WORK / "damaged"
        shutil.copytree(WORK / "one", run, symlinks=True)

        def damage(checkpoint):
            shard = run / "checkpoints" / checkpoint / "state/shard-00000-of-00001.safetensors"
            content = bytearray(shard.read_bytes())
            content[len(content) // 2] ^= 1
            shard.write_bytes(content)

        damage("step-00000006")
        done = kessoku("train", self.run_file, "--out", run, "--set", "train.steps=7")
        self.assertRegex(done.stderr, "warning: .*step-00000006/state/shard-00000-of-00001.safetensors")
        self.assertIn("resuming     at step 3", done.stderr)
        self.assertEqual([record["step"] for record in log_of(run)], list(range(1, 8)))
        for checkpoint in ("step-00000003", "step-00000006", "step-00000007"):
            damage(checkpoint)
        done = kessoku("train", self.run_file, "--out", run, "--set", "train.steps=8", expect=65)
        self.assertIn("none of its 3 checkpoints is whole", done.stderr)

    def test_wrong_use_ends_with_64_and_one_line(self):
        other = WORK / "other.toml"
        other.write_text(self.run_file.read_text().replace(str(self.store), str(WORK / "no-store")))
        cases = [
            ((), "SUBCOMMAND|subcommand"),
            (("trian", self.run_file), "trian"),
            (("train",), "RUN.toml"),
            (("train", WORK / "none.toml"), "none.toml"),
            (("train", self.run_file, "--out", WORK / "x", "--set", "train.stepz=1"), "did you mean train.steps"),
            (("train", self.run_file, "--out", WORK / "x", "--set", "train.precision='fp8'"), "fp32"),
            (("train", self.run_file, "--out", WORK / "x", "--set", "data.max_token_length=76"), "75, 150 or 225"),
            (("train", self.run_file, "--out", WORK / "x", "--set", "train.clip_skip=3"), "train.clip_skip = 3"),
            (("train", self.run_file, "--out", WORK / "one", "--resume", "never"), "holds a run"),
            (("train", self.run_file, "--out", WORK / "x", "--resume", WORK / "nowhere"), "no checkpoint"),
            (("train", self.run_file, "--out", WORK / "one", "--set", "seed=9", "--set", "train.steps=9"), "seed"),
            (("train", other, "--out", WORK / "x"), "no-store"),
            (("init", "--preset", "huge", WORK / "x"), "huge"),
            (("init", "--preset", "tiny", self.model), "model"),
            (("prepare", WORK / "nowhere", "--out", WORK / "x"), "nowhere|--model"),
            (("inspect", WORK / "nowhere"), "nowhere"),
            (("sample", WORK / "nowhere", "--prompt", "x"), "nowhere"),
            (("report", WORK / "data"), "data"),
        ]
        for arguments, expected in cases:
            with self.subTest(arguments=arguments):
                errors = kessoku(*arguments, expect=64).stderr
                self.assertEqual(errors.count("\n"), 1, errors)
                self.assertRegex(errors, expected)

    def test_ranks_that_do_not_divide_the_batch_are_refused(self):
        done = kessoku("train", self.run_file, "--out", WORK / "x", ranks=3, expect=64)
        self.assertIn("does not divide over 3 ranks", done.stderr)


if __name__ == "__main__":
    run_tests()
