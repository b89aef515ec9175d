"""The Grafana dashboard: its schema, and each panel's query at a real Prometheus that watches two ranks.

    dashboard_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import DEADLINE, ENDLESS, PROGRAM, ROOT, WORK, make_inputs, run_tests, set_all, start, wait_for
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from PIL import Image
from prometheus import Prometheus, stop

FILE = ROOT / "metrics/dashboards/kessoku.json"
NEEDS_OTHER_EXPORTERS = "exporter)"


def panels():
    return [panel for panel in json.loads(FILE.read_text())["panels"] if panel["type"] != "row"]


def missing(written, known, place=""):
    """Places in `written` that are not, or not the same, in `known`."""
    if isinstance(written, dict) and isinstance(known, dict):
        for key, value in written.items():
            yield from missing(value, known.get(key), f"{place}/{key}")
    elif isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        for i, value in enumerate(written):
            yield from missing(value, known[i], f"{place}/{i}")
    elif written != known:
        yield f"{place}: {written!r} became {known!r}"


class Schema(unittest.TestCase):
    def test_is_what_its_program_writes(self):
        done = subprocess.run([sys.executable, ROOT / "scripts/make_dashboard.py", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_grafanas_own_types_know_all_of_it(self):
        """What its types do not know Grafana would ignore: a name that is misspelt, a place that is wrong."""
        plugins.register_default_plugins()
        written = json.loads(FILE.read_text())
        known = json.loads(JSONEncoder().encode(Dashboard.from_json(written)))
        self.assertEqual(list(missing(written, known)), [])

    def test_one_chooses_prometheus_run_and_ranks(self):
        variables = json.loads(FILE.read_text())["templating"]["list"]
        self.assertEqual([variable["name"] for variable in variables], ["datasource", "run", "rank"])
        for panel in panels():
            for target in panel["targets"]:
                self.assertEqual(target["datasource"]["uid"], "${datasource}")
                if not panel["title"].endswith(NEEDS_OTHER_EXPORTERS):
                    self.assertIn('run="$run"', target["expr"])

    def test_each_panel_says_what_it_shows(self):
        for panel in panels():
            with self.subTest(panel["title"]):
                self.assertTrue(panel["description"].endswith("."))
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertTrue(panel["fieldConfig"]["defaults"]["thresholds"]["steps"])

    def test_the_first_two_rows_fit_on_a_screen(self):
        second_end = [p["gridPos"]["y"] for p in json.loads(FILE.read_text())["panels"] if p["type"] == "row"][2]
        self.assertLessEqual(second_end, 24)  # lines of 38 pixels on a screen of 1080, less Grafana's own bars

    def test_panels_do_not_overlap(self):
        taken = set()
        for panel in json.loads(FILE.read_text())["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            taken |= cells


class Live(unittest.TestCase):
    def test_every_query_is_answered(self):
        _, _, run_file = make_inputs()
        watching = Prometheus(WORK / "prometheus", interval="1s", rules=ROOT / "metrics/alerts.yml")
        self.addCleanup(watching.close)
        settings = {"metrics.file_sd": f"'{watching.targets}/live.json'", "name": "'live'", "checkpoint.every_steps": 40, "validation.fraction": 0.2,
                    "validation.every_steps": 20, "metrics.peak_tflops": 0.1}
        process = start([PROGRAM, "launch", "-n", "2", run_file, "--out", WORK / "live", *ENDLESS, *set_all(settings)], WORK / "live.err")
        self.addCleanup(stop, process)
        wait_for(lambda: watching.value('kessoku_checkpoints_total{result="written"} > 1'), "two checkpoints")
        goodput = next(panel for panel in panels() if panel["title"] == "Goodput")["targets"][0]["expr"].replace("$run", "live")
        wait_for(lambda: watching.value(goodput), "two of its points, which are 15 s apart")
        picture = WORK / "dashboard.png"
        done = subprocess.run([sys.executable, ROOT / "scripts/preview_dashboard.py", watching.address, "--run", "live", "--out", picture,
                               "--minutes", "2"], capture_output=True, text=True, timeout=DEADLINE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        found = [line.split("\t") for line in done.stdout.splitlines()]
        self.assertEqual({title for title, _, _ in found}, {panel["title"] for panel in panels()})
        for title, target, count in found:
            with self.subTest(title, target=target):
                if title.endswith(NEEDS_OTHER_EXPORTERS):
                    self.assertEqual(count, "0")
                else:
                    self.assertGreater(int(count), 0)
        written = json.loads(FILE.read_text())
        for variable in written["templating"]["list"][1:]:
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            self.assertTrue(watching.query(f"count by ({label}) ({series.replace('$run', 'live')})"), variable["name"])
        for annotation in written["annotations"]["list"]:
            watching.query(annotation["expr"].replace("$run", "live"))
        with Image.open(picture) as image:
            self.assertGreater(image.width, 1000)
            above_legends = image.convert("RGB").crop((0, image.height // 2, image.width, image.height * 17 // 20))
            green = sum(count for count, (r, g, b) in above_legends.getcolors(1 << 24) if g > r + 50 and g > b + 50)
            self.assertGreater(green, 100, "the legends are drawn, but no lines")


if __name__ == "__main__":
    run_tests()
