#!/usr/bin/env python3
"""Writes docs/third_party.md and NOTICE: what the program contains, links to and ships.

    scripts/third_party.py [--build DIR] [--check]

Names come from the build: the headers that its objects include, and the libraries that the program
names as needed. Licenses come from the Debian packages' copyright files and the Python wheels'
metadata. --check writes nothing, and ends with 1 if a file is out of date. Needs Debian 12, and
what scripts/setup.sh --tests builds.
"""

import argparse
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The program's own folders in a build; tests and benchmarks are not shipped.
PROGRAM = re.compile(r"^(base|data|model|metrics|runtime|launcher|CMakeFiles/kessoku)")
# Of packages whose copyright file states no license of what is used here, from reading it.
STATED_IN_PROSE = {
    "gcc": "GPL-3+ with GCC runtime library exception",
    "glibc": "LGPL-2.1+",
    "openmpi": "BSD-3-clause",
    "glib2.0": "LGPL-2.1+",
    "libjpeg-turbo": "IJG and BSD-3-clause and Zlib",
    "tomlplusplus": "Expat",
    "fonts-noto-color-emoji": "OFL-1.1",
    "unicode-data": "Unicode",
    "linux": "GPL-2 with syscall exception",
}
# Shipped, but neither a header nor a library: (name, license source, what of it is used).
SHIPPED = [
    ("chart.js", "libjs-chart.js", "in the program and in every report"),
    (
        "fonts-noto-color-emoji",
        "fonts-noto-color-emoji",
        "its emoji are drawn in docs/images/demo.png and taught to models/demo-base",
    ),
    ("unicode-data", "unicode-data", "the emoji list that names the demo's images"),
]
# No installed package to ask: scripts/setup.sh takes one file out of the wheel.
CLIP = (
    "CLIP vocabulary",
    "MIT",
    "Python package open_clip_torch",
    "models/clip-tokenizer, made by scripts/setup.sh",
)

HEADER = "<!-- Written by scripts/third_party.py. -->\n"
PAGE = """# Third-party software

What `kessoku` contains, links to and ships, and under which license. Nothing of it is in this
repository except what the last table names; `scripts/setup.sh` installs it from Debian and from the
Python package index. Each Debian package has the full texts in `/usr/share/doc/PACKAGE/copyright`,
each wheel in its `.dist-info/licenses`.

## Libraries

| library | license | from |
|---|---|---|
{libraries}

LibTorch contains further libraries, whose licenses are in its wheel. On machines with GPUs its CUDA
libraries (NVIDIA's license) are installed with it.

## Data and scripts

| name | license | from | used |
|---|---|---|---|
{data}
"""
NOTICE = """Kessoku
Copyright 2026 The Kessoku authors

Licensed under the Apache License, Version 2.0 (see LICENSE).

The program contains, or is linked to, software of others; docs/third_party.md lists it:

{entries}
"""


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def included_headers(build: Path) -> set[str]:
    headers, ours = set(), False
    for line in output("ninja", "-C", str(build), "-t", "deps").splitlines():
        if line and not line[0].isspace():
            ours = bool(PROGRAM.match(line))
        elif ours and line.strip().startswith("/usr/"):
            headers.add(str(Path(line.strip()).resolve()))
    return headers


def needed_libraries(program: Path) -> set[str]:
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", str(program))))
    found = re.findall(r"^\s*(\S+) => (\S+)", output("ldd", str(program)), re.M)
    return {str(Path(path).resolve()) for name, path in found if name in needed}


def debian_packages(files: set[str]) -> dict[str, str]:
    """Source package → one of its binary packages, for all that own one of the files."""
    # Debian 12 records files below /lib as such, although /lib is a link to /usr/lib.
    paths = sorted(
        files | {path.removeprefix("/usr") for path in files if path.startswith("/usr/lib/")}
    )
    listed = subprocess.run(["dpkg", "-S", *paths], capture_output=True, text=True).stdout
    packages = sorted({line.rsplit(": ", 1)[0].split(",")[0] for line in listed.splitlines()})
    names = output("dpkg-query", "-W", "-f", "${source:Package} ${Package}\\n", *packages)
    return {
        re.sub(r"^gcc-\d+$", "gcc", source): binary
        for source, binary in (line.split() for line in names.splitlines())
    }


def debian_license(source: str, binary: str) -> str:
    if source in STATED_IN_PROSE:
        return STATED_IN_PROSE[source]
    text = Path(f"/usr/share/doc/{binary}/copyright").read_text(errors="replace")
    for paragraph in re.split(r"\n\s*\n", text):
        license_line = re.search(r"^License:\s*(\S.*)$", paragraph, re.M)
        if re.search(r"^Files:\s*\*", paragraph, re.M) and license_line:
            return license_line[1].strip()
    sys.exit(
        f"third_party.py: {binary}'s copyright file names no license for all files; read it and "
        "add the license to STATED_IN_PROSE"
    )


def wheels(files: set[str]) -> dict[str, str]:
    """Name → license of the Python packages that own one of the files."""
    found = {}
    for wheel in importlib.metadata.distributions(
        path=list({re.sub("(/site-packages)/.*", r"\1", f) for f in files})
    ):
        if any(
            str(Path(wheel.locate_file(entry)).resolve()) in files for entry in wheel.files or ()
        ):
            found[wheel.name] = wheel.metadata["License-Expression"] or wheel.metadata["License"]
    return found


def tables(build: Path) -> tuple[list[tuple], list[tuple]]:
    programs = [path for path in (build / "kessoku", build / "kessoku-core") if path.exists()]
    linked = set().union(*map(needed_libraries, programs))
    of_wheels = {path for path in linked if "/site-packages/" in path}
    debian = debian_packages(included_headers(build) | linked - of_wheels)
    libraries = [
        (source, debian_license(source, binary), "Debian") for source, binary in debian.items()
    ]
    libraries += [
        (name, license_, "Python package index") for name, license_ in wheels(of_wheels).items()
    ]
    data = [
        (name, debian_license(name, package), f"Debian package {package}", use)
        for name, package, use in SHIPPED
    ]
    return sorted(libraries, key=lambda row: row[0].lower()), [*data, CLIP]


def rendered(rows: list[tuple]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--build", type=Path, default=ROOT / "build")
    options.add_argument("--check", action="store_true")
    arguments = options.parse_args()
    libraries, data = tables(arguments.build)
    entries = "\n".join(f"  {row[0]} ({row[1]})" for row in [*libraries, *data])
    files = {
        "docs/third_party.md": HEADER
        + PAGE.format(libraries=rendered(libraries), data=rendered(data)),
        "NOTICE": NOTICE.format(entries=entries),
    }
    stale = [
        name
        for name, text in files.items()
        if not (ROOT / name).exists() or (ROOT / name).read_text() != text
    ]
    if arguments.check:
        sys.exit(f"out of date: {', '.join(stale)}; run scripts/third_party.py" if stale else 0)
    for name in stale:
        (ROOT / name).write_text(files[name])
        print("wrote", name)


if __name__ == "__main__":
    main()
