"""Writes a small text encoder and what diffusers' pipeline makes of ids with clip_skip, for text_conditioning_test.cpp.

    text_conditioning_oracle.py FOLDER

FOLDER gets config.json and weights; ids.safetensors: input_ids (2, 231); skip-K.safetensors for K layers left out:
states (2, 231, 48), one diffusers call a chunk of 77, concatenated; grad_output; grad.<parameter>.
"""
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

LAYERS = 4


def diffusers_states(encoder: CLIPTextModel, ids: torch.Tensor, clip_skip: int) -> torch.Tensor:
    """StableDiffusionPipeline.encode_prompt itself, with a tokenizer that hands out `ids`."""

    class GivenIds:
        model_max_length = ids.shape[1]

        def __call__(self, *_, **__):
            return SimpleNamespace(input_ids=ids, attention_mask=None)

    pipeline = SimpleNamespace(tokenizer=GivenIds(), text_encoder=encoder, _execution_device="cpu", unet=None)
    # clip_skip = None is the pipeline's default; its 0 would be the last layer's output, then the norm: the same states
    embeds, _ = StableDiffusionPipeline.encode_prompt(pipeline, ["x"] * len(ids), torch.device("cpu"), 1, False,
                                                      clip_skip=clip_skip or None)
    return embeds


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(20250611)
    encoder = CLIPTextModel(CLIPTextConfig(vocab_size=600, hidden_size=48, intermediate_size=96, num_hidden_layers=LAYERS,
                                           num_attention_heads=4, bos_token_id=598, eos_token_id=599)).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    encoder.save_pretrained(folder)
    object.__setattr__(encoder, "text_model", encoder)  # diffusers looks for transformers 4's attribute
    ids = torch.randint(0, 600, (2, 231))
    save_file({"input_ids": ids}, folder / "ids.safetensors")
    for skip in range(LAYERS + 1):
        encoder.zero_grad(set_to_none=True)
        states = torch.cat([diffusers_states(encoder, chunk.contiguous(), skip) for chunk in ids.split(77, 1)], 1)
        grad_output = torch.randn_like(states)
        states.backward(grad_output)
        grads = {f"grad.{name}": p.grad for name, p in encoder.named_parameters() if p.grad is not None}
        save_file({"states": states.detach(), "grad_output": grad_output} | grads, folder / f"skip-{skip}.safetensors")


main(Path(sys.argv[1]))
