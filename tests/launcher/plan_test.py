"""`kessoku plan`: a store of plain images, a mixture, and what the table, the JSON and the schedule say of it.

    plan_test.py KESSOKU WORK_FOLDER
"""
import csv
import io
import json
import math
import sys
import unittest
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import WORK, empty_work_folder, kessoku, run_tests

FOLDERS = {"fanart": (5, (64, 64)), "screenshots": (1, (64, 64)), "screenshots/kita, ikuyo": (8, (96, 48)),
           "screenshots/two": (4, (48, 96))}
SHARES = {".": 1, "fanart": 0.25, "screenshots": 0.75, "screenshots/kita, ikuyo": 0.1875, "screenshots/two": 0.375}
OWN_SHARES = SHARES | {"screenshots": 0.1875}
STEPS, G = 60, 8
RUN_FILE = f"""
[model]
path = "{WORK}/model-that-is-elsewhere"
[data]
store = "{WORK}/store"
[mixture]
"fanart" = 0.25
"screenshots" = 0.75
"screenshots/two" = 2.0
[train]
target = ["vae"]
steps = {STEPS}
global_batch = {G}
micro_batch = {G}
"""


def prepare(dataset, store):
    kessoku("prepare", dataset, "--out", store, "--keep", "images", "--resolution", 64)


