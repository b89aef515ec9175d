#!/usr/bin/env python3
"""Writes what follows from the declarations of the run file's keys (runtime/config/declare_*.cpp):
the table in docs/run-file.md and configs/run-file.schema.json.

    scripts/update_key_documents.py [build/kessoku]
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- keys: scripts/update_key_documents.py -->\n", "<!-- end of keys -->"


def documents(program):
    """Path -> what it should hold."""
    def keys(option):
        return subprocess.run([program, "keys", option], check=True, capture_output=True, text=True).stdout

    page = ROOT / "docs/run-file.md"
    before, rest = page.read_text().split(BEGIN)
    return {page: before + BEGIN + keys("--markdown") + END + rest.split(END)[1],
            ROOT / "configs/run-file.schema.json": keys("--schema")}


def main(program=ROOT / "build/kessoku"):
    for path, text in documents(program).items():
        path.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
