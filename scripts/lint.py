#!/usr/bin/env python3
"""Checks the format of all C++ files, and runs clang-tidy over the lines that changed.

    scripts/lint.py [--since COMMIT] [--seconds LIMIT] [FILE ...]

Changed means: since COMMIT; without it since the commit where this branch left main (origin/main,
or main), or on main itself since the commit before. Uncommitted changes count. clang-tidy needs a
configured build folder. It takes ten seconds a file, so after LIMIT seconds (default 240) the files
that are left are named and not checked. With FILEs only these are looked at. Exit code 1: something
was found; 69: a program is missing.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
# Debian 12's; another major version formats differently.
CLANG_VERSION = 14
FINDING = re.compile(r"^(/\S+?):(\d+):\d+: (?:warning|error): (.*) \[([^\]]+)\]$")


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def base_commit() -> str | None:
    for branch in ("origin/main", "main"):
        found = subprocess.run(
            ["git", "merge-base", "HEAD", branch], cwd=ROOT, capture_output=True, text=True
        )
        base = found.stdout.strip()
        if found.returncode == 0 and base != git("rev-parse", "HEAD"):
            return base
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "HEAD~1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or None


def check_format(files: list[str]) -> bool:
    version = re.search(
        r"version (\d+)",
        subprocess.run(["clang-format", "--version"], capture_output=True, text=True).stdout,
    )
    if not version or int(version[1]) != CLANG_VERSION:
        print(
            f"lint: format not checked: it is that of clang-format {CLANG_VERSION}, "
            f"and here is {version[1] if version else 'another'}"
        )
        return True
    good = (
        subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=ROOT).returncode == 0
    )
    print(
        f"lint: format of {len(files)} files "
        + ("is right" if good else "is wrong: run clang-format -i on them")
    )
    return good


def changed_lines(base: str) -> dict[str, list[list[int]]]:
    """Source file → ranges of lines, first and last, that differ from `base`."""
    lines, name = {}, ""
    for line in git(
        "diff", "-U0", "--no-color", "--diff-filter=d", base, "--", "*.cpp"
    ).splitlines():
        if line.startswith("+++ "):
            name = line.removeprefix("+++ b/")
        elif hunk := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line):
            first, count = int(hunk[1]), int(hunk[2] or 1)
            if count:
                lines.setdefault(name, []).append([first, first + count - 1])
    return lines


def write_commands(folder: Path) -> set[str]:
    """The compile commands as clang understands them: g++'s precompiled header is included."""
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    for entry in commands:
        entry["command"] = re.sub(
            r"(-Winvalid-pch )?-include \S*cmake_pch\.hxx",
            f"-include {ROOT}/cmake/precompiled.h",
            entry["command"],
        ).replace("-fpch-preprocess", "")
    (folder / "compile_commands.json").write_text(json.dumps(commands))
    return {entry["file"] for entry in commands}


def findings(folder: Path, file: str, lines: list[list[int]]) -> list[str]:
    run = subprocess.run(
        [
            "clang-tidy",
            "-p",
            str(folder),
            "--quiet",
            "--extra-arg=-Wno-unknown-warning-option",
            "--line-filter=" + json.dumps([{"name": file, "lines": lines}]),
            str(ROOT / file),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    found = []
    for line in run.stdout.splitlines():
        match = FINDING.match(line)
        # Warnings of the compiler itself are g++'s: clang 14 cannot read g++ 12's <ranges>.
        if match and "clang-diagnostic" not in match[4]:
            found.append(
                f"{os.path.relpath(match[1], ROOT)}:{match[2]}: {match[3]} "
                f"[{match[4].split(',')[0]}]"
            )
    return found


def tidy(changed: dict[str, list[list[int]]], limit: float) -> bool:
    if not (BUILD / "compile_commands.json").exists():
        print(
            "lint: clang-tidy not run: there is no build/compile_commands.json; "
            "run scripts/setup.sh --tests"
        )
        return True
    deadline = time.monotonic() + limit
    good, left = True, []
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(
        os.cpu_count()
    ) as pool:
        compiled = write_commands(Path(folder))
        files = sorted(file for file in changed if str(ROOT / file) in compiled)

        def check(file: str) -> list[str] | None:
            return (
                findings(Path(folder), file, changed[file]) if time.monotonic() < deadline else None
            )

        for file, found in zip(files, pool.map(check, files)):
            if found is None:
                left.append(file)
            for line in found or []:
                good = False
                print(line)
    print(
        f"lint: clang-tidy over changed lines of {len(files) - len(left)} files "
        + ("found nothing" if good else "found the above")
    )
    if left:
        print(f"lint: not checked for lack of time: {' '.join(left)}")
    return good


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--since", metavar="COMMIT")
    options.add_argument("--seconds", type=float, default=240)
    options.add_argument("files", nargs="*")
    arguments = options.parse_args()
    missing = [program for program in ("clang-format", "clang-tidy") if not shutil.which(program)]
    if missing:
        print(
            f"lint: install {' and '.join(missing)} (Debian packages of these names)",
            file=sys.stderr,
        )
        sys.exit(69)
    files = [os.path.relpath(Path(file).resolve(), ROOT) for file in arguments.files]
    good = check_format(
        [f for f in files if f.endswith((".cpp", ".h"))]
        or git("ls-files", "*.cpp", "*.h").splitlines()
    )
    base = arguments.since or base_commit()
    if base is None:
        print("lint: clang-tidy not run: there is no earlier commit to compare with")
    else:
        changed = changed_lines(base)
        good = (
            tidy(
                {f: lines for f, lines in changed.items() if not files or f in files},
                arguments.seconds,
            )
            and good
        )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
