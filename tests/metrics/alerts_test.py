"""The alerts as promtool judges them: their syntax, and for each a run that fires it and one that does not.

    alerts_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "metrics/alerts.yml"
CASES = Path(__file__).with_name("alert_cases.yml")


def promtool(*arguments):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


class Alerts(unittest.TestCase):
    def setUp(self):
        self.names = re.findall(r"- alert: (\w+)", ALERTS.read_text())
        self.assertGreater(len(self.names), 8)

    def test_promtool_takes_them(self):
        code, said = promtool("check", "rules", ALERTS)
        self.assertEqual(code, 0, said)
        self.assertIn(f"{len(self.names)} rules found", said)

    def test_each_fires_when_it_should_and_not_otherwise(self):
        code, said = promtool("test", "rules", CASES)
        self.assertEqual(code, 0, said)
        cases = CASES.read_text()
        for name in self.names:
            self.assertIn(f"alertname: {name}\n", cases, "no case expects it to fire")

    def test_alertmanager_takes_its_configuration(self):
        done = subprocess.run(["amtool", "check-config", ROOT / "metrics/provisioning/alertmanager.yml"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_each_has_its_section_in_the_runbook(self):
        page = (ROOT / "docs/monitoring.md").read_text()
        for name in self.names:
            self.assertRegex(page, rf"(?m)^### {name}$")
            self.assertIn(f"runbook: docs/monitoring.md#{name.lower()}\n", ALERTS.read_text())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
