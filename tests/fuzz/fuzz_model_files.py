"""Makes whole model files of all kinds as torch, safetensors, diffusers and transformers write them, and has fuzz_model_files damage and
read them.

    fuzz_model_files.py FUZZ_MODEL_FILES WORK_FOLDER --rounds N|--seconds S [--seed K]
"""
import collections
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "parity"))
from tiny_model import SD15_SCHEDULER  # noqa: E402

from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

PROGRAM, WORK = Path(sys.argv[1]), Path(sys.argv[2])


def byte_symbols() -> list[str]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def write_tokenizers(seeds: Path) -> int:
    """Small ones, in both forms; how many pieces they have."""
    symbols = byte_symbols()
    merges = ["c a", "ca t</w>", "o n</w>", "t h", "th e</w>"]
    pieces = [*symbols, *(s + "</w>" for s in symbols), *(m.replace(" ", "") for m in merges), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    special = dict(lstrip=False, rstrip=False, single_word=False, normalized=False, special=True)
    added = [dict(id=vocabulary[t], content=t, **special) for t in pieces[-2:]]
    (seeds / "tokenizer").mkdir()
    (seeds / "tokenizer/vocab.json").write_text(json.dumps(vocabulary))
    (seeds / "tokenizer/merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (seeds / "tokenizer/special_tokens_map.json").write_text(json.dumps(
        {"bos_token": added[0] | {"__type": "AddedToken"}, "eos_token": pieces[-1], "pad_token": "!", "unk_token": pieces[-1]}))
    (seeds / "tokenizer/tokenizer_config.json").write_text(json.dumps(
        {"bos_token": pieces[-2], "eos_token": pieces[-1], "pad_token": pieces[-1], "model_max_length": 77, "kessoku_front_end": "openai",
         "added_tokens_decoder": {str(entry["id"]): {k: v for k, v in entry.items() if k != "id"} for entry in added}}))
    (seeds / "tokenizer-json").mkdir()
    (seeds / "tokenizer-json/tokenizer.json").write_text(json.dumps(
        {"version": "1.0", "added_tokens": added, "model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": vocabulary,
                                                           "merges": [m.split() if i % 2 else m for i, m in enumerate(merges)]}}))
    return len(pieces)


def write_model(folder: Path, vocabulary: int) -> dict:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
                                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=8, attention_head_dim=2)
    vae = AutoencoderKL(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, sample_size=16,
                        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
    text_encoder = CLIPTextModel(CLIPTextConfig(vocab_size=vocabulary, hidden_size=8, intermediate_size=16, num_hidden_layers=1,
                                                num_attention_heads=2))
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
    PNDMScheduler.from_config(SD15_SCHEDULER).save_config(folder / "scheduler")
    shutil.copytree(folder.parent / "tokenizer", folder / "tokenizer")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return unet.state_dict()


def write_seeds(seeds: Path) -> None:
    vocabulary = write_tokenizers(seeds)
    state = write_model(seeds / "model", vocabulary)
    small = {name: tensor.clone() for name, tensor in list(state.items())[:24]}
    some = small | {"half": torch.arange(6).reshape(2, 3).half(), "bf16": torch.ones(3, dtype=torch.bfloat16), "long": torch.arange(3),
                    "empty": torch.zeros(0, 4), "scalar": torch.tensor(1.5)}
    save_file(some, seeds / "x.safetensors", {"format": "pt", "kessoku_config": '{"unet": {}}'})
    extras = {"state_dict": collections.OrderedDict(some | {"view": small["conv_in.weight"][1:, :2].transpose(0, 1)}), "epoch": 3,
              "global_step": 10**12, "lr": 1e-6, "callbacks": {Path: {"best": np.float64(0.5)}}, "none": None, "list": [(), {}, True, "ü"]}
    torch.save(extras, seeds / "x.ckpt")
    torch.save(extras, seeds / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(small, seeds / "x.bin")
    ldm = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3), "model_ema.decay": torch.tensor(0.9),
           "first_stage_model.encoder.conv_in.weight": torch.zeros(8, 3, 3, 3)}
    save_file(ldm, seeds / "ldm.safetensors")


def main() -> int:
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "seeds").mkdir(parents=True)
    write_seeds(WORK / "seeds")
    return subprocess.run([PROGRAM, WORK / "seeds", WORK / "damaged", *sys.argv[3:]]).returncode


if __name__ == "__main__":
    sys.exit(main())