def make_images(dataset):
    for folder, (count, size) in FOLDERS.items():
        (dataset / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("RGB", size, (i * 20, 10, 99)).save(dataset / folder / f"{i}.png")


def read_schedule(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class Plan(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        empty_work_folder()
        make_images(WORK / "set")
        prepare(WORK / "set", WORK / "store")
        cls.run_file = WORK / "run.toml"
        cls.run_file.write_text(RUN_FILE)
        arguments = ("--json", "--schedule", WORK / "schedule.csv")
        cls.plan = json.loads(kessoku("plan", cls.run_file, *arguments).stdout)
        cls.draws = read_schedule(WORK / "schedule.csv")

    def said(self, *arguments, **how):
        return kessoku("plan", self.run_file, *arguments, **how)

    def test_categories_have_the_shares_of_the_mixture(self):
        plan = self.plan
        self.assertEqual((plan["examples"], plan["global_batch"], plan["steps"], plan["draws"]), (18, G, STEPS, STEPS * G))
        self.assertEqual({c["path"] for c in plan["categories"]}, SHARES.keys())
        for category in plan["categories"]:
            share = SHARES[category["path"]]
            self.assertTrue(math.isclose(category["share"], share, rel_tol=1e-12), category)
            self.assertTrue(math.isclose(category["draws_expected"], category["share"] * STEPS * G), category)
        self.assertEqual(sum(b["examples"] for b in plan["buckets"].values()), 18)
        self.assertTrue(math.isclose(sum(b["share"] for b in plan["buckets"].values()), 1))

    def test_the_schedule_has_each_draw_once_and_one_bucket_a_step(self):
        draws = self.draws
        self.assertEqual(list(draws[0]), ["draw", "step", "pass", "bucket", "category", "source"])
        self.assertEqual([int(d["draw"]) for d in draws], list(range(STEPS * G)))
        buckets = defaultdict(set)
        for d in draws:
            self.assertEqual(int(d["step"]), int(d["draw"]) // G)
            self.assertTrue((WORK / "set" / d["source"]).is_file(), d)
            self.assertEqual(str(PurePosixPath(d["source"]).parent), d["category"])
            buckets[d["step"]].add(d["bucket"])
        self.assertEqual({len(b) for b in buckets.values()}, {1}, "a step holds two buckets")

    def test_the_schedule_counts_what_the_plan_tells(self):
        counts = Counter()
        for d in self.draws:
            for path in SHARES:
                if path == "." or d["category"] == path or d["category"].startswith(path + "/"):
                    counts[path] += 1
        self.assertEqual(counts, {c["path"]: c["draws_planned"] for c in self.plan["categories"]})
        views = Counter(d["source"] for d in self.draws)
        for category in self.plan["categories"]:
            images = (WORK / "set" / category["path"]).glob("*.png")
            own = [views[str(image.relative_to(WORK / "set"))] for image in images]
            if own:
                self.assertEqual((category["own_examples"], category["own_draws_planned"]), (len(own), sum(own)), category)
                self.assertEqual((category["own_fewest_views"], category["own_most_views"]), (min(own), max(own)), category)
        self.assertEqual(self.plan["categories"][0]["never_drawn"], 0)
        self.assertEqual(self.plan["examples_drawn"], 18)

    def test_a_pass_holds_each_folders_share(self):
        first_pass = Counter(d["category"] for d in self.draws if d["pass"] == "0")
        for path in FOLDERS:
            self.assertLess(abs(first_pass[path] - OWN_SHARES[path] * self.plan["pass_draws"]), 1, path)

    def test_the_table_shows_shares_and_warnings(self):
        table = self.said().stdout
        for words in ("  kita, ikuyo", "18.750 %", "(own images)", "warning: bucket", "starves"):
            self.assertIn(words, table)

    def test_the_csv_holds_what_the_json_holds(self):
        table = list(csv.DictReader(io.StringIO(self.said("--csv").stdout)))
        self.assertEqual([row["path"] for row in table], [c["path"] for c in self.plan["categories"]])
        for row, category in zip(table, self.plan["categories"]):
            for key in row.keys() - {"path"}:
                self.assertEqual(float(row[key]), category[key], (row["path"], key))

    def test_the_same_images_are_held_out_whatever_the_seed_and_shares_stay(self):
        shares = {c["path"]: c["share"] for c in self.plan["categories"]}
        held = []
        for seed in (1, 2):
            half = json.loads(self.said("--json", "--schedule", WORK / "half.csv", "--set", "validation.fraction=0.5",
                                        "--set", f"seed={seed}").stdout)
            held.append({d["source"] for d in self.draws} - {d["source"] for d in read_schedule(WORK / "half.csv")})
            self.assertEqual(half["categories"][0]["held_out"], len(held[-1]))
            self.assertGreater(len(held[-1]), 0)
            self.assertEqual({c["path"]: c["share"] for c in half["categories"]}, shares)
        self.assertEqual(*held)

    def test_warns_of_multipliers_that_are_whole_or_zero_and_of_runs_that_are_too_short(self):
        dataset, store = WORK / "multiplied", WORK / "multiplied-store"
        make_images(dataset)
        for folder, multiply in ("fanart", 1), ("screenshots", 0), ("screenshots/two", 3), ("screenshots/kita, ikuyo", 40):
            (dataset / folder / "multiply.txt").write_text(str(multiply))
        prepare(dataset, store)
        run_file = WORK / "multiplied.toml"
        lines = RUN_FILE.replace(f"{WORK}/store", str(store)).splitlines(True)
        run_file.write_text("".join(line for line in lines if not line.startswith('"')))
        warnings = "\n".join(json.loads(kessoku("plan", run_file, "--json", "--draws", 16).stdout)["warnings"])
        for text in ("whole numbers", "multiply 0 for 1 of its 1 images", "never drawn within the run", "starves"):
            self.assertIn(text, warnings)

    def test_warns_of_a_folder_of_weight_0(self):
        self.assertIn('folder "fanart" has weight 0', self.said("--set", "mixture.fanart=0").stdout)

    def test_plans_as_many_draws_as_one_asks_for(self):
        self.assertEqual(json.loads(self.said("--json", "--draws", 13).stdout)["draws"], 13)

    def test_wrong_use_is_64(self):
        self.assertIn("did you mean", self.said("--set", "mixture.fanarts=1", expect=64).stderr)
        schedule = WORK / "no" / "such" / "folder.csv"
        self.assertIn("cannot write", self.said("--schedule", schedule, expect=64).stderr)
        kessoku("plan", WORK / "missing.toml", expect=64)


if __name__ == "__main__":
    run_tests()
