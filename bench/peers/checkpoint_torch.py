"""Saving N parameters with both moments of AdamW in fp32: torch.save, safetensors, and the plain write of the same bytes. The caller
waits for the whole of it.

    checkpoint_torch.py N FOLDER

Prints JSON: for each way the seconds until the call returned, and megabytes a second until the file was fsynced. FOLDER lies on the
disk that is meant.
"""
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

TENSORS = 686  # of a UNet of Stable Diffusion 1.x


def write_raw(state: dict, path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for tensor in state.values():
            rest = memoryview(tensor.numpy()).cast("B")
            while rest:
                rest = rest[file.write(rest):]


def main() -> None:
    size = max(1, int(sys.argv[1]) // TENSORS)
    state = {f"{part}.{i}": torch.randn(size) for part in ("weight", "exp_avg", "exp_avg_sq") for i in range(TENSORS)}
    count = sum(tensor.nbytes for tensor in state.values())
    result = {"bytes": count}
    with tempfile.TemporaryDirectory(dir=sys.argv[2]) as folder:
        path = Path(folder) / "state"
        for way, save in (("torch.save", torch.save), ("safetensors", save_file), ("raw write", write_raw)):
            os.sync()
            start = time.perf_counter()
            save(state, path)
            called = time.perf_counter() - start
            with path.open("rb") as file:
                os.fsync(file.fileno())
            result[way] = {"call_s": called, "mb_per_s": count / (time.perf_counter() - start) / 1e6}
            path.unlink()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
