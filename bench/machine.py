"""The machine that a benchmark ran on, for its result."""
import os
import platform
from pathlib import Path


def describe() -> dict:
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    return {"processor": platform.processor() or platform.machine(),
            "instruction_sets": [flag for flag in flags if flag.startswith(("avx512f", "avx512_bf16", "amx", "avx2"))],
            "cores": os.cpu_count()}
