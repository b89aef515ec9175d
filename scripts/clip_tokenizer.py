#!/usr/bin/env python3
"""Makes CLIP's tokenizer folder (vocab.json, merges.txt and two small configs) from OpenAI's merge list.

    scripts/clip_tokenizer.py WHEEL_OR_GZ OUT_DIR

WHEEL_OR_GZ is a wheel of the PyPI package open_clip_torch, or the bpe_simple_vocab_16e6.txt.gz inside it.
Needs nothing but Python.
"""
import gzip
import json
import sys
import zipfile
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = 49152 - 256 - 2  # the list is longer: CLIP uses this many
SIZE = 49408


def read_merge_list(source: Path) -> list[str]:
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as wheel:
            names = [n for n in wheel.namelist() if n.endswith("bpe_simple_vocab_16e6.txt.gz")]
            if not names:
                raise SystemExit(f"{source}: holds no bpe_simple_vocab_16e6.txt.gz")
            packed = wheel.read(names[0])
    else:
        packed = source.read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")
    return lines[1 : MERGES + 1]  # the first line is a header


def byte_symbols() -> list[str]:
    """A printable character for each byte: 188 stand for themselves and come first, the rest are U+0100…"""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1),
                 *range(ord("®"), ord("ÿ") + 1)]
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + n) for n in range(len(rest))]


def main(source: Path, out: Path) -> None:
    merges = read_merge_list(source)
    symbols = byte_symbols()
    pieces = [*symbols, *(s + "</w>" for s in symbols), *(m.replace(" ", "") for m in merges), START, END]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    if len(pieces) != SIZE or len(vocabulary) != SIZE:
        raise SystemExit(f"{source}: gives {len(vocabulary)} pieces, not {SIZE}: not CLIP's merge list")

    out.mkdir(parents=True, exist_ok=True)

    def write(name: str, text: str) -> None:
        (out / name).write_text(text, encoding="utf-8", newline="\n")

    write("vocab.json", json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")))
    write("merges.txt", "#version: 0.2\n" + "\n".join(merges) + "\n")
    write("special_tokens_map.json",
          json.dumps({"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}, indent=2) + "\n")
    write("tokenizer_config.json",
          json.dumps({"add_prefix_space": False, "bos_token": START, "do_lower_case": True, "eos_token": END,
                      "errors": "replace", "model_max_length": 77, "pad_token": END,
                      "tokenizer_class": "CLIPTokenizer", "unk_token": END}, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
