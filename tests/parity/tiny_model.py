"""A Stable Diffusion model of diffusers that is small enough for tests, with images that depend on everything."""
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

ROOT = Path(__file__).resolve().parents[2]
SD15_SCHEDULER = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
                  "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "set_alpha_to_one": False,
                  "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None, "clip_sample": False}


def tiny_pipeline(seed=3, in_channels=4, levels=2) -> StableDiffusionPipeline:
    """`levels` 3 halves latents twice, so that they become odd."""
    torch.manual_seed(seed)
    channels = (32,) * (levels - 1) + (64,)
    unet = UNet2DConditionModel(sample_size=8, in_channels=in_channels, block_out_channels=channels, layers_per_block=1,
                                down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
                                up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
                                cross_attention_dim=32, attention_head_dim=4)
    vae = AutoencoderKL(block_out_channels=(32, 32, 64), layers_per_block=1, sample_size=32,
                        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3)
    text_encoder = CLIPTextModel(CLIPTextConfig(vocab_size=49408, hidden_size=32, intermediate_size=64,
                                                num_hidden_layers=2, num_attention_heads=4))
    with torch.no_grad():  # fresh weights give gray images, and a UNet that hardly looks at the text
        vae.decoder.conv_out.weight *= 4
        vae.encoder.conv_out.weight *= 10
        unet.conv_out.weight *= 3
        norm = next(m for n, m in text_encoder.named_modules() if n.endswith("final_layer_norm"))
        norm.bias.fill_(-0.3)  # the real encoder's states have a mean
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, unet=unet, scheduler=PNDMScheduler.from_config(SD15_SCHEDULER),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        tokenizer=CLIPTokenizer.from_pretrained(ROOT / "models/clip-tokenizer"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
