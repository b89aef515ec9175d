"""One pass through UNet, text encoder, VAE encoder and VAE decoder: Kessoku and diffusers (transformers) in turn, on the CPU.

    modules.py MODULE_SPEED [--preset sd15,tiny] [--networks …] [--dtype f32,bf16] [--passes forward,backward] [--threads 1,2]
               [--batch 1] [--side 32] [--repeat 5] [--out RESULT.json]

MODULE_SPEED is the program that `ninja -C build module_speed` makes. Both have the same shapes, weights of the type that is
named, and no gradient checkpointing; the passes alternate, so that what else the machine does meets both. Prints the median
seconds of each and their ratio (below 1: Kessoku is faster), and one JSON document.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

NETWORKS = ("unet", "text_encoder", "vae_encoder", "vae_decoder")


class Kessoku:
    """`module_speed`, which answers a line with a line."""

    def __init__(self, program: Path, threads: int):
        self.process = subprocess.Popen([program, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=os.environ | {"OMP_NUM_THREADS": str(threads)})

    def ask(self, *words) -> str:
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"module_speed ended at: {' '.join(map(str, words))}")
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Diffusers:
    """The same line protocol, in a process of its own."""

    def __init__(self):
        self.forward = self.module = None

    def load(self, config: dict, network: str, dtype: str, batch: int, side: int) -> str:
        import torch
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        self.forward = self.module = None
        torch_dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
        torch.set_default_dtype(torch_dtype)
        with torch.device("meta"):
            if network == "unet":
                module = UNet2DConditionModel.from_config(config)
            elif network == "text_encoder":
                module = CLIPTextModel(CLIPTextConfig(**config))
            else:
                module = AutoencoderKL.from_config(config)
        module = module.to_empty(device="cpu").eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.uniform_(-0.02, 0.02)
            for name, buffer in module.named_buffers():
                if name.endswith("position_ids"):
                    buffer.copy_(torch.arange(buffer.numel()).view_as(buffer))
        if network == "unet":
            inputs = (torch.randn(batch, config["in_channels"], side, side), torch.randint(0, 1000, (batch,)),
                      torch.randn(batch, 77, config["cross_attention_dim"]))
            self.forward = lambda: module(*inputs).sample
        elif network == "text_encoder":
            ids = torch.randint(0, config["vocab_size"], (batch, 77))
            self.forward = lambda: module(ids).last_hidden_state
        elif network == "vae_encoder":
            pixels = side * 2 ** (len(config["block_out_channels"]) - 1)
            images = torch.rand(batch, config["in_channels"], pixels, pixels)
            self.forward = lambda: module.encode(images).latent_dist.parameters
        else:
            latents = torch.randn(batch, config["latent_channels"], side, side)
            self.forward = lambda: module.decode(latents).sample
        self.module = module
        return "ok"

    def time_pass(self, backward: bool) -> float:
        import torch

        start = time.perf_counter()
        with torch.set_grad_enabled(backward):
            output = self.forward()
            if backward:
                output.float().square().mean().backward()
        seconds = time.perf_counter() - start
        self.module.zero_grad(set_to_none=True)
        return seconds

    def serve(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        for line in sys.stdin:
            request = json.loads(line)
            answer = self.load(**request["load"]) if "load" in request else self.time_pass(request["pass"] == "backward")
            print(answer, file=ANSWERS, flush=True)


class DiffusersProcess:
    def __init__(self, threads: int):
        self.process = subprocess.Popen([sys.executable, __file__, "--serve", str(threads)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})

    def ask(self, request: dict) -> str:
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"diffusers ended at: {request}")
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def turns(ours: Kessoku, theirs: DiffusersProcess, name: str, repeat: int) -> dict:
    """Seconds of each pass by both."""
    seconds = {"kessoku": [], "diffusers": []}
    pair = {"kessoku": lambda: float(ours.ask(name)), "diffusers": lambda: float(theirs.ask({"pass": name}))}
    for turn in range(repeat + 1):  # the first warms up
        for who in (("kessoku", "diffusers"), ("diffusers", "kessoku"))[turn % 2]:
            value = pair[who]()
            if turn > 0:
                seconds[who].append(value)
    return seconds


def measure(ours: Kessoku, theirs: DiffusersProcess, passes: list[str], repeat: int) -> dict:
    result = {}
    for name in passes:
        seconds = turns(ours, theirs, name, repeat)
        ratio = statistics.median(a / b for a, b in zip(seconds["kessoku"], seconds["diffusers"], strict=True))
        result[name] = {who: statistics.median(values) for who, values in seconds.items()} | {"ratio": ratio}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, nargs="?")
    for name, default in (("preset", "sd15,tiny"), ("networks", ",".join(NETWORKS)), ("dtype", "f32,bf16"),
                          ("passes", "forward,backward"), ("threads", "1,2")):
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=default.split(","))
    for name, default in (("batch", 1), ("side", 32), ("repeat", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        Diffusers().serve(options.serve)
        return
    rows = []
    for threads in map(int, options.threads):
        ours, theirs = Kessoku(options.program.resolve(), threads), DiffusersProcess(threads)
        for preset in options.preset:
            for network in options.networks:
                config = json.loads(ours.ask("config", preset, network))
                for dtype in options.dtype:
                    ours.ask("load", preset, network, dtype, options.batch, options.side)
                    theirs.ask({"load": {"config": config, "network": network, "dtype": dtype, "batch": options.batch,
                                         "side": options.side}})
                    for name, seconds in measure(ours, theirs, options.passes, options.repeat).items():
                        rows.append({"preset": preset, "network": network, "dtype": dtype, "pass": name, "threads": threads} | seconds)
                        print(f"{preset:5} {network:13} {dtype:5} {name:9} {threads} threads  kessoku {seconds['kessoku']:8.4f} s"
                              f"  diffusers {seconds['diffusers']:8.4f} s  ratio {seconds['ratio']:.2f}", file=sys.stderr, flush=True)
        ours.close()
        theirs.close()
    report = {"benchmark": "modules", "machine": f"{os.cpu_count()} cores, {platform.machine()}", "batch": options.batch,
              "side": options.side, "repeat": options.repeat, "rows": rows}
    print(json.dumps(report))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    ANSWERS = os.fdopen(os.dup(1), "w")  # whatever libraries print goes to stderr
    if "--serve" in sys.argv:
        os.dup2(2, 1)
    main()
