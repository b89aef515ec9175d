"""Writes what diffusers and transformers compute, for network_parity_test: one folder a case with config.json, weights and
io.safetensors (inputs, output, grad_output, grad.<parameter>; for some also output_bf16 and grad_bf16.<parameter>).

Usage: make_fixtures.py FOLDER [--full-size]
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


def run_backward(module: torch.nn.Module, output: torch.Tensor, grad_output: torch.Tensor, prefix: str) -> dict:
    output.backward(grad_output.to(output.dtype))
    gradients = {f"{prefix}.{name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)  # what the module still holds, .bfloat16() would round in place
    return gradients


def record(folder: pathlib.Path, module: torch.nn.Module, inputs: dict, run, bf16: bool = False) -> None:
    """`bf16` also records what the module gives in that type: the error that is to be expected of it."""
    module.save_pretrained(folder)
    output = run(inputs)
    grad_output = torch.randn_like(output)
    tensors = inputs | {"output": output.detach(), "grad_output": grad_output}
    tensors |= run_backward(module, output, grad_output, "grad")
    if bf16:
        module.bfloat16()
        output = run({name: t.bfloat16() if t.is_floating_point() else t for name, t in inputs.items()})
        tensors |= {"output_bf16": output.detach()} | run_backward(module, output, grad_output, "grad_bf16")
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "io.safetensors")


def unet(folder, batch, height, width, tokens=77, bf16=False, **config) -> None:
    module = shake(UNet2DConditionModel(**config))
    dim = module.config.cross_attention_dim
    inputs = {
        "sample": torch.randn(batch, module.config.in_channels, height, width),
        "timestep": torch.randint(0, 1000, (batch,)),
        "encoder_hidden_states": torch.randn(batch, tokens, dim if isinstance(dim, int) else dim[0]),
    }
    record(folder, module, inputs, lambda i: module(**i).sample, bf16)


def text_encoder(folder, batch, length=77, bf16=False, **config) -> None:
    module = shake(CLIPTextModel(CLIPTextConfig(**config)))
    inputs = {"input_ids": torch.randint(0, config["vocab_size"], (batch, length))}
    record(folder, module, inputs, lambda i: module(**i).last_hidden_state, bf16)


def vae(folder, batch, height, width, half, bf16=False, **config) -> None:
    levels = len(config["block_out_channels"])
    blocks = dict(down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels)
    module = shake(AutoencoderKL(**blocks | config))
    if half == "encode":
        def run(inputs):
            latents = module.encode(inputs["sample"]).latent_dist
            return torch.cat([latents.mean, latents.logvar], 1)
        images = torch.rand(batch, module.config.in_channels, height, width) * 2 - 1
        record(folder, module, {"sample": images}, run, bf16)
    else:
        latents = torch.randn(batch, config["latent_channels"], height, width)
        record(folder, module, {"latent_sample": latents}, lambda i: module.decode(i["latent_sample"]).sample, bf16)


def full_size(root: pathlib.Path) -> None:
    """Stable Diffusion 1.5's own shapes. One module at a time is in memory."""
    unet(root / "unet-sd15", 1, 16, 24, cross_attention_dim=768)
    text_encoder(root / "text-sd15", 1, vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                 num_attention_heads=12)
    sd15_vae = dict(latent_channels=4, block_out_channels=(128, 256, 512, 512), layers_per_block=2)
    vae(root / "vae-sd15-encode", 1, 96, 128, "encode", **sd15_vae)
    vae(root / "vae-sd15-decode", 1, 12, 16, "decode", **sd15_vae)


