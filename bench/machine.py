"""The machine that a benchmark ran on, and the versions of what it measured, for its result."""
import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / "build/kessoku"
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow")


def describe() -> dict:
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    return {"processor": platform.processor() or platform.machine(),
            "instruction_sets": [flag for flag in flags if flag.startswith(("avx512f", "avx512_bf16", "amx", "avx2"))],
            "cores": os.cpu_count(), "versions": versions()}


@functools.cache
def versions() -> dict:
    """Of the program (with its commit) and of what it is compared with; only what is installed."""
    found = {}
    if PROGRAM.exists():
        found["kessoku"] = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.split(" ", 1)[1].strip()
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found
