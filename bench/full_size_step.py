"""A training step of Stable Diffusion 1.5's size (UNet and text encoder, 512 px, batch 1) on the CPU: peak memory and
seconds of `kessoku train`, and the same steps in PyTorch (diffusers, transformers, AdamW; in bf16 under autocast), of which each
must be equal.

    full_size_step.py KESSOKU WORK_FOLDER [--precision fp32,bf16] [--rounds 2] [--steps 2] [--threads 2] [--images 512x512,512x512]
                      [--resume-at STEP] [--out RESULT.json]

`--resume-at` trains once more with a stop at that step and a resume from its checkpoint; all losses and the files of the last
checkpoint must be equal. Weights are random. WORK_FOLDER needs 20 GB of disk, with --resume-at 35; what is in it already (the model, the store) is used again. Both train with
gradient checkpointing, in turns, never both at once; the first step of each turn warms up. The replay takes latents, noise,
timesteps and token ids from [audit], and has nothing else of ours. In fp32 gradients and weights are compared, too. Exits with 1
if something differs.
"""
import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine
from bench_models import make_images, make_sd15
from turns import side_by_side, undisturbed

LR = 1e-5
TOLERANCES = {"fp32": (1e-4, 1e-3), "bf16": (2e-2, 5e-2)}  # of losses, of gradient norms
PARAMETERS = 859_520_964 + 123_060_480

RUN_FILE = """
name = "full-size-step"
[model]
path = "{model}"
[data]
store = "{store}"
[train]
steps = {steps}
global_batch = 1
micro_batch = 1
gradient_checkpointing = true
threads = {threads}
precision = "{precision}"
[optimizer]
lr = {lr}
[checkpoint]
every_steps = 0
background = false
[metrics]
port = -1
[audit]
batches = {steps}
"""


def peak_gb(usage) -> float:
    return usage.ru_maxrss * 1024 / 1e9


