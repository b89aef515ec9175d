"""What scripts/test.sh says at the end: test_summary_test.py"""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# As `ctest --output-junit` writes them.
PASSED = '<testcase name="a" time="90" status="run"/>'
FAILED = '<testcase name="b" time="6" status="fail"><failure message="Failed"/></testcase>'
SKIPPED = '<testcase name="c" time="1" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/></testcase>'
MISSING = '<testcase name="d" time="0" status="notrun"><skipped message="Unable to find executable"/></testcase>'
FOLDERS = {"a": "tests/data", "b": "tests/model", "c": "tests/data", "d": "tests"}


def summary(*cases, status=0):
    tests = [{"name": name, "properties": [{"name": "WORKING_DIRECTORY", "value": f"/x/build/{folder}"}]}
             for name, folder in FOLDERS.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as results:
        results.write(f"<testsuite>{''.join(cases)}</testsuite>")
        results.flush()
        return subprocess.run([sys.executable, ROOT / "scripts/test_summary.py", results.name, str(status)],
                              input=json.dumps({"tests": tests}), capture_output=True, text=True)


class TestSummary(unittest.TestCase):
    def test_the_last_line_counts_and_failures_are_named(self):
        done = summary(PASSED, FAILED, SKIPPED, MISSING, status=8)
        self.assertEqual(done.stdout.splitlines(), ["minutes of tests: data 1.5, model 0.1, tests 0.0", "failed: b",
                                                    "failed: d", "1 passed, 2 failed, 1 skipped"])
        self.assertEqual(done.returncode, 1)

    def test_a_run_is_good_only_where_ctest_says_so_and_something_ran(self):
        self.assertEqual(summary(PASSED).returncode, 0)
        self.assertEqual(summary(PASSED).stdout.splitlines()[-1], "1 passed, 0 failed")
        self.assertEqual(summary(PASSED, status=8).returncode, 8)
        self.assertEqual(summary(SKIPPED).returncode, 1)
        self.assertEqual(summary().returncode, 1)

    def test_a_run_that_left_no_results_has_failed(self):
        done = summary("<")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no results", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
