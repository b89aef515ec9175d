"""bench/RESULTS.md says what bench/results/*.json hold.

    results_table_test.py KESSOKU WORK_FOLDER [TESTS...]
"""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import results_table  # noqa: E402
import suite  # noqa: E402


def one(median):
    return {"median": median, "low": median - 0.1, "high": median + 0.1, "rounds": 3}


def line_of(what, measures, instruction_sets=()):
    """The row of the page that begins so, where `measures` maps results to their measures."""
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in measures.items():
            result = {"instruction_sets": list(instruction_sets), "cores": 2, "measures": measure}
            (Path(folder) / f"{name}.json").write_text(json.dumps(result))
        page = results_table.page(Path(folder))
    return next(line for line in page.splitlines() if line.startswith(f"| {what}"))


class ResultsTable(unittest.TestCase):
    def test_page_is_not_stale(self):
        self.assertTrue(results_table.PAGE.read_text() == results_table.page(), "bench/RESULTS.md is stale: run bench/results_table.py")

    def test_each_row_belongs_to_a_comparison(self):
        self.assertEqual({row.result for row in results_table.ROWS}, set(suite.COMPARISONS))

    def test_each_comparison_is_a_script(self):
        for name, comparison in suite.COMPARISONS.items():
            self.assertTrue((ROOT / "bench" / comparison.command.split()[0]).is_file(), name)

    def test_the_median_of_the_ratios_decides(self):
        step = {"unit": "s", "ours": one(2.0), "theirs": one(3.1), "ratio": one(1.55)}
        result = {"step_small": {"step": step}}
        self.assertIn("| 2 s | 3.1 s | 1.55 × (1.45–1.65) | 1.5 × | reached |", line_of("training step with text", result))
        step["ratio"] = one(1.45)
        self.assertIn("| **not reached** |", line_of("training step with text", result))

    def test_a_limit_is_not_exceeded(self):
        for minutes, state in ((11.9, "| reached |"), (12.1, "| **not reached** |")):
            measure = {"demo": {"minutes": {"unit": "min", "value": one(minutes)}}}
            self.assertIn(state, line_of("the demo, from", measure))

    def test_goals_of_other_processors_do_not_count(self):
        slow = {"step_small_bf16": {"step": {"unit": "s", "ours": one(4.0), "theirs": one(2.0), "ratio": one(0.5)}}}
        self.assertIn("not on this processor", line_of("the same step in bf16, with AMX", slow, ["avx512f"]))
        self.assertIn("**not reached**", line_of("the same step in bf16, with AMX", slow, ["avx512f", "amx_bf16"]))

    def test_what_has_no_result_is_not_measured(self):
        self.assertIn("| not measured |", line_of("2 ranks in step", {}))

    def test_the_list_needs_nothing_installed(self):
        listed = subprocess.run([ROOT / "scripts/bench.sh", "--list"], check=True, capture_output=True, text=True).stdout
        self.assertEqual([line.split()[0] for line in listed.splitlines()], list(suite.COMPARISONS))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