def run(*command) -> tuple[float, float]:
    """Runs a program; returns its seconds and its peak of resident memory in GB."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, peak_gb(usage)


def make_inputs(kessoku: Path, work: Path, sizes: str) -> tuple[Path, Path]:
    model, store = make_sd15(work / "model", kessoku), work / f"store-{sizes}"
    if not (store / "store.json").exists():
        shutil.rmtree(store, ignore_errors=True)
        shutil.rmtree(work / "pictures", ignore_errors=True)
        make_images(work / "pictures", [tuple(map(int, size.split("x"))) for size in sizes.split(",")])
        run(kessoku, "prepare", work / "pictures", "--out", store, "--model", model, "--resolution", 512)
    return model, store


def train(kessoku: Path, work: Path, precision: str, steps: int, threads: int, images: str, stops: tuple[int, ...] = ()) -> dict:
    """`stops`: steps at which it ends with a checkpoint, and is started again."""
    model, store = make_inputs(kessoku, work, images)
    shutil.rmtree(work / "run", ignore_errors=True)
    run_file = work / "run.toml"
    seconds, peaks = 0.0, []
    for end in (*stops, steps):
        run_file.write_text(RUN_FILE.format(model=model, store=store, precision=precision, steps=end, threads=threads, lr=LR))
        took, peak = run(kessoku, "train", run_file, "--out", work / "run")
        seconds, peaks = seconds + took, [*peaks, peak]
    log = [json.loads(line) for line in (work / "run/log.jsonl").read_text().splitlines()]
    return {"peak_gb": max(peaks), "step_seconds": [record["seconds"] for record in log], "whole_seconds": seconds,
            "data_seconds": [record["phases"]["data"] for record in log],
            "losses": [record["loss"] for record in log], "grad_norms": [record["grad_norm"] for record in log]}


def digests_of(run_folder: Path) -> dict[str, str]:
    """Of the tensors of the newest checkpoint."""
    checkpoint = (run_folder / "checkpoints/latest").resolve()
    found = {}
    for file in sorted(checkpoint.rglob("*.safetensors")):
        with open(file, "rb") as stream:
            found[str(file.relative_to(checkpoint))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def resume_exactly(kessoku: Path, work: Path, at: int, straight: dict, *sizes) -> dict:
    """Trains again, and stops and resumes `at` that step. `straight`: what train returned for the run that is there still."""
    expected = digests_of(work / "run")
    resumed = train(kessoku, work, *sizes, stops=(at,))
    return {"at": at, "equal_losses": resumed["losses"] == straight["losses"], "equal_checkpoints": digests_of(work / "run") == expected,
            "files": len(expected), "peak_gb": resumed["peak_gb"], "whole_seconds": resumed["whole_seconds"]}


def replay(work: Path, precision: str, steps: int, threads: int) -> dict:
    """The same steps in PyTorch; in fp32 also how far our weights and first moments are from its."""
    import torch
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from safetensors.torch import load_file
    from transformers import CLIPTextModel

    torch.set_num_threads(threads)
    unet = UNet2DConditionModel.from_pretrained(work / "model/unet").train()
    text_encoder = CLIPTextModel.from_pretrained(work / "model/text_encoder").train()
    unet.enable_gradient_checkpointing()
    text_encoder.gradient_checkpointing_enable()
    schedule = DDPMScheduler.from_pretrained(work / "model/scheduler")
    named = {f"{part}.{name.removeprefix('text_model.')}": parameter
             for part, module in (("unet", unet), ("text_encoder", text_encoder)) for name, parameter in module.named_parameters()}
    assert sum(parameter.numel() for parameter in named.values()) == PARAMETERS
    optimizer = torch.optim.AdamW(named.values(), lr=LR, weight_decay=0.01, fused=True)
    result = {"step_seconds": [], "losses": [], "grad_norms": []}
    for step in range(1, steps + 1):
        batch = load_file(work / f"run/audit/step-{step:08}.safetensors")
        start = time.perf_counter()
        noisy = schedule.add_noise(batch["latents"], batch["noise"], batch["timesteps"])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            context = text_encoder(batch["input_ids"]).last_hidden_state
            predicted = unet(noisy, batch["timesteps"], context).sample
            loss = torch.nn.functional.mse_loss(predicted.float(), batch["noise"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        optimizer.step()
        result["step_seconds"].append(time.perf_counter() - start)
        result["losses"].append(loss.item())
        result["grad_norms"].append(norm.item())
    result["peak_gb"] = peak_gb(resource.getrusage(resource.RUSAGE_SELF))
    return result | (compare_state(work, named, optimizer, steps) if precision == "fp32" else {})


def compare_state(work: Path, named: dict, optimizer, steps: int) -> dict:
    import torch
    from safetensors import safe_open

    checkpoint = work / "run/checkpoints/latest/state"
    layout = json.loads((checkpoint / "run.json").read_text())["layout"]
    worst_moment, largest, wrong = 0.0, 0.0, 0
    with safe_open(checkpoint / "shard-00000-of-00001.safetensors", "pt") as state:
        weights, moments = state.get_slice("parameters"), state.get_slice("exp_avg")
        for name, offset, numel in layout:
            parameter = named.pop(name.replace("text_encoder.text_model.", "text_encoder."))
            difference = (weights[offset:offset + numel] - parameter.detach().flatten()).abs()
            largest = max(largest, difference.max().item())
            wrong += (difference > steps * LR / 100).sum().item()
            moment = optimizer.state[parameter]["exp_avg"].flatten()
            off = torch.linalg.norm(moments[offset:offset + numel] - moment) / torch.linalg.norm(moment)
            # A key's bias has no gradient but rounding: it shifts all scores of a query alike.
            if not name.endswith("k_proj.bias"):
                worst_moment = max(worst_moment, off.item())
    assert not named, f"not in our checkpoint: {sorted(named)[:3]}"
    return {"worst_gradient_off": worst_moment, "largest_weight_difference": largest, "weights_off": wrong / PARAMETERS}


def check(ours: dict, theirs: dict, precision: str, steps: int) -> list[str]:
    """What does not hold."""
    def close(key, tolerance):
        return all(abs(a - b) <= tolerance * abs(b) for a, b in zip(ours[key], theirs[key], strict=True))

    # A step of AdamW is at most about lr, whatever the gradient: where that is rounding error its sign is open.
    holds = {
        f"equal losses ({TOLERANCES[precision][0]:.0e})": close("losses", TOLERANCES[precision][0]),
        f"equal gradient norms ({TOLERANCES[precision][1]:.0e})": close("grad_norms", TOLERANCES[precision][1]),
    }
    if precision == "fp32":
        holds |= {
            "equal gradients (first moments of every parameter, 1e-3)": theirs["worst_gradient_off"] <= 1e-3,
            "weights never further apart than their steps": theirs["largest_weight_difference"] <= 2.01 * steps * LR,
            "99 % of the weights within 1 % of their steps": theirs["weights_off"] <= 0.01,
        }
    return [what for what, held in holds.items() if not held]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kessoku", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--precision", default="fp32,bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--images", default="512x512,512x512", help="sizes of the images, WIDTHxHEIGHT,… (default %(default)s)")
    parser.add_argument("--resume-at", type=int, metavar="STEP")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=("all", "train", "replay"), default="all", help=argparse.SUPPRESS)
    options = parser.parse_args()
    work, precisions, sizes = options.work.resolve(), options.precision.split(","), (options.steps, options.threads)
    work.mkdir(parents=True, exist_ok=True)
    if options.part == "replay":
        (work / "replay.json").write_text(json.dumps(replay(work, precisions[0], *sizes)))
        return 0
    if options.part == "train":
        print(json.dumps(train(options.kessoku.resolve(), work, precisions[0], *sizes, options.images)))
        return 0
    report = {"benchmark": "full_size_step", "threads": options.threads, "steps": options.steps, "lr": LR, "images": options.images,
              "rounds": options.rounds, "measures": {}, "failed": [],
              "checked": "losses and gradient norms of each step; in fp32 also gradients and weights"}
    for precision in precisions:
        pairs = []
        for _ in range(options.rounds):
            ours = undisturbed(lambda: train(options.kessoku.resolve(), work, precision, *sizes, options.images))
            undisturbed(lambda: run(sys.executable, __file__, options.kessoku, work, "--part", "replay", "--precision", precision,
                                    "--steps", options.steps, "--threads", options.threads))
            pairs.append((ours, json.loads((work / "replay.json").read_text())))
            show(precision, *pairs[-1])
            report["failed"] += [f"{precision}: {what}" for what in check(*pairs[-1], precision, options.steps)]
        if options.resume_at:
            report[f"{precision} resumed"] = resumed = resume_exactly(options.kessoku.resolve(), work, options.resume_at, pairs[-1][0],
                                                                      precision, *sizes, options.images)
            report["failed"] += [f"{precision}: {key} after a resume" for key in ("equal_losses", "equal_checkpoints") if not resumed[key]]
        report[precision] = {name: [pair[i] for pair in pairs] for i, name in enumerate(("kessoku", "pytorch"))}
        report["measures"][precision] = side_by_side(*([statistics.median(one["step_seconds"][1:]) for one in side] for side in zip(*pairs)), "s")
        report["measures"][f"{precision} peak"] = side_by_side(*([one["peak_gb"] for one in side] for side in zip(*pairs)), "GB")
        report |= machine.describe()
        if options.out and not report["failed"]:
            options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))
    for what in report["failed"]:
        print(f"does not hold: {what}", file=sys.stderr)
    return 1 if report["failed"] else 0


def show(precision: str, ours: dict, theirs: dict) -> None:
    print(f"{precision:24}{'kessoku':>12}{'PyTorch':>12}", file=sys.stderr)
    for label, key in (("peak memory, GB", "peak_gb"), ("loss", "losses"), ("gradient norm", "grad_norms"),
                       ("seconds a step", "step_seconds")):
        a, b = (result[key] if key == "peak_gb" else result[key][-1] for result in (ours, theirs))
        print(f"{label:24}{a:12.6g}{b:12.6g}", file=sys.stderr)
    if precision == "fp32":
        print(f"gradients at most {theirs['worst_gradient_off']:.1e} apart (relative, worst parameter); weights at most "
              f"{theirs['largest_weight_difference']:.1e}, {theirs['weights_off']:.3%} by more than 1 % of a step", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
