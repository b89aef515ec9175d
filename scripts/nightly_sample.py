"""Which tests CI leaves out: of those with the label `nightly` each commit runs a quarter, in turns.

    ctest --test-dir build --show-only=json-v1 | scripts/nightly_sample.py COMMIT

Prints what to give to `ctest --exclude-regex`, and on stderr what was chosen.
"""
import json
import re
import sys

PARTS = 4


def labels_of(test):
    return next((p["value"] for p in test["properties"] if p["name"] == "LABELS"), [])


def split(tests, commit):
    """Names of the nightly tests that a commit (hexadecimal digits) runs, and of those it leaves out."""
    nightly = sorted(test["name"] for test in tests if "nightly" in labels_of(test))
    turn = int(commit, 16) % PARTS
    chosen = nightly[turn::PARTS]
    return chosen, [name for name in nightly if name not in chosen]


if __name__ == "__main__":
    chosen, left_out = split(json.load(sys.stdin)["tests"], sys.argv[1])
    print(f"of {len(chosen) + len(left_out)} nightly tests this commit runs {', '.join(chosen) or 'none'}; "
          "scripts/test.sh --all runs all", file=sys.stderr)
    print(f"^({'|'.join(map(re.escape, left_out))})$")
