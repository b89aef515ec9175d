"""The machine that a benchmark ran on, what else it did meanwhile, and the versions of what was measured, for the result."""
import functools
import importlib.metadata
import os
import platform
import resource
import subprocess
import time
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / "build/kessoku"
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow")


def describe() -> dict:
    """To be called when the measuring is done and its processes have ended."""
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    return {"processor": platform.processor() or platform.machine(),
            "instruction_sets": [flag for flag in flags if flag.startswith(("avx512f", "avx512_bf16", "amx", "avx2"))],
            "cores": os.cpu_count(), "cores_used_by_others": OTHERS.cores(), "versions": versions()}


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


def seconds_to_read(file) -> float:
    """From its beginning to its end, without keeping it."""
    room, began = bytearray(1 << 20), time.perf_counter()
    with open(file, "rb", buffering=0) as source:
        while source.readinto(room):
            pass
    return time.perf_counter() - began


class Others:
    """How much other programs use the processors from now on."""

    def __init__(self):
        self.begun = processor_seconds()

    def cores(self) -> float:
        """Cores that were busy, but not with this process and those that it has waited for."""
        wall, busy, own = (now - then for now, then in zip(processor_seconds(), self.begun, strict=True))
        return round(max(0.0, busy - own) / wall, 2)


def processor_seconds() -> tuple[float, float, float]:
    """Wall time, time of all processors that was not idle, time of this process and those that it has waited for."""
    user, nice, system, _, _, interrupt, soft, steal = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return (time.monotonic(), (user + nice + system + interrupt + soft + steal) / os.sysconf("SC_CLK_TCK"),
            sum(one.ru_utime + one.ru_stime for one in usage))


OTHERS = Others()
