"""The demo from a bare clone of the last commit: minutes until it is done, and how many characters are recognized.

    demo.py WORK_FOLDER [--out RESULT.json]

The clone sets itself up: Python packages are installed and the program is built as on a new machine (Debian packages and ccache's
entries stay). It is removed afterwards.
"""
import json
import re
import shutil
import subprocess
import sys
import time

from turns import ROOT, arguments, single, write


def main():
    options = arguments(__doc__, 1)
    clone = options.work / "demo-clone"
    shutil.rmtree(clone, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    start = time.perf_counter()
    subprocess.run([clone / "scripts/demo.sh"], check=True, stdout=sys.stderr)
    minutes = (time.perf_counter() - start) / 60
    figures = json.loads((clone / "demo/after/measures.json").read_text())["figures"]
    found = [int(re.match(r"(\d+) of ", figure["note"])[1]) for figure in figures[:2]]
    shutil.rmtree(clone)
    write({"benchmark": "demo", "checked": "the images are measured by scripts/demo_measure.py", "figures": figures,
           "measures": {"minutes": single([minutes], "min"), "singles": single(found[:1], ""), "pairs": single(found[1:], "")}}, options.out)


if __name__ == "__main__":
    main()
