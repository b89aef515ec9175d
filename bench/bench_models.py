"""Models and stores for comparisons: networks of given sizes with random weights, written by diffusers and read by both programs."""
import json
import shutil
from pathlib import Path

from turns import PROGRAM, ROOT, run

# name: (UNet channels, layers a block, width of the text, UNet heads, text layers, text heads, side of the latents)
SIZES = {
    "tiny": ((32, 64, 128, 128), 1, 64, 4, 2, 2, 16),
    "small": ((64, 128, 256, 256), 2, 256, 8, 4, 4, 32),
}
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
            "set_alpha_to_one": False, "steps_offset": 1}
IMAGES = 16
DOWNSCALE = 8


def make_model(size: str, folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    channels, layers, width, heads, text_layers, text_heads, side = SIZES[size]
    torch.manual_seed(0)
    between = len(channels) - 1
    unet = UNet2DConditionModel(
        sample_size=side, in_channels=4, out_channels=4, layers_per_block=layers, block_out_channels=channels, cross_attention_dim=width,
        attention_head_dim=heads, down_block_types=("CrossAttnDownBlock2D",) * between + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * between)
    text_encoder = CLIPTextModel(CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=text_layers, num_attention_heads=text_heads,
        max_position_embeddings=77, bos_token_id=49406, eos_token_id=49407, pad_token_id=49407))
    vae = AutoencoderKL(block_out_channels=(32,) * 4, layers_per_block=1, latent_channels=4, sample_size=side * DOWNSCALE,
                        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    StableDiffusionPipeline(
        unet=unet, text_encoder=text_encoder, vae=vae, scheduler=DDIMScheduler(**SCHEDULE), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False, tokenizer=CLIPTokenizer.from_pretrained(ROOT / "models/clip-tokenizer")).save_pretrained(folder)


def make_sd15(folder: Path, program: Path = PROGRAM) -> Path:
    """A model of Stable Diffusion 1.5's size; one that is there is used again."""
    if not (folder / "model_index.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        run(program, "init", "--preset", "sd15", folder, "--tokenizer", ROOT / "models/clip-tokenizer", "--seed", 7)
    return folder


def make_images(folder: Path, sizes: list[tuple[int, int]]) -> None:
    """Smooth images with captions, each of a width and height."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    generator = np.random.default_rng(1)
    for i, size in enumerate(sizes):
        coarse = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"a colorful pattern, number {i}")


def parameters(model: Path) -> int:
    """Of UNet and text encoder, as the files' headers count them."""
    total = 0
    for file in (model / "unet/diffusion_pytorch_model.safetensors", model / "text_encoder/model.safetensors"):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__" and not name.endswith("position_ids"):
                count = 1
                for extent in entry["shape"]:
                    count *= extent
                total += count
    return total


def make_inputs(size: str, work: Path) -> tuple[Path, Path]:
    """The model and a store of latents' moments for it; what is there is used again."""
    model, store = work / "model", work / "store"
    if not (store / "store.json").exists():
        for name in ("model", "store", "images"):
            shutil.rmtree(work / name, ignore_errors=True)
        side = SIZES[size][-1] * DOWNSCALE
        make_model(size, model)
        make_images(work / "images", [(side, side)] * IMAGES)
        run(PROGRAM, "prepare", work / "images", "--out", store, "--model", model, "--resolution", side)
    return model, store
