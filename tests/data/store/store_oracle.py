"""Reads a shard with h5py, as anyone could: store_oracle.py STORE OUT.json

Writes, by source, caption, bucket, category, source size, crop and the bytes of each kept kind in hex.
"""
import json
import sys
from pathlib import Path

import h5py
import numpy as np


def texts(group, name):
    blob = bytes(group[name + "_bytes"][...])
    offsets = group[name + "_offsets"][...]
    return [blob[a:b].decode() for a, b in zip(offsets, offsets[1:])]


def main(store, out):
    manifest = json.loads((store / "store.json").read_text())
    rows = {}
    for shard in manifest["shards"]:
        with h5py.File(store / shard["file"]) as file:
            assert {k: len(g["category"]) for k, g in file.items()} == shard["rows"]
            for bucket, group in file.items():
                captions = texts(group, "caption")
                for i, source in enumerate(texts(group, "source")):
                    row = {"caption": captions[i], "bucket": bucket,
                           "category": manifest["categories"][group["category"][i]]["path"],
                           "source_size": group["source_size"][i].tolist(), "crop": group["crop"][i].tolist()}
                    for kind in manifest["kept"]:
                        data = group[kind]
                        assert data.chunks is None and data.compression is None
                        assert data.dtype == (np.uint8 if kind == "images" else np.float16)
                        if data.size * data.dtype.itemsize >= 4096:
                            assert data.id.get_offset() % 4096 == 0
                        row[kind] = data[i, 0].tobytes().hex()
                        row[kind + "_shape"] = list(data.shape[2:])
                    rows[source] = row
    out.write_text(json.dumps(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
