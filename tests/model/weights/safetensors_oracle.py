"""Reads a .safetensors file, checks it, and writes the same tensors again: safetensors_oracle.py OURS THEIRS."""

import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

ours, theirs = sys.argv[1:]
with safe_open(ours, "pt") as file:
    assert file.metadata() == {"format": "pt"}, file.metadata()
tensors = load_file(ours)
counting = torch.arange(6).reshape(2, 3)
dtypes = {"Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
          "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
          "Bool": torch.bool}
for name, dtype in dtypes.items():
    assert tensors[name].dtype == dtype and torch.equal(tensors[name], counting.to(dtype)), name
assert tensors["scalar"].shape == () and tensors["empty"].shape == (0, 4)
assert torch.equal(tensors["transposed"], counting.float().t())
save_file(tensors, theirs, {"writer": "python"})
