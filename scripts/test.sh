#!/usr/bin/env bash
# Sets up all that the tests need, builds, and runs them; the last line is "N passed, N failed".
#
#     scripts/test.sh [CTEST_ARGUMENTS...]     e.g. scripts/test.sh -R Sampler, or -L slow
#
# Exit code 0 when at least one test ran and none failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh --tests
export KESSOKU_DEVICE=${KESSOKU_DEVICE:-cpu}  # also where there are GPUs; scripts/gpu_selftest.sh tests those
results=$PWD/build/test-results.xml
rm -f "$results"
status=0
# Two at a time: a test may start several ranks itself.
ctest --test-dir build --output-on-failure -j2 --output-junit "$results" "$@" || status=$?

# Counted from CTest's own file, as its closing words leave out the skipped ones.
.venv/bin/python - "$results" "$status" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree

try:
    suite = tree.parse(sys.argv[1]).getroot()
except (OSError, tree.ParseError):
    sys.exit("test.sh: CTest left no results")
passed, failed, skipped = 0, [], 0
for case in suite.iter("testcase"):
    reason = case.find("skipped")
    if case.get("status") == "run":
        passed += 1
    # CTest also calls skipped what it could not start.
    elif case.get("status") == "disabled" or reason is not None and reason.get("message", "").startswith("SKIP_"):
        skipped += 1
    else:
        failed.append(case.get("name"))
for name in failed:
    print("failed:", name)
print(f"{passed} passed, {len(failed)} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
sys.exit(1 if failed or not passed else int(sys.argv[2]))
PYTHON
