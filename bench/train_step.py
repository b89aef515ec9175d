#!/usr/bin/env python3
"""A training step of the demo's model over two ranks: kessoku against PyTorch DDP (gloo) on diffusers and transformers.

    bench/train_step.py [--rounds 3] [--steps 60]

Needs what scripts/demo.sh (base model, store) and scripts/setup.sh --tests (oracles) leave. The two run in turn, never at once, with one
thread a rank, the same model, global batch 32, AdamW and EMA; PyTorch gets its batches ready made, kessoku reads them from the store. Prints the
draws a second of each round (median over steps) and their ratio.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RANKS, BATCH, WARMUP = 2, 32, 10


def kessoku(steps):
    """Draws a second, from the run's own log."""
    run = Path(tempfile.mkdtemp(prefix="kessoku-bench-"))
    environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    settings = [f"train.steps={steps}", f"train.global_batch={BATCH}", "train.threads=1", "sample.every_steps=0", "metrics.port=0"]
    subprocess.run(["mpirun", "--bind-to", "none", "--oversubscribe", "-n", str(RANKS), ROOT / "build/kessoku", "train", ROOT / "configs/demo.toml",
                    "--out", run, *[word for setting in settings for word in ("--set", setting)]],
                   cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL)
    seconds = [json.loads(line)["seconds"] for line in (run / "log.jsonl").read_text().splitlines()][WARMUP:]
    shutil.rmtree(run)
    return BATCH / statistics.median(seconds)


def pytorch(steps):
    out = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(RANKS), "--master-port", "0", __file__,
                          "--worker", "--steps", str(steps)], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return float(out.split()[-1])


def worker(steps):
    import torch
    import torch.distributed as dist
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

    class Denoiser(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unet = UNet2DConditionModel.from_pretrained(ROOT / "demo/base", subfolder="unet", torch_dtype=torch.float32)
            self.text_encoder = CLIPTextModel.from_pretrained(ROOT / "demo/base", subfolder="text_encoder", torch_dtype=torch.float32)

        def forward(self, noisy, timesteps, ids):
            return self.unet(noisy, timesteps, self.text_encoder(ids).last_hidden_state).sample

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo")
    torch.manual_seed(dist.get_rank())
    model = torch.nn.parallel.DistributedDataParallel(Denoiser().train(), gradient_as_bucket_view=True, static_graph=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ema = [p.detach().clone() for p in model.parameters()]
    schedule = DDPMScheduler.from_pretrained(ROOT / "demo/base", subfolder="scheduler")
    local, seconds = BATCH // dist.get_world_size(), []
    for _ in range(steps):
        latents, noise = torch.randn(2, local, 16, 8, 8)
        timesteps, ids = torch.randint(0, 1000, (local,)), torch.randint(0, 49406, (local, 77))
        dist.barrier()
        start = time.perf_counter()
        loss = torch.nn.functional.mse_loss(model(schedule.add_noise(latents, noise, timesteps), timesteps, ids), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch._foreach_lerp_(ema, list(model.parameters()), 0.002)
        seconds.append(time.perf_counter() - start)
    if dist.get_rank() == 0:
        print(BATCH / statistics.median(seconds[WARMUP:]))
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.steps)
        return
    ratios = []
    for number in range(1, arguments.rounds + 1):
        ours, theirs = kessoku(arguments.steps), pytorch(arguments.steps)
        ratios.append(ours / theirs)
        print(f"round {number}: kessoku {ours:.0f} draws/s, PyTorch DDP {theirs:.0f} draws/s, ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
