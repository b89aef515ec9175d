"""Names and shapes of Stable Diffusion 1.5's size in LDM's files, against diffusers' own converter; files are sparse, tensors have no
memory.

    full_size_names.py KESSOKU WORK_FOLDER
"""
import json
import math
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from transformers import CLIPTextConfig, CLIPTextModel

from tiny_model import ROOT, SD15_SCHEDULER

PROGRAM, WORK = Path(sys.argv[1]), Path(sys.argv[2])
SIZES = {"unet": 859_520_964, "text_encoder": 123_060_480, "vae": 83_653_863}
CLIP = "cond_stage_model.transformer."


def run(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


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


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    model = WORK / "model"
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        text_encoder = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                                    num_attention_heads=12, vocab_size=49408, hidden_act="quick_gelu"))
        vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
                            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    states = {"unet": shapes_of(unet.state_dict()), "text_encoder": shapes_of(text_encoder.state_dict()),
              "vae": shapes_of(vae.state_dict())}
    for part, module in (("unet", unet), ("text_encoder", text_encoder), ("vae", vae)):
        assert sum(math.prod(shape) for shape in states[part].values()) == SIZES[part], part
        module.config.save_pretrained(model / part) if part == "text_encoder" else module.save_config(model / part)
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        write_sparse(model / part / f"{stem}.safetensors", states[part])
    PNDMScheduler.from_config(SD15_SCHEDULER).save_config(model / "scheduler")
    shutil.copytree(ROOT / "models/clip-tokenizer", model / "tokenizer")
    (model / "model_index.json").write_text(json.dumps({
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0", "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}))

    # What we write, diffusers reads: every tensor by the right name, in the right shape.
    run("convert", model, WORK / "x.safetensors")
    ldm = read_shapes(WORK / "x.safetensors")
    (WORK / "x.safetensors").unlink()
    meta = {name: torch.empty(shape, device="meta") for name, shape in ldm.items()}
    found = {"unet": convert_ldm_unet_checkpoint(dict(meta), dict(unet.config)),
             "vae": convert_ldm_vae_checkpoint(dict(meta), dict(vae.config)),
             "text_encoder": {name.removeprefix(CLIP): tensor for name, tensor in meta.items()
                              if name.startswith(CLIP) and not name.endswith("position_ids")}}
    for part, state in found.items():
        names = {name.removeprefix("text_model."): shape for name, shape in shapes_of(state).items()}
        wanted = {name.removeprefix("text_model."): shape for name, shape in states[part].items()}
        assert names == wanted, (part, set(names.items()) ^ set(wanted.items()))
    assert len(ldm) == 686 + 196 + 248 + 1, len(ldm)  # and position_ids, which old loaders ask for
    known = {"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3), "model.diffusion_model.time_embed.2.bias": (1280,),
             "model.diffusion_model.input_blocks.3.0.op.weight": (320, 320, 3, 3),
             "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight": (1280, 768),
             "model.diffusion_model.output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
             "model.diffusion_model.output_blocks.5.2.conv.weight": (1280, 1280, 3, 3),
             "first_stage_model.encoder.mid.attn_1.q.weight": (512, 512, 1, 1),
             "first_stage_model.decoder.up.3.upsample.conv.weight": (512, 512, 3, 3),
             CLIP + "text_model.encoder.layers.11.mlp.fc2.weight": (768, 3072)}  # as in v1-5-pruned.ckpt
    assert all(ldm[name] == shape for name, shape in known.items()), {name: ldm.get(name) for name in known}

    # What others write, we read: without any config, the inpainting model too.
    first = "model.diffusion_model.input_blocks.0.0.weight"
    for name, channels in (("plain", 4), ("inpainting", 9)):
        write_sparse(WORK / f"{name}.safetensors", {k: v for k, v in ldm.items() if k != CLIP + "text_model.embeddings.position_ids"}
                     | {first: (320, channels, 3, 3)})
        inspected = json.loads(run("inspect", WORK / f"{name}.safetensors", "--json"))
        assert inspected["complete"], name
        more = (channels - 4) * 320 * 9
        assert {part: entry["parameters"] for part, entry in inspected["components"].items()} == SIZES | {"unet": SIZES["unet"] + more}
    shutil.rmtree(WORK)
    print("the names and shapes of Stable Diffusion 1.5 are LDM's")


main()
