"""Peak memory and seconds of `kessoku sample` for a large image, the autoencoder (of Stable Diffusion 1.5's size) working on it whole and
in tiles.

    vae_tiling.py KESSOKU WORK_FOLDER [--size 1536] [--tile 512] [--threads 2] [--out RESULT.json]

The UNet and the text encoder are tiny, so that what is measured is the autoencoder. Weights are random. Needs up to 12 GB of memory.
"""
import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def make_model(folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(1)
    StableDiffusionPipeline(
        unet=UNet2DConditionModel(sample_size=64, block_out_channels=(32, 32, 32), layers_per_block=1, cross_attention_dim=32,
                                  down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
                                  up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"), attention_head_dim=4),
        vae=AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
                          down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4),
        text_encoder=CLIPTextModel(CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4)),
        tokenizer=CLIPTokenizer.from_pretrained(ROOT / "models/clip-tokenizer"),
        scheduler=PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False).save_pretrained(folder)


def sample(options, tile: int) -> dict:
    command = [options.kessoku.resolve(), "sample", options.work / "model", "--prompt", "a cat", "--steps", 1, "--cfg", 1, "--solver", "ddim",
               "--size", f"{options.size}x{options.size}", "--tile", tile, "--threads", options.threads, "--out", options.work / f"tile-{tile}"]
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {os.waitstatus_to_exitcode(status)}")
    return {"tile": tile, "peak_gb": usage.ru_maxrss * 1024 / 1e9, "seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kessoku", type=Path)
    parser.add_argument("work", type=Path)
    for name, default in (("size", 1536), ("tile", 512), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    shutil.rmtree(options.work / "model", ignore_errors=True)
    make_model(options.work / "model")
    rows = [sample(options, tile) for tile in (options.tile, 0)]
    for row in rows:
        print("{0:12} peak {peak_gb:6.2f} GB  {seconds:7.1f} s".format(f"tiles of {row['tile']}" if row["tile"] else "whole", **row), file=sys.stderr)
    report = {"benchmark": "vae_tiling", "machine": f"{os.cpu_count()} cores, {platform.machine()}", "size": options.size,
              "threads": options.threads, "rows": rows}
    print(json.dumps(report))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
