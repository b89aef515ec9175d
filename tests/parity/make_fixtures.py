"""Writes what diffusers and transformers compute, for network_parity_test: one folder a case with config.json, weights and
io.safetensors (inputs, output, grad_output, grad.<parameter>).

Usage: make_fixtures.py FOLDER
"""

import pathlib
import sys

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

DOWN, CROSS_DOWN = "DownBlock2D", "CrossAttnDownBlock2D"
UP, CROSS_UP = "UpBlock2D", "CrossAttnUpBlock2D"


def shake(module: torch.nn.Module) -> torch.nn.Module:
    """Fresh norms are 1 and 0 and some biases 0, which would hide mistakes."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def record(folder: pathlib.Path, module: torch.nn.Module, inputs: dict, run) -> None:
    module.save_pretrained(folder)
    output = run(inputs)
    grad_output = torch.randn_like(output)
    output.backward(grad_output)
    tensors = inputs | {"output": output.detach(), "grad_output": grad_output}
    tensors |= {f"grad.{name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, folder / "io.safetensors")


def unet(folder, batch, height, width, tokens=77, **config) -> None:
    module = shake(UNet2DConditionModel(**config))
    inputs = {
        "sample": torch.randn(batch, config["in_channels"], height, width),
        "timestep": torch.randint(0, 1000, (batch,)),
        "encoder_hidden_states": torch.randn(batch, tokens, config["cross_attention_dim"]),
    }
    record(folder, module, inputs, lambda i: module(**i).sample)


def text_encoder(folder, batch, length=77, **config) -> None:
    module = shake(CLIPTextModel(CLIPTextConfig(**config)))
    inputs = {"input_ids": torch.randint(0, config["vocab_size"], (batch, length))}
    record(folder, module, inputs, lambda i: module(**i).last_hidden_state)


def vae(folder, batch, height, width, half, **config) -> None:
    levels = len(config["block_out_channels"])
    module = shake(AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * levels,
                                 up_block_types=("UpDecoderBlock2D",) * levels, **config))
    if half == "encode":
        def run(inputs):
            latents = module.encode(inputs["sample"]).latent_dist
            return torch.cat([latents.mean, latents.logvar], 1)
        record(folder, module, {"sample": torch.rand(batch, 3, height, width) * 2 - 1}, run)
    else:
        latents = torch.randn(batch, config["latent_channels"], height, width)
        record(folder, module, {"latent_sample": latents}, lambda i: module.decode(i["latent_sample"]).sample)


def main() -> None:
    root = pathlib.Path(sys.argv[1])
    torch.manual_seed(20240229)
    torch.set_num_threads(1)
    tiny_unet = dict(in_channels=16, out_channels=16, block_out_channels=(64, 128), layers_per_block=2,
                     down_block_types=(DOWN, CROSS_DOWN), up_block_types=(CROSS_UP, UP),
                     cross_attention_dim=64, attention_head_dim=4)
    sd_shaped = dict(in_channels=4, out_channels=4, block_out_channels=(32, 32, 64, 64), layers_per_block=2,
                     down_block_types=(CROSS_DOWN,) * 3 + (DOWN,), up_block_types=(UP,) + (CROSS_UP,) * 3,
                     cross_attention_dim=48, attention_head_dim=8)
    unet(root / "unet-tiny", 3, 8, 8, **tiny_unet)
    unet(root / "unet-tiny-wide", 2, 6, 10, tokens=154, **tiny_unet)
    unet(root / "unet-sd-shaped", 1, 16, 24, **sd_shaped)
    unet(root / "unet-odd-size", 2, 13, 19, **sd_shaped)
    unet(root / "unet-other-options", 2, 12, 8, tokens=5, in_channels=9, out_channels=4, block_out_channels=(24, 48, 36),
         layers_per_block=1, down_block_types=(CROSS_DOWN, DOWN, CROSS_DOWN), up_block_types=(CROSS_UP, UP, CROSS_UP),
         cross_attention_dim=20, attention_head_dim=(2, 4, 3), norm_num_groups=4, norm_eps=1e-6,
         use_linear_projection=True, flip_sin_to_cos=False, freq_shift=1)

    small_text = dict(vocab_size=1000, hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
                      bos_token_id=998, eos_token_id=999)
    text_encoder(root / "text-tiny", 3, **small_text)
    text_encoder(root / "text-gelu-short", 2, length=9, **small_text | dict(
        hidden_act="gelu", num_hidden_layers=3, num_attention_heads=8, max_position_embeddings=32))

    tiny_vae = dict(latent_channels=16, block_out_channels=(32, 64, 64, 64), layers_per_block=1, norm_num_groups=16)
    sd_vae = dict(latent_channels=4, block_out_channels=(32, 32, 64, 64), layers_per_block=2, norm_num_groups=32)
    for half, scale in (("encode", 8), ("decode", 1)):
        vae(root / f"vae-tiny-{half}", 2, 8 * scale, 8 * scale, half, **tiny_vae)
        vae(root / f"vae-sd-shaped-{half}", 1, 5 * scale, 7 * scale, half, **sd_vae)
    vae(root / "vae-odd-size-encode", 1, 51, 38, "encode", **sd_vae)
    vae(root / "vae-without-attention-decode", 1, 3, 5, "decode", mid_block_add_attention=False, **tiny_vae)


main()
