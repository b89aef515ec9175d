#!/usr/bin/env python3
"""The self-test of an unpacked bundle: what says most about a GPU, in at most 8 minutes.

    scripts/gpu_selftest.sh --bundle [--stand-ins]

In this order: collectives and gradients, training steps that PyTorch replays on the same GPU,
throughput, then further tests while there is time. What needs a Python package that is not here is
skipped, and so is what there is no time for; both are said. The report goes to
bench/results/bundle.json. Exit code 0: nothing failed; 1: something failed; 69: no GPU.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 8 * 60
MARGIN = 10  # to stop what runs, and to write the report
TOOLS = ROOT / "bundle/root/usr/bin"
IMPORTS = {
    "numpy, Pillow and safetensors": "import numpy, PIL.Image, safetensors.numpy, safetensors.torch",
    "Python 3.11 or later": "import tomllib",
    "diffusers, transformers and lion_pytorch": "import lion_pytorch, transformers\n"
    "from diffusers import StableDiffusionPipeline, UNet2DConditionModel",
}
FULL_SIZE = "--preset sd15 --precision bf16 --resolution 512 --local-batches 1,4,16 --gpus 1 --steps 20"
SHORT = "--preset tiny --precision bf16 --resolution 64 --local-batches 2 --gpus 1 --steps 4"


def program(name):
    """A GoogleTest program, as the one rank of an mpirun."""
    return ["mpirun", "--allow-run-as-root", "--bind-to", "none", "-n", "1", f"build/tests/distributed/{name}"]


def script(name, tests):
    return [sys.executable, f"tests/{name}", "build/kessoku", "WORK", *tests.split()]


def python_imports(statement, environment):
    """What Python says if the statement fails, else nothing."""
    done = subprocess.run([sys.executable, "-c", statement], env=environment, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]


def add_packages(environment):
    """Those of the bundle that this Python lacks. Returns what is missing all the same, with the reason."""
    lacking = [folder for folder in sorted((ROOT / "bundle/python").glob("*"))
               if python_imports(f"import importlib.util; assert importlib.util.find_spec('{folder.name}')", environment)]
    environment["PYTHONPATH"] = os.pathsep.join([*map(str, lacking), *filter(None, [environment.get("PYTHONPATH")])])
    reasons = {name: python_imports(statement, environment) for name, statement in IMPORTS.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def gpu_names(environment):
    """As PyTorch sees them, or nvidia-smi where there is no PyTorch."""
    ask = "import torch; print('\\n'.join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))"
    for command in ([sys.executable, "-c", ask], ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]):
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return []


class SelfTest:
    def __init__(self, environment, missing, began):
        self.environment, self.missing, self.parts = environment, missing, []
        self.end = began + SECONDS - MARGIN

    def left(self):
        return self.end - time.monotonic()

    def note(self, name, result, seconds=0.0, reason=""):
        self.parts.append({"name": name, "result": result, "seconds": round(seconds, 1), "reason": reason})
        print(f"selftest: {result:8} {name}" + (f" ({seconds:.0f} s)" if seconds else "") + (f": {reason}" if reason else ""), flush=True)

    def run(self, name, command, needs=(), least=0, most=None):
        """`least`: the seconds without which it is not begun. `most`: taking longer is a failure; without it, the time is up."""
        lacking = [f"{need}: {self.missing[need]}" for need in needs if need in self.missing]
        if lacking:
            return self.note(name, "skipped", reason="; ".join(lacking))
        if self.left() < least:
            return self.note(name, "skipped", reason="no time is left")
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="kessoku-selftest-") as folder:
            words = [folder + "/work" if word == "WORK" else word for word in command]
            log = Path(folder, "log")
            with open(log, "w") as output:
                process = subprocess.Popen(words, cwd=ROOT, env=self.environment, stdout=output, stderr=subprocess.STDOUT,
                                           start_new_session=True)
            limit = max(min(most or SECONDS, self.left()), 1)
            try:
                code = process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                code = None
            try:
                os.killpg(process.pid, signal.SIGKILL)  # what is left of it
            except ProcessLookupError:
                pass
            process.wait()
            seconds, text = time.monotonic() - began, log.read_text(errors="replace")
        if code is None and (most is None or limit < most):
            return self.note(name, "skipped", seconds, "not done when the time was up")
        if code == 77:
            return self.note(name, "skipped", seconds, "it needs more GPUs")
        if code == 0:
            return self.note(name, "passed", seconds)
        self.note(name, "failed", seconds, f"exit code {code}" if code is not None else f"not done after {limit:.0f} s")
        print("\n".join(text.splitlines()[-40:]), file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stand-ins", action="store_true", help="on what stands in for GPUs, made short")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/bundle.json")
    arguments = parser.parse_args()
    began = time.monotonic()
    environment = os.environ | {"KESSOKU_DEVICE": "cuda", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                                "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    environment.setdefault("LOGNAME", str(os.getuid()))  # PyTorch asks who it is, and containers' users may have no name
    missing = add_packages(environment)
    if arguments.stand_ins:
        environment |= {"LD_LIBRARY_PATH": str(ROOT / "build/tests/stand_ins"), "KESSOKU_STAND_IN_GPUS": "1"}
        names = ["stand-in"]
        print("selftest: a stand-in for a GPU; what follows says nothing about speed")
    else:
        names = gpu_names(environment)
        if not names:
            print("selftest: no GPU here: neither PyTorch nor nvidia-smi shows one (CUDA_VISIBLE_DEVICES may hide it)", file=sys.stderr)
            sys.exit(69)
        print(f"selftest: {', '.join(names)}", flush=True)
    environment["KESSOKU_MOST_RANKS"] = str(len(names))
    for need, reason in missing.items():
        print(f"selftest: not here: {need} ({reason})", flush=True)

    test = SelfTest(environment, missing, began)
    files, oracles = list(IMPORTS)[:1], list(IMPORTS)
    throughput = arguments.out.with_suffix(".throughput.json")
    throughput.unlink(missing_ok=True)
    throughput.parent.mkdir(parents=True, exist_ok=True)
    test.run("collectives", program("communicator_test"), most=90)
    test.run("sums of gradients", program("gradient_reducer_test"), most=90)
    replay = "distributed/replay_test.py"

    def against_pytorch(name):
        test.run(f"steps against PyTorch: {name}", script(replay, f"ReplayInPyTorch.test_{name}"), oracles, least=15, most=180)

    against_pytorch("accumulation")
    test.run("throughput", [sys.executable, "bench/gpu.py", "build/kessoku", "--out", str(throughput),
                            *(SHORT if arguments.stand_ins else FULL_SIZE).split()], least=30)
    if not arguments.stand_ins:
        train = "distributed/train_test.py"
        for name in ("gradient_clipping", "ema", "weight_decay_with_exceptions"):
            against_pytorch(name)
        test.run("networks against diffusers", script("parity/program_parity.py", ""), oracles, least=20)
        test.run("images against diffusers", script("parity/sample_parity.py", ""), oracles, least=30)
        test.run("resume is exact", script(train, "Train.test_resume_is_bit_equal_to_not_having_stopped"), oracles, least=20)
        test.run("bf16 and fp16", script(train, "Train.test_bf16_and_fp16_lose_what_fp32_loses_and_resume_bit_equal"), oracles, least=30)
        test.run("the same bits", script("distributed/same_bits_test.py", "Quick"), files, least=30)

    measured = json.loads(throughput.read_text()) if throughput.exists() else None
    throughput.unlink(missing_ok=True)
    version = subprocess.run(["build/kessoku", "--version"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    arguments.out.write_text(json.dumps({
        "version": version, "gpus": names, "seconds": round(time.monotonic() - began, 1), "parts": test.parts,
        "throughput": measured}, indent=1) + "\n")
    count = {kind: sum(part["result"] == kind for part in test.parts) for kind in ("passed", "failed", "skipped")}
    print(f"selftest: {count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped "
          f"in {time.monotonic() - began:.0f} s; the report is {arguments.out}")
    sys.exit(count["failed"] > 0)


if __name__ == "__main__":
    main()
