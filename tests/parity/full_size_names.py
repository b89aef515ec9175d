"""Names and shapes of Stable Diffusion 1.5's size in LDM's files, against diffusers' own converter; files are sparse, tensors have no
memory.

    full_size_names.py KESSOKU WORK_FOLDER
"""
import json
import math
import shutil
import struct
import sys
import unittest
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from transformers import CLIPTextConfig, CLIPTextModel

from tiny_model import ROOT, SD15_SCHEDULER

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import WORK, empty_work_folder, kessoku, run_tests

SIZES = {"unet": 859_520_964, "text_encoder": 123_060_480, "vae": 83_653_863}
CLIP = "cond_stage_model.transformer."


def write_sparse(path: Path, shapes: dict) -> None:
    """A .safetensors file of zeros in f16 that takes no room."""
    header, end = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + 2 * math.prod(shape)]}
        end += 2 * math.prod(shape)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def read_shapes(path: Path) -> dict:
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def shapes_of(state: dict) -> dict:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def without_prefix(shapes: dict) -> dict:
    return {name.removeprefix("text_model."): shape for name, shape in shapes.items()}


class FullSizeNames(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        empty_work_folder()
        with torch.device("meta"):
            cls.unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
            cls.text_encoder = CLIPTextModel(CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                vocab_size=49408, hidden_act="quick_gelu"))
            cls.vae = AutoencoderKL(
                block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
                down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
        parts = {"unet": cls.unet, "text_encoder": cls.text_encoder, "vae": cls.vae}
        cls.states = {part: shapes_of(module.state_dict()) for part, module in parts.items()}
        model = WORK / "model"
        for part, module in parts.items():
            if part == "text_encoder":
                module.config.save_pretrained(model / part)
            else:
                module.save_config(model / part)
            stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
            write_sparse(model / part / f"{stem}.safetensors", cls.states[part])
        PNDMScheduler.from_config(SD15_SCHEDULER).save_config(model / "scheduler")
        shutil.copytree(ROOT / "models/clip-tokenizer", model / "tokenizer")
        (model / "model_index.json").write_text(json.dumps({
            "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0",
            "scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"]}))
        kessoku("convert", model, WORK / "x.safetensors")
        cls.ldm = read_shapes(WORK / "x.safetensors")
        (WORK / "x.safetensors").unlink()

    def test_the_networks_are_of_the_size_of_stable_diffusion(self):
        found = {part: sum(math.prod(shape) for shape in shapes.values()) for part, shapes in self.states.items()}
        self.assertEqual(found, SIZES)

    def test_diffusers_reads_each_tensor_by_its_name_in_its_shape(self):
        meta = {name: torch.empty(shape, device="meta") for name, shape in self.ldm.items()}
        found = {"unet": convert_ldm_unet_checkpoint(dict(meta), dict(self.unet.config)),
                 "vae": convert_ldm_vae_checkpoint(dict(meta), dict(self.vae.config)),
                 "text_encoder": {name.removeprefix(CLIP): tensor for name, tensor in meta.items()
                                  if name.startswith(CLIP) and not name.endswith("position_ids")}}
        for part, state in found.items():
            with self.subTest(part):
                self.assertEqual(without_prefix(shapes_of(state)), without_prefix(self.states[part]))

    def test_names_are_those_of_ldms_files(self):
        self.assertEqual(len(self.ldm), 686 + 196 + 248 + 1)  # and position_ids, which old loaders ask for
        blocks = "model.diffusion_model."
        known = {blocks + "input_blocks.0.0.weight": (320, 4, 3, 3), blocks + "time_embed.2.bias": (1280,),
                 blocks + "input_blocks.3.0.op.weight": (320, 320, 3, 3),
                 blocks + "middle_block.1.transformer_blocks.0.attn2.to_k.weight": (1280, 768),
                 blocks + "output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
                 blocks + "output_blocks.5.2.conv.weight": (1280, 1280, 3, 3),
                 "first_stage_model.encoder.mid.attn_1.q.weight": (512, 512, 1, 1),
                 "first_stage_model.decoder.up.3.upsample.conv.weight": (512, 512, 3, 3),
                 CLIP + "text_model.encoder.layers.11.mlp.fc2.weight": (768, 3072)}  # as in v1-5-pruned.ckpt
        self.assertEqual({name: self.ldm.get(name) for name in known}, known)

    def test_files_of_others_are_read_without_a_config_the_inpainting_model_too(self):
        first = "model.diffusion_model.input_blocks.0.0.weight"
        theirs = {k: v for k, v in self.ldm.items() if not k.endswith("position_ids")}
        for name, channels in (("plain", 4), ("inpainting", 9)):
            with self.subTest(name):
                file = WORK / f"{name}.safetensors"
                write_sparse(file, theirs | {first: (320, channels, 3, 3)})
                inspected = json.loads(kessoku("inspect", file, "--json").stdout)
                self.assertTrue(inspected["complete"])
                more = (channels - 4) * 320 * 9
                self.assertEqual({part: entry["parameters"] for part, entry in inspected["components"].items()},
                                 SIZES | {"unet": SIZES["unet"] + more})


if __name__ == "__main__":
    run_tests()
