"""Tokenizer folders as they are found in the wild, and what transformers makes of them, for tokenizer_test.cpp.

    special_tokens_oracle.py CLIP_FOLDER OUT_FOLDER                writes the folders and OUT_FOLDER/cases.json
    special_tokens_oracle.py CLIP_FOLDER OUT_FOLDER --check SAVED  whether the folders in SAVED give the same ids
"""
import json
import shutil
import sys
from pathlib import Path

from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
TEXTS = ["a cat", "", "hello! you!!", "a!b", "<|STARTOFTEXT|>x", "x<|ENDOFTEXT|>!", "é <|endoftext|> y", "<|startoftext|>!", "cat " * 80 + "!"]


def token(text: str, normalized: bool, **more) -> dict:
    return {"content": text, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False, **more}


def roles(normalized: bool, pad) -> dict:
    return {"bos_token": token(START, normalized), "eos_token": token(END, normalized), "unk_token": token(END, normalized),
            "pad_token": pad}


def plain(pad: str) -> dict:
    return {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}


def typed(entries: dict) -> dict:
    """As tokenizer_config.json spells them."""
    return {k: {"__type": "AddedToken"} | v if isinstance(v, dict) else v for k, v in entries.items()}


def decoder(normalized: bool, *others: tuple) -> dict:
    entries = {"49406": token(START, normalized, special=True), "49407": token(END, normalized, special=True)}
    return {"added_tokens_decoder": entries | {str(i): token(t, False, special=True) for i, t in others}}


FOLDERS = {  # name: (tokenizer_config.json, special_tokens_map.json)
    "nothing": (None, None),
    "sd15": (typed(roles(True, END)), roles(True, END)),
    "sd2": (typed(roles(True, "!")), roles(True, "!")),
    "map-alone": (None, roles(True, "!")),
    "map-wins": (plain(END), roles(True, "!")),
    "pad-alone": ({"pad_token": "!"}, None),
    "padding-is-an-object": (typed(roles(True, token(END, True))), None),
    "listed": (decoder(True) | plain(END), None),
    "listed-wins": (decoder(True) | typed(roles(False, "!")), roles(True, "!")),
    "listed-as-given": (decoder(False) | plain(END), None),
    "listed-with-padding": (decoder(True, (0, "!")) | plain("!"), None),
    "one-more": (decoder(False, (49408, "<cat-toy>")) | plain(END), None),
}


def ids(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    return tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids


def main(clip: Path, out: Path) -> None:
    cases = []
    for name, (config, roles_map) in FOLDERS.items():
        folder = out / name
        folder.mkdir(parents=True)
        for file in ("vocab.json", "merges.txt"):
            shutil.copy(clip / file, folder)
        if config is not None:
            config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77} | config
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
        if roles_map is not None:
            (folder / "special_tokens_map.json").write_text(json.dumps(roles_map))
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        texts = [[text, ids(tokenizer, text)] for text in TEXTS + ["a <cat-toy>, a Cat"]]
        cases.append({"folder": name, "texts": texts})
        tokenizer.save_pretrained(out / f"{name}-saved-by-5")  # tokenizer.json
        cases.append({"folder": f"{name}-saved-by-5", "texts": texts})
    (out / "cases.json").write_text(json.dumps(cases))


def check(out: Path, saved: Path) -> None:
    for case in json.loads((out / "cases.json").read_text()):
        tokenizer = CLIPTokenizer.from_pretrained(saved / case["folder"])
        for text, expected in case["texts"]:
            assert ids(tokenizer, text) == expected, (case["folder"], text, ids(tokenizer, text), expected)


if len(sys.argv) > 3:
    check(Path(sys.argv[2]), Path(sys.argv[4]))
else:
    main(Path(sys.argv[1]), Path(sys.argv[2]))
