"""What checkpoints cost: how long training stands still for one, and how fast it is written, beside the plain copy and the plain write of
as many bytes, and beside torch.save and safetensors.

    checkpoint.py CHECKPOINT_BENCH KESSOKU WORK_FOLDER [--repeat 3] [--out RESULT.json]

Trains nothing: a UNet of Stable Diffusion's shape and 128 channels (138 million parameters, 1.7 GB of training state) is loaded on 1
and on 2 ranks and written, again and again, in turns with the peer (which writes as much state, from one process, while its caller
waits). WORK_FOLDER lies on the disk that is meant and needs 6 GB.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import machine
from turns import side_by_side, undisturbed

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
CHANNELS = (128, 256, 512, 512)
RUN_FILE = """
[model]
path = "{work}/model"
[data]
store = "{work}/store"
[train]
target = ["unet"]
global_batch = 2
threads = 1
"""


def run(*command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def make_inputs(kessoku, work):
    """Returns the number of parameters that are trained."""
    from diffusers import UNet2DConditionModel
    from PIL import Image

    if not (work / "store/store.json").exists():
        for name in ("model", "store", "pictures"):
            shutil.rmtree(work / name, ignore_errors=True)
        run(kessoku, "init", "--preset", "tiny", work / "model", "--tokenizer", ROOT / "models/clip-tokenizer")
        width, latents = (json.loads((work / f"model/{part}/config.json").read_text())[key]
                          for part, key in (("text_encoder", "hidden_size"), ("vae", "latent_channels")))
        unet = UNet2DConditionModel(sample_size=64, block_out_channels=CHANNELS, cross_attention_dim=width, attention_head_dim=8,
                                    in_channels=latents, out_channels=latents)
        unet.save_pretrained(work / "model/unet")
        (work / "pictures").mkdir()
        Image.new("RGB", (64, 64)).save(work / "pictures/black.png")
        run(kessoku, "prepare", work / "pictures", "--out", work / "store", "--model", work / "model", "--resolution", 64)
    (work / "run.toml").write_text(RUN_FILE.format(work=work))
    size = (work / "model/unet/diffusion_pytorch_model.safetensors").stat().st_size
    return size // 4


def summary(rounds):
    """Medians, of ratios too: each is of one round."""
    def median(value):
        return statistics.median(value(r) for r in rounds)
    return {"rounds": len(rounds), "snapshot_mb_a_rank": round(rounds[0]["snapshot_bytes"] / 1e6), "checkpoint_mb": round(rounds[0]["bytes"] / 1e6),
            "stall_s": round(median(lambda r: r["stall_s"]), 3), "stall_of_copy": round(median(lambda r: r["stall_s"] / r["copy_s"]), 2),
            "write_mb_per_s": round(median(lambda r: r["bytes"] / r["write_s"]) / 1e6),
            "raw_write_mb_per_s": round(median(lambda r: r["bytes"] / r["raw_write_s"]) / 1e6),
            "write_of_raw": round(median(lambda r: r["raw_write_s"] / r["write_s"]), 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("kessoku", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only-inputs", action="store_true", help="make what is read, and stop")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    parameters = make_inputs(options.kessoku.resolve(), work)
    if options.only_inputs:
        return
    bench = [options.bench.resolve(), work / "run.toml", work / "run", 2]
    rounds, peers = {1: [], 2: []}, []
    (work / "run").mkdir(exist_ok=True)
    for _ in range(options.repeat):
        for ranks in (1, 2):
            mpirun = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", ranks] if ranks > 1 else []
            rounds[ranks] += undisturbed(lambda: run(*mpirun, *bench))
        peers += undisturbed(lambda: run(sys.executable, ROOT / "bench/peers/checkpoint_torch.py", parameters, work))
    shutil.rmtree(work / "run")
    two = rounds[2]
    rate = [[r["bytes"] / r[key] / 1e6 for r in two] for key in ("write_s", "raw_write_s")]
    result = {**machine.describe(), "benchmark": "checkpoint", "parameters": parameters, "checked": "the same number of bytes",
              "measures": {"stall": side_by_side([r["stall_s"] for r in two], [r["copy_s"] for r in two], "s"),
                           "write": side_by_side(*rate, "MB/s", less_is_better=False)},
              "kessoku": {f"{ranks} ranks": summary(of_ranks) for ranks, of_ranks in rounds.items()}}
    for way in ("torch.save", "safetensors", "raw write"):
        result[way] = {"mb": round(peers[0]["bytes"] / 1e6), "stall_s": statistics.median(p[way]["call_s"] for p in peers),
                       "write_mb_per_s": round(statistics.median(p[way]["mb_per_s"] for p in peers))}
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