def small(root: pathlib.Path) -> None:
    torch.set_num_threads(1)
    tiny_unet = dict(in_channels=16, out_channels=16, block_out_channels=(64, 128), layers_per_block=2,
                     down_block_types=(DOWN, CROSS_DOWN), up_block_types=(CROSS_UP, UP),
                     cross_attention_dim=64, attention_head_dim=4)
    sd_shaped = dict(block_out_channels=(32, 32, 64, 64), layers_per_block=2, cross_attention_dim=48,
                     attention_head_dim=8)
    unet(root / "unet-tiny", 3, 8, 8, **tiny_unet)
    unet(root / "unet-tiny-wide", 2, 6, 10, tokens=154, **tiny_unet)
    unet(root / "unet-sd-shaped", 1, 16, 24, bf16=True, **sd_shaped)
    unet(root / "unet-odd-size", 2, 13, 19, **sd_shaped)
    # Of few pixels a norm's groups must have several channels: the deviation of two numbers says too little.
    unet(root / "unet-two-pixels", 2, 1, 2, norm_num_groups=4, **sd_shaped)
    unet(root / "unet-other-options", 2, 12, 8, tokens=5, in_channels=9, out_channels=4, block_out_channels=(24, 48, 36),
         layers_per_block=1, down_block_types=(CROSS_DOWN, DOWN, CROSS_DOWN), up_block_types=(CROSS_UP, UP, CROSS_UP),
         cross_attention_dim=20, attention_head_dim=(2, 4, 3), norm_num_groups=4, norm_eps=1e-6,
         use_linear_projection=True, upcast_attention=True, flip_sin_to_cos=False, freq_shift=1, sample_size=(12, 8))
    # Layers, transformer layers and heads a block; heads that do not divide the channels; attention up but not down.
    unet(root / "unet-lists", 2, 7, 10, tokens=9, block_out_channels=(15, 30, 45), layers_per_block=(1, 3, 2),
         transformer_layers_per_block=(1, 2, 1), down_block_types=(DOWN, CROSS_DOWN, DOWN),
         up_block_types=(CROSS_UP, UP, CROSS_UP), cross_attention_dim=(24, 24, 24), attention_head_dim=(4, 7, 2),
         norm_num_groups=5)
    unet(root / "unet-without-mid-block", 1, 5, 3, block_out_channels=(32, 64), down_block_types=(CROSS_DOWN,) * 2,
         up_block_types=(CROSS_UP,) * 2, mid_block_type=None, cross_attention_dim=16, norm_num_groups=4, bf16=True)
    unet(root / "unet-one-level", 2, 4, 4, block_out_channels=(16,), down_block_types=(CROSS_DOWN,),
         up_block_types=(UP,), layers_per_block=3, cross_attention_dim=16, norm_num_groups=16)
    unet(root / "unet-without-attention", 2, 9, 6, block_out_channels=(16, 24), down_block_types=(DOWN, DOWN),
         up_block_types=(UP, UP), mid_block_type="UNetMidBlock2D", cross_attention_dim=16, norm_num_groups=8,
         time_embedding_dim=40, attention_head_dim=100)

    small_text = dict(vocab_size=1000, hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
                      bos_token_id=998, eos_token_id=999)
    text_encoder(root / "text-tiny", 3, bf16=True, **small_text)
    text_encoder(root / "text-gelu-short", 2, length=9, **small_text | dict(
        hidden_act="gelu", num_hidden_layers=3, num_attention_heads=8, max_position_embeddings=32))

    tiny_vae = dict(latent_channels=16, block_out_channels=(32, 64, 64, 64), layers_per_block=1, norm_num_groups=16)
    sd_vae = dict(latent_channels=4, block_out_channels=(32, 32, 64, 64), layers_per_block=2, norm_num_groups=32)
    odd_vae = dict(in_channels=4, out_channels=1, latent_channels=2, block_out_channels=(8, 12), norm_num_groups=4,
                   down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
                   up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"), use_quant_conv=False,
                   use_post_quant_conv=False, force_upcast=False, sample_size=(16, 24))
    for half, scale in (("encode", 8), ("decode", 1)):
        vae(root / f"vae-tiny-{half}", 2, 8 * scale, 8 * scale, half, **tiny_vae)
        vae(root / f"vae-sd-shaped-{half}", 1, 5 * scale, 7 * scale, half, bf16=True, **sd_vae)
        vae(root / f"vae-other-options-{half}", 2, 5, 6, half, **odd_vae)
    vae(root / "vae-odd-size-encode", 1, 51, 38, "encode", **sd_vae)
    vae(root / "vae-smallest-encode", 1, 8, 9, "encode", **sd_vae | dict(norm_num_groups=4))
    vae(root / "vae-without-attention-decode", 1, 3, 5, "decode", mid_block_add_attention=False, **tiny_vae)


def main() -> None:
    root = pathlib.Path(sys.argv[1])
    torch.manual_seed(20240229)
    if sys.argv[2:] == ["--full-size"]:
        full_size(root)
    else:
        small(root)


main()
