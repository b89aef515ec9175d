"""A step of sampling with guidance at Stable Diffusion 1.5's size, 512 px, in fp32 and bf16: `kessoku sample` beside diffusers' pipeline,
in turns, each alone on the machine.

    sampling.py WORK_FOLDER [--rounds 3] [--steps 3] [--threads 2] [--precision fp32,bf16] [--out RESULT.json]

Both begin with the same latents and weights (random ones); in fp32 their images must be equal but for rounding. A step of ours is the time
between two writes of the progress line, which is of one step.
"""
import os
import re
import shutil
import statistics
import subprocess
import time

from bench_models import make_sd15
from turns import ENVIRONMENT, PEERS, PROGRAM, arguments, python, require, run_for_json, side_by_side, take_turns, write

PROMPT = "a cat"


def make_inputs(work):
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file({"latents": torch.randn(1, 4, 64, 64)}, work / "latents.safetensors")
    return make_sd15(work / "model")


def sample(work, model, precision, steps, threads):
    """Median seconds of a step, by what a terminal would show."""
    out = work / f"sampled-{precision}"
    shutil.rmtree(out, ignore_errors=True)
    command = [PROGRAM, "sample", model, "--prompt", PROMPT, "--latents", work / "latents.safetensors", "--solver", "ddim", "--steps", steps,
               "--cfg", 7.5, "--size", "512x512", "--tile", 0, "--dtype", precision, "--threads", threads, "--out", out]
    master, terminal = os.openpty()
    process = subprocess.Popen([str(word) for word in command], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    ends = {}
    while True:
        try:
            text = os.read(master, 4096).decode(errors="replace")
        except OSError:  # the other end is closed
            break
        for done in re.findall(rf"(\d+)/{steps} steps", text):
            ends.setdefault(int(done), time.perf_counter())
    if process.wait() != 0:
        raise SystemExit("kessoku sample failed")
    return statistics.median(ends[step] - ends[step - 1] for step in range(2, steps + 1))


def pixels(file):
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def main():
    def more(parser):
        parser.add_argument("--steps", type=int, default=3)
        parser.add_argument("--threads", type=int, default=2)
        parser.add_argument("--precision", default="fp32,bf16")
    options = arguments(__doc__, 3, more)
    work, steps, threads = options.work, options.steps, options.threads
    model = make_inputs(work)
    measures, checked = {}, []
    for precision in options.precision.split(","):
        theirs_out = work / f"diffusers-{precision}.png"

        def theirs():
            bf16 = ["--bf16"] if precision == "bf16" else []
            return statistics.median(run_for_json(*python(PEERS / "sample_diffusers.py", model, work / "latents.safetensors", theirs_out), *bf16,
                                                  "--prompt", PROMPT, "--steps", steps, "--threads", threads)["step_seconds"])

        seconds = take_turns({"kessoku": lambda: sample(work, model, precision, steps, threads), "diffusers": theirs}, options.rounds)
        off = abs(pixels(work / f"sampled-{precision}/00000.png") - pixels(theirs_out)).mean()
        limit = 0.5 if precision == "fp32" else 8
        require(off <= limit, f"the images in {precision} differ by {off:.2f} levels of 255 in the mean")
        checked.append(f"images in {precision}: mean difference {off:.2f} of 255 (at most {limit})")
        measures[f"{precision} step"] = side_by_side(seconds["kessoku"], seconds["diffusers"], "s")
    write({"benchmark": "sampling", "threads": threads, "size": 512, "steps": steps, "checked": "; ".join(checked), "measures": measures},
          options.out)


if __name__ == "__main__":
    main()
