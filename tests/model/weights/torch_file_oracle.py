"""Writes files as PyTorch and its users do, for torch_file_test: NAME.ckpt, and NAME.safetensors with the tensors that are
in it. Prints nothing.

Usage: torch_file_oracle.py FOLDER
"""

import argparse
import collections
import datetime
import pathlib
import sys
import zipfile

import numpy
import torch
from safetensors.torch import save_file

root = pathlib.Path(sys.argv[1])
torch.manual_seed(0)
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint8, torch.bool]
NEW_DTYPES = [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.uint32, torch.uint64]


class Callback:
    """As pytorch_lightning leaves in a checkpoint: a class that nobody else has."""

    def __init__(self):
        self.best, self.when, self.values = numpy.float64(0.25), datetime.datetime(2022, 8, 22), {1, 2, 3}


class Configuration(dict):
    pass


def weights() -> dict:
    base = torch.randn(40)
    return collections.OrderedDict(
        **{str(dtype).removeprefix("torch."): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES},
        scalar=torch.tensor(2.5), empty=torch.zeros(0, 4), ones=torch.ones(3, 1, 1, dtype=torch.float16),
        transposed=torch.randn(3, 5).t(), channels_last=torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        middle=base[5:17].reshape(3, 4), every_third=base[::3], shared=base,
        parameter=torch.nn.Parameter(torch.randn(3)), needs_grad=torch.randn(2, requires_grad=True))


def save(name: str, content, tensors: dict, **how) -> None:
    torch.save(content, root / f"{name}.ckpt", **how)
    save_file({key: tensor.detach().contiguous().clone() for key, tensor in tensors.items()}, root / f"{name}.safetensors")


def lightning(state: dict) -> dict:
    parameter = torch.nn.Parameter(torch.randn(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(2)
    optimizer.step()
    return {"epoch": 3, "global_step": 470000, "pytorch-lightning_version": "1.4.2", "state_dict": state, "scale": 0.5,
            "fast": True, "callbacks": {Callback: Callback(), "early": [Callback(), (1, None)]},
            "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [numpy.arange(5), numpy.float32(3)],
            "hyper_parameters": Configuration(rate=1e-4, more=Configuration()), "rng": torch.get_rng_state(),
            "arguments": argparse.Namespace(gpus=8), "big": 1 << 100, "negative": -(1 << 40), "nothing": None,
            "complex": torch.ones(2, dtype=torch.complex64), "bytes": b"\x00\xff", "long": "ß" * 300}


for legacy in (False, True):
    kind = "legacy" if legacy else "zip"
    how = {"_use_new_zipfile_serialization": not legacy}
    state = weights()
    save(f"{kind}-bare", state, state, **how)
    save(f"{kind}-lightning", lightning(state), state, **how)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    save(f"{kind}-module-state", module.state_dict(), module.state_dict(), **how)  # carries _metadata
    for protocol in (3, 4, 5):
        save(f"{kind}-protocol-{protocol}", lightning(state), state, pickle_protocol=protocol, **how)
    torch.save(module, root / f"{kind}-whole-module.ckpt", **how)
    torch.save(torch.ones(2), root / f"{kind}-tensor.ckpt", **how)

new = {str(dtype).removeprefix("torch."): torch.arange(6).reshape(2, 3).to(dtype) for dtype in NEW_DTYPES}
save("zip-new-dtypes", new, new)

buffer = torch.nn.Buffer(torch.randn(2))
subclass = {"buffer": buffer, "tagged": torch.randn(3)}
subclass["tagged"].note = "an attribute makes PyTorch write _rebuild_from_type_v2"
save("zip-subclass", subclass, subclass)

torch.serialization.set_crc32_options(False)
save("zip-without-checksums", state, state)
torch.serialization.set_crc32_options(True)
save("zip-new-state", state, state)

# Packed again by hand, as people do: no alignment, other order; and deflated, which PyTorch reads but never writes.
packed = zipfile.ZipFile(root / "zip-new-state.ckpt")
for name, method in (("zip-repacked", zipfile.ZIP_STORED), ("zip-deflated", zipfile.ZIP_DEFLATED)):
    with zipfile.ZipFile(root / f"{name}.ckpt", "w", method) as archive:
        for entry in reversed(packed.namelist()):
            archive.writestr(entry.replace("zip-new-state", "archive"), packed.read(entry))
save_file({key: tensor.detach().contiguous().clone() for key, tensor in state.items()}, root / "zip-repacked.safetensors")

with zipfile.ZipFile(root / "zip-torchscript.ckpt", "w") as archive:
    for entry in ("data.pkl", "constants.pkl"):
        archive.writestr(f"archive/{entry}", packed.read("zip-new-state/data.pkl"))
