"""Weight files in all the forms that people have them in, as diffusers and torch write them: each must give the same model.

    weight_files_parity.py KESSOKU WORK_FOLDER
"""
import json
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tiny_model import tiny_pipeline

PROGRAM, WORK = Path(sys.argv[1]), Path(sys.argv[2])
STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
QUICK = ("--prompt", "a cat", "--steps", 2, "--size", "32x24", "--threads", 1)


def run(*arguments, expect=0):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    if done.returncode != expect:
        raise AssertionError(f"{arguments}: exit code {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}")
    return done


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


class WeightFiles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        cls.pipeline = tiny_pipeline(seed=3)
        cls.model = WORK / "model"
        cls.pipeline.save_pretrained(cls.model)
        run("convert", cls.model, WORK / "x.safetensors")
        cls.ldm = load_file(WORK / "x.safetensors")
        cls.bare = WORK / "bare.safetensors"  # as others write it: nothing says how it is made
        save_file(cls.ldm, cls.bare)

    def setUp(self):
        self.folder = WORK / self.id().rsplit(".", 1)[1]
        self.folder.mkdir()
        self.addCleanup(shutil.rmtree, self.folder)

    def states(self, dtype=torch.float32):
        """Of each part the state dict, as it lies in a diffusers folder."""
        return {part: {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in
                       load_file(self.model / part / f"{stem}.safetensors").items()} for part, stem in STEMS.items()}

    def folder_without_weights(self, name):
        return Path(shutil.copytree(self.model, self.folder / name, ignore=shutil.ignore_patterns("*.safetensors")))

    def assert_same_model(self, path, *options, dtype=torch.float32):
        run("convert", path, self.folder / "found.safetensors", "--force", *options)
        found = load_file(self.folder / "found.safetensors")
        self.assertEqual(found.keys(), self.ldm.keys())
        for name, tensor in self.ldm.items():
            wanted = tensor.to(dtype) if tensor.is_floating_point() else tensor
            self.assertTrue(torch.equal(found[name], wanted), name)

    def made(self, model, *options):
        out = self.folder / f"made-{len(list(self.folder.iterdir()))}"
        run("sample", model, *QUICK, "--out", out, *options)
        return pixels(out / "00000.png")

    # --- folders

    def test_shards_with_an_index_as_diffusers_writes_them(self):
        target = self.folder_without_weights("model")
        for part in STEMS:
            getattr(self.pipeline, part).save_pretrained(target / part, max_shard_size="100KB")
            self.assertGreater(len(list((target / part).glob("*.safetensors"))), 1)
            self.assertTrue(list((target / part).glob("*.safetensors.index.json")))
        self.assert_same_model(target)
        np.testing.assert_array_equal(self.made(target), self.made(self.model))

    def write_torch(self, target, states, variant="", shards=1):
        for part, state in states.items():
            stem = "pytorch_model" if part == "text_encoder" else STEMS[part]
            names = sorted(state)
            if shards == 1:
                torch.save(state, target / part / f"{stem}{variant}.bin")
                continue
            files = {name: f"{stem}-{1 + i % shards:05}-of-{shards:05}{variant}.bin" for i, name in enumerate(names)}
            for file in set(files.values()):
                torch.save({name: state[name] for name in names if files[name] == file}, target / part / file)
            (target / part / f"{stem}.bin.index{variant}.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))

    def test_bin_files_their_shards_and_their_variants(self):
        for variant, dtype in (("", torch.float32), (".fp16", torch.float16)):
            for shards in (1, 3):
                target = self.folder_without_weights(f"model{variant}-{shards}")
                self.write_torch(target, self.states(dtype), variant, shards)
                self.assert_same_model(target, dtype=dtype)

    def test_fp16_variants_as_diffusers_writes_them(self):
        half = tiny_pipeline(seed=3).to(torch.float16)
        half.save_pretrained(self.folder / "model", variant="fp16")
        self.assertTrue((self.folder / "model/unet/diffusion_pytorch_model.fp16.safetensors").exists())
        self.assert_same_model(self.folder / "model", dtype=torch.float16)
        sharded = self.folder_without_weights("sharded")
        for part in STEMS:
            getattr(half, part).save_pretrained(sharded / part, variant="fp16", max_shard_size="60KB")
        self.assertTrue(list((sharded / "unet").glob("*.index.fp16.json")))
        self.assert_same_model(sharded, dtype=torch.float16)

    def test_of_several_files_the_one_that_diffusers_reads_and_a_warning_if_they_differ(self):
        target = self.folder / "model"
        for changed, suffix in ((False, ".bin"), (True, ".bin"), (False, ".fp16.safetensors"), (True, ".fp16.safetensors")):
            with self.subTest(suffix=suffix, changed=changed):
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(self.model, target)
                state = {name: tensor + (0.1 if changed and name == "conv_out.bias" else 0) for name, tensor in self.states()["unet"].items()}
                other = target / f"unet/{STEMS['unet']}{suffix}"
                if suffix == ".bin":
                    torch.save(state, other)
                else:
                    save_file({name: tensor.half() for name, tensor in state.items()}, other)
                said = run("convert", target, self.folder / "found.safetensors", "--force").stderr
                self.assertEqual(f"is read, as diffusers does; {other.name} beside it holds other weights" in said, changed, said)
                self.assert_same_model(target)
        pipeline = type(self.pipeline).from_pretrained(target)
        for name, tensor in pipeline.unet.state_dict().items():
            self.assertTrue(torch.equal(tensor, self.pipeline.unet.state_dict()[name]), name)

    def test_an_index_that_does_not_hold_what_it_says(self):
        target = self.folder_without_weights("model")
        self.write_torch(target, self.states(), shards=2)
        index = target / "unet/diffusion_pytorch_model.bin.index.json"
        whole = json.loads(index.read_text())
        name, file = next(iter(whole["weight_map"].items()))
        for changed, code, says in (({name: "../vae/config.json"}, 65, "beside the index"), ({name: 3}, 65, "beside the index"),
                                    ({"none.weight": file}, 65, "none.weight"), ({name: "gone.bin"}, 64, "gone.bin")):
            index.write_text(json.dumps({"weight_map": whole["weight_map"] | changed}))
            error = run("convert", target, self.folder / "none.ckpt", expect=code).stderr
            self.assertIn(says, error)
            self.assertEqual(error.count("\n"), 1, error)
        index.write_text(json.dumps({"weight_map": {k: v for k, v in whole["weight_map"].items() if k != name}}))
        self.assertIn(name, run("convert", target, self.folder / "none.ckpt", expect=65).stderr)

    # --- lone files

    def test_lone_files_with_configs_of_a_folder(self):
        torch.save({"state_dict": self.ldm, "global_step": 7}, self.folder / "x.ckpt")
        wanted = self.made(self.model)
        for file in (self.bare, self.folder / "x.ckpt"):
            self.assert_same_model(file, "--config", self.model)
            np.testing.assert_array_equal(self.made(file, "--config", self.model), wanted)
        error = run("sample", self.bare, *QUICK, "--out", self.folder / "none", expect=65).stderr
        self.assertIn("config", error)

    def test_autoencoders_by_themselves_in_every_form(self):
        other = tiny_pipeline(seed=9).vae
        names = {name: tensor.clone() for name, tensor in other.state_dict().items()}
        whole = self.folder_without_weights("other")
        for part, stem in STEMS.items():
            shutil.copy(self.model / part / f"{stem}.safetensors", whole / part)
        other.save_pretrained(whole / "vae")
        wanted = self.made(whole)
        self.assertTrue((wanted != self.made(self.model)).any())
        run("convert", whole, self.folder / "ldm.pt", "--part", "vae")
        ldm = torch.load(self.folder / "ldm.pt", weights_only=True)
        ldm = ldm.get("state_dict", ldm)
        self.assertIn("encoder.mid.attn_1.q.weight", ldm)
        torch.save({"state_dict": ldm, "epoch": 1}, self.folder / "lightning.ckpt")
        torch.save(ldm, self.folder / "legacy.pt", _use_new_zipfile_serialization=False)
        torch.save({f"first_stage_model.{name}": tensor for name, tensor in ldm.items()}, self.folder / "prefixed.pt")
        torch.save(names, self.folder / "diffusers.bin")
        save_file(names, self.folder / "diffusers.safetensors")
        for vae in ("ldm.pt", "lightning.ckpt", "legacy.pt", "prefixed.pt", "diffusers.bin", "diffusers.safetensors", "other/vae", "other"):
            np.testing.assert_array_equal(self.made(self.model, "--vae", self.folder / vae), wanted, vae)
        np.testing.assert_array_equal(self.made(self.bare, "--config", self.model, "--vae", self.folder / "ldm.pt"), wanted)

    def test_an_inpainting_model_is_known_by_its_channels(self):
        inpainting = tiny_pipeline(seed=4, in_channels=9)
        inpainting.save_pretrained(self.folder / "inpainting")
        run("convert", self.folder / "inpainting", self.folder / "x.safetensors")
        save_file(load_file(self.folder / "x.safetensors"), self.folder / "bare.safetensors")
        y, x = np.mgrid[0:24, 0:32]
        Image.fromarray(np.stack([x * 7, y * 9, (x + y) * 4], -1).astype(np.uint8)).save(self.folder / "init.png")
        Image.fromarray(((x > 10) * 255).astype(np.uint8)).save(self.folder / "mask.png")
        repaint = ("--init", self.folder / "init.png", "--mask", self.folder / "mask.png")
        # The folder that gives the configs is an ordinary model's.
        np.testing.assert_array_equal(self.made(self.folder / "bare.safetensors", "--config", self.model, *repaint),
                                      self.made(self.folder / "inpainting", *repaint))

    # --- where models are named

    def test_training_from_a_lone_file_its_averages_and_another_autoencoder(self):
        averaged = {name: tensor + 0.01 for name, tensor in self.ldm.items() if name.startswith("model.diffusion_model.")}
        ema = {"model_ema." + name.removeprefix("model.").replace(".", ""): tensor for name, tensor in averaged.items()}
        torch.save({"state_dict": self.ldm | ema}, self.folder / "x.ckpt")
        save_file(self.ldm | averaged, self.folder / "averaged.safetensors")
        vae = {name.removeprefix("first_stage_model."): 0.9 * tensor for name, tensor in self.ldm.items() if name.startswith("first_stage_model.")}
        torch.save(vae, self.folder / "vae.pt")
        data = self.folder / "data"
        data.mkdir()
        for i in range(2):
            Image.new("RGB", (64, 64), (90 * i, 40, 0)).save(data / f"{i}.png")
            (data / f"{i}.txt").write_text("a cat")
        lone = ("--config", self.model, "--vae", self.folder / "vae.pt")
        np.testing.assert_array_equal(self.made(self.folder / "x.ckpt", *lone, "--ema"),
                                      self.made(self.folder / "averaged.safetensors", *lone))
        run("prepare", data, "--out", self.folder / "store", "--model", self.folder / "x.ckpt", *lone, "--resolution", 64)

        def trained(name, file, more=""):
            (self.folder / f"{name}.toml").write_text(f"""
                model = {{path = "{self.folder / file}", config = "{self.model}", vae = "{self.folder / 'vae.pt'}"{more}}}
                data.store = "{self.folder / 'store'}"
                train = {{steps = 1, global_batch = 2, micro_batch = 2, threads = 1}}
                optimizer.lr = 0.0
                checkpoint.weights_dtype = "fp32"
                metrics.port = -1
                """)
            run("train", self.folder / f"{name}.toml", "--out", self.folder / name)
            checkpoint = self.folder / name / "checkpoints/latest"
            return {part: load_file(checkpoint / part / f"{stem}.safetensors") for part, stem in STEMS.items()}

        last, averages = trained("last", "x.ckpt"), trained("averages", "x.ckpt", ", ema = true")
        for name, tensor in self.states()["unet"].items():
            self.assertTrue(torch.equal(last["unet"][name], tensor), name)
            self.assertTrue(torch.equal(averages["unet"][name], tensor + 0.01), name)
        self.assertTrue(torch.equal(last["vae"]["encoder.conv_in.weight"], 0.9 * self.states()["vae"]["encoder.conv_in.weight"]))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
