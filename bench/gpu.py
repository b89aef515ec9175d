"""How fast a model trains on this machine's GPUs, and how well several share the work.

    gpu.py PROGRAM [--preset sd15] [--precision bf16] [--resolution 512] [--local-batches 1,4,16] [--gpus 1,2,4,8] [--steps 30] [--out RESULT.json]

Makes a model with fresh weights and a store of plain images, then trains the UNet with every number of GPUs and draws a GPU, from
the run's own log: samples a second, the part of a step that is communication which nothing hides, the efficiency over GPUs at equal
work a GPU, and the arithmetic of forward and backward a second. A run that does not fit is said to be out of memory. --device cpu shows that it works, not how fast.
"""
import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

RUN_FILE = """
name = "gpu"
[model]
path = "{model}"
[data]
store = "{store}"
threads = 4
[train]
target = ["unet"]
steps = {steps}
global_batch = {batch}
micro_batch = {local}
precision = "{precision}"
device = "{device}"
[checkpoint]
every_steps = 0
every_minutes = 0
[metrics]
port = -1
"""


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)


def require(done, what):
    if done.returncode != 0:
        sys.exit(f"{what} failed with {done.returncode}:\n{done.stderr[-2000:]}")


def gpus():
    """Their names; CUDA_VISIBLE_DEVICES may hide some. A machine may have LibTorch but not PyTorch."""
    try:
        import torch
        return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except ImportError:
        return run("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").stdout.splitlines()


def write_png(path, size, color):
    """A plain square, without a library for images, which may be absent where GPUs are."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes(color) * size) * size
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def make_images(folder, resolution):
    folder.mkdir()
    for i in range(64):
        write_png(folder / f"{i}.png", resolution, (4 * i, 255 - 4 * i, 128))
        (folder / f"{i}.txt").write_text(f"image {i}")


def train(program, work, ranks, local, arguments):
    run_file, out = work / "run.toml", work / "run"
    run_file.write_text(RUN_FILE.format(model=work / "model", store=work / "store", steps=arguments.steps, batch=ranks * local, local=local,
                                        precision=arguments.precision, device=arguments.device))
    shutil.rmtree(out, ignore_errors=True)
    mpirun = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", ranks] if ranks > 1 else []
    done = run(*mpirun, program, "train", run_file, "--out", out, env=os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1",
                                                                                  "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})
    result = {"gpus": ranks, "local_batch": local}
    if "out of memory" in done.stderr:
        return result | {"out_of_memory": True}
    require(done, f"training with {ranks} GPUs")
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()][min(5, arguments.steps // 2):]
    seconds = statistics.median(record["seconds"] for record in records)
    exposed = statistics.median(record["phases"]["communication"] for record in records)
    flops = statistics.median(record["flops"] for record in records)
    return result | {"images_per_second": ranks * local / seconds, "step_seconds": seconds, "exposed_communication": exposed / seconds,
                     "teraflops_per_gpu": flops / 1e12 / seconds / ranks}


def write_report(arguments, names, rows):
    if arguments.out:
        arguments.out.write_text(json.dumps({"gpus": names, "preset": arguments.preset, "precision": arguments.precision,
                                             "resolution": arguments.resolution, "device": arguments.device, "runs": rows}, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--preset", default="sd15")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--local-batches", default="1,4,16")
    parser.add_argument("--gpus", default="")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    names = gpus()
    counts = [int(n) for n in arguments.gpus.split(",") if n] or [n for n in (1, 2, 4, 8, 16) if n <= max(1, len(names))]
    tokenizer = Path(__file__).resolve().parents[1] / "models/clip-tokenizer"
    rows = []
    with tempfile.TemporaryDirectory(prefix="kessoku-gpu-") as folder:
        work = Path(folder)
        make_images(work / "pictures", arguments.resolution)
        require(run(arguments.program, "init", "--preset", arguments.preset, work / "model", "--tokenizer", tokenizer), "init")
        require(run(arguments.program, "prepare", work / "pictures", "--out", work / "store", "--model", work / "model", "--resolution",
                    arguments.resolution, "--device", arguments.device), "prepare")
        print(f"{'GPUs':>5} {'draws/GPU':>10} {'samples/s':>9} {'efficiency':>11} {'exposed':>8} {'TFLOP/s/GPU':>12}")
        for local in (int(n) for n in arguments.local_batches.split(",")):
            alone = None
            for count in counts:
                row = train(arguments.program, work, count, local, arguments)
                rows.append(row)
                if "images_per_second" in row:
                    each = row["images_per_second"] / count
                    alone = alone or each
                    row["efficiency"] = each / alone
                write_report(arguments, names, rows)  # of what there is so far: the time may be up
                if "images_per_second" not in row:
                    print(f"{count:5} {local:10} out of memory", flush=True)
                    continue
                print(f"{count:5} {local:10} {row['images_per_second']:9.2f} {row['efficiency']:11.1%} "
                      f"{row['exposed_communication']:8.1%} {row['teraflops_per_gpu']:12.3g}", flush=True)


if __name__ == "__main__":
    main()
