"""What the same bits on any number of ranks cost: seconds a step of two builds of `kessoku train`, in turns, on the `small`
network of a UNet with text encoder (51 million parameters, latents of 32 x 32), fp32, one thread a rank.

    same_bits.py BEFORE AFTER WORK_FOLDER [--rounds N] [--steps K] [--out RESULT.json]

BEFORE and AFTER are programs. Two cases: as many micro-batches as ranks (2), and four micro-batches on one rank. The median of all
steps but the first two of each run counts; AFTER takes its gradients' sums along the tree.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
from pathlib import Path

import machine
import numpy as np
from diffusers import UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
CASES = {"as many micro-batches as ranks": {"ranks": 2, "global_batch": 8}, "four micro-batches on one rank": {"ranks": 1, "global_batch": 16}}


def run(*command):
    subprocess.run([str(word) for word in command], check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_inputs(program, work):
    if (work / "store/store.json").exists():
        return
    shutil.rmtree(work, ignore_errors=True)
    (work / "data").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(16):
        Image.fromarray(generator.integers(0, 255, (128, 128, 3), np.uint8)).resize((256, 256)).save(work / f"data/{i}.png")
        (work / f"data/{i}.txt").write_text(f"image {i}")
    model = work / "model"
    run(program, "init", "--preset", "tiny", model, "--tokenizer", ROOT / "models/clip-tokenizer")
    vae = json.loads((model / "vae/config.json").read_text())
    resolution, channels = 32 * 2 ** (len(vae["block_out_channels"]) - 1), vae["latent_channels"]
    run(program, "prepare", work / "data", "--out", work / "store", "--model", model, "--resolution", resolution)
    CLIPTextModel(CLIPTextConfig(
        vocab_size=49408, hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=77, bos_token_id=49406, eos_token_id=49407, pad_token_id=49407)).save_pretrained(model / "text_encoder")
    UNet2DConditionModel(
        sample_size=32, in_channels=channels, out_channels=channels, layers_per_block=2, block_out_channels=(64, 128, 256, 256),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=256, attention_head_dim=8).save_pretrained(model / "unet")
    (work / "run.toml").write_text(f'''
name = "same-bits"
[model]
path = "{model}"
[data]
store = "{work / "store"}"
[train]
micro_batch = 4
threads = 1
[checkpoint]
every_steps = 0
[metrics]
port = -1
''')


def step_seconds(program, work, case, steps):
    out = work / "run"
    shutil.rmtree(out, ignore_errors=True)
    mpirun = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", case["ranks"]] if case["ranks"] > 1 else []
    run(*mpirun, program, "train", work / "run.toml", "--out", out, "--set", f"train.steps={steps}",
        "--set", f"train.global_batch={case['global_batch']}")
    return [json.loads(line)["seconds"] for line in (out / "log.jsonl").read_text().splitlines()][2:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    make_inputs(a.after, a.work)
    seconds = {name: {"before": [], "after": []} for name in CASES}
    for _ in range(a.rounds):
        for name, case in CASES.items():
            for which in ("before", "after"):
                seconds[name][which] += step_seconds(getattr(a, which), a.work, case, a.steps)
    result = {**machine.describe(), "rounds": a.rounds, "steps": a.steps, "cases": {}}
    for name, times in seconds.items():
        medians = {which: statistics.median(values) for which, values in times.items()}
        result["cases"][name] = CASES[name] | {"micro_batch": 4, "seconds_before": round(medians["before"], 4),
                                               "seconds_after": round(medians["after"], 4),
                                               "ratio": round(medians["after"] / medians["before"], 4)}
    text = json.dumps(result, indent=1)
    print(text)
    if a.out:
        a.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
