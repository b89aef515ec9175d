"""An image by diffusers' StableDiffusionPipeline with guidance, DDIM, from given latents.

    sample_diffusers.py MODEL LATENTS.safetensors OUT.png [--steps 3] [--threads 2] [--bf16] [--prompt TEXT]

Prints JSON: the seconds of each step but the first.
"""
import argparse
import json
import time
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("latents", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cfg", type=float, default=7.5)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--prompt", default="a cat")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    pipeline = StableDiffusionPipeline.from_pretrained(options.model, torch_dtype=dtype, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    latents = load_file(options.latents)["latents"].to(dtype)
    ends = []

    def note(*arguments):
        ends.append(time.perf_counter())
        return arguments[-1]

    image = pipeline(options.prompt, latents=latents, height=latents.shape[2] * 8, width=latents.shape[3] * 8,
                     num_inference_steps=options.steps, guidance_scale=options.cfg, callback_on_step_end=note).images[0]
    image.save(options.out)
    print(json.dumps({"step_seconds": [b - a for a, b in zip(ends, ends[1:])]}))


if __name__ == "__main__":
    main()
