"""Training steps of a diffusers UNet with its transformers text encoder: what a user fine-tunes with today. Under torchrun
DistributedDataParallel over gloo sums the gradients; AdamW is PyTorch's fused one.

    python -m torch.distributed.run --standalone --nproc-per-node N bench/peers/ddp_step.py MODEL BATCHES [options]

MODEL is a diffusers folder, BATCHES a folder of step-*.safetensors as `kessoku train` writes them with [audit]: each process takes
its share of every global batch, and begins anew after the last. The last line of the output is JSON: seconds of each step after
the warm-up (of the slowest process), the loss of each step, the number of parameters, peak memory of the largest process.
"""
import argparse
import json
import os
import resource
import time
from pathlib import Path

import torch
import torch.distributed
from diffusers import DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextModel


class Denoiser(torch.nn.Module):
    """Both networks as one module, so that DDP wraps both."""

    def __init__(self, model: Path):
        super().__init__()
        self.unet = UNet2DConditionModel.from_pretrained(model / "unet")
        self.text_encoder = CLIPTextModel.from_pretrained(model / "text_encoder")

    def forward(self, noisy, timesteps, input_ids):
        return self.unet(noisy, timesteps, self.text_encoder(input_ids).last_hidden_state).sample


def over_ranks(world: int, value) -> list:
    if world == 1:
        return [value]
    values = [None] * world
    torch.distributed.all_gather_object(values, value)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("batches", type=Path)
    parser.add_argument("--steps", type=int, default=6, help="timed steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--threads", type=int, default=1, help="per process")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--started", type=Path, help="a file to write when the first step is done")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        torch.distributed.init_process_group("gloo")
    model = Denoiser(options.model).train()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if world > 1:
        # A static graph: the unused parameters (the text's pooled output has none) are found once.
        model = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True, static_graph=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.01, fused=True)
    schedule = DDPMScheduler.from_pretrained(options.model / "scheduler")
    batches = [{name: tensor.chunk(world)[rank] for name, tensor in load_file(file).items()}
               for file in sorted(options.batches.glob("step-*.safetensors"))]

    seconds, losses = [], []
    for step in range(options.warmup + options.steps):
        batch = batches[step % len(batches)]
        if world > 1:
            torch.distributed.barrier()
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bf16):
            noisy = schedule.add_noise(batch["latents"], batch["noise"], batch["timesteps"])
            predicted = model(noisy, batch["timesteps"], batch["input_ids"])
            loss = torch.nn.functional.mse_loss(predicted.float(), batch["noise"])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
        if step == 0 and rank == 0 and options.started:
            options.started.touch()

    seconds = [max(of_step) for of_step in zip(*over_ranks(world, seconds))]
    losses = [sum(of_step) / world for of_step in zip(*over_ranks(world, losses))]
    peak = max(over_ranks(world, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9))
    if rank == 0:
        print(json.dumps({"parameters": parameters, "step_seconds": seconds[options.warmup:], "losses": losses, "peak_gb": peak}), flush=True)
    if world > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
