"""What a run of CTest gave: failures, minutes by folder, and as the last line "N passed, N failed".

    ctest --test-dir build --show-only=json-v1 | scripts/test_summary.py RESULTS.xml CTEST_STATUS

RESULTS.xml is what `ctest --output-junit` writes: CTest's closing words leave out skipped tests.
Exit code: CTest's, or 1 if a test failed or none ran.
"""
import json
import sys
import xml.etree.ElementTree as tree
from collections import defaultdict


def outcome(case):
    """passed, failed or skipped; CTest also calls skipped what it could not start."""
    if case.get("status") == "run":
        return "passed"
    reason = case.find("skipped")
    asked_for = reason is not None and reason.get("message", "").startswith("SKIP_")
    return "skipped" if asked_for or case.get("status") == "disabled" else "failed"


def folders(tests):
    """By test: its folder in tests/."""
    for test in tests:
        place = next(p["value"] for p in test["properties"] if p["name"] == "WORKING_DIRECTORY")
        below = f"{place}/".rpartition("/tests/")[2]
        yield test["name"], below.split("/")[0] or "tests"


def main(results, status):
    try:
        cases = list(tree.parse(results).getroot().iter("testcase"))
    except (OSError, tree.ParseError):
        sys.exit("test.sh: CTest left no results")
    names = defaultdict(list)
    for case in cases:
        names[outcome(case)].append(case.get("name"))
    folder_of, seconds = dict(folders(json.load(sys.stdin)["tests"])), defaultdict(float)
    for case in cases:
        seconds[folder_of[case.get("name")]] += float(case.get("time"))
    longest_first = sorted(seconds.items(), key=lambda item: -item[1])
    print("minutes of tests:", ", ".join(f"{folder} {time / 60:.1f}" for folder, time in longest_first))
    for name in names["failed"]:
        print("failed:", name)
    skipped = f", {len(names['skipped'])} skipped" if names["skipped"] else ""
    print(f"{len(names['passed'])} passed, {len(names['failed'])} failed{skipped}", flush=True)
    return 1 if names["failed"] or not names["passed"] else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
