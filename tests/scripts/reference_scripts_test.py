"""The scripts of the reference run: its dataset in small, the classifier's figures, the model card, the page.

    reference_scripts_test.py KESSOKU WORK_FOLDER
"""
import json
import shutil
import subprocess
import sys
import unittest
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KESSOKU, WORK = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
sys.path.insert(0, str(ROOT / "scripts"))
import update_reference_page  # noqa: E402
from make_reference_data import CATEGORY_SHARES, NUMBER_SHARES  # noqa: E402
from reference_measure import rate, wilson  # noqa: E402


def run(*command, code=0):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


class Dataset(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = WORK / "data"
        run(sys.executable, ROOT / "scripts/make_reference_data.py", cls.data, "--divide", 100)
        cls.images = [p.relative_to(cls.data) for p in cls.data.rglob("*") if p.suffix in (".jpg", ".png")]

    def test_multipliers_give_the_shares_that_are_asked_for(self):
        multiplier = {image: float((self.data / image.parent / "multiply.txt").read_text()) for image in self.images}
        total, got = sum(multiplier.values()), Counter()
        for image, factor in multiplier.items():
            got[image.parts[0]] += factor / total
            got[image.parts[:2]] += factor / total
            got[image.parts[:3]] += factor / total
        for category, share in CATEGORY_SHARES.items():
            self.assertAlmostEqual(got[category], share, places=9)
            for number, part in NUMBER_SHARES.get(category, {}).items():
                folder = (category, f"{number}_character{'s' if number > 1 else ''}")
                self.assertAlmostEqual(got[folder], share * part, places=9)
                characters = [got[path] for path in got if path[:2] == folder and len(path) == 3]
                self.assertAlmostEqual(min(characters), max(characters), places=9)

    def test_plan_agrees_about_the_shares(self):
        run(KESSOKU, "prepare", self.data, "--out", WORK / "store", "--keep", "images", "--buckets", "64x64,112x64,64x112",
            "--dialect", "screenshot-pipeline")
        run_file = WORK / "run.toml"
        run_file.write_text(f'[model]\npath = "none"\n[data]\nstore = "{WORK}/store"\n[train]\ntarget = ["vae"]\nsteps = 100\n')
        planned = json.loads(run(KESSOKU, "plan", run_file, "--json").stdout)["categories"]
        share = {folder["path"]: folder["share"] for folder in planned}
        self.assertAlmostEqual(share["fanart"], 0.25, places=9)
        self.assertAlmostEqual(share["screenshots/4_characters"], 0.30 * 0.20, places=9)

    def test_captions_name_the_characters_of_their_folder(self):
        for image in self.images:
            if image.parts[0] != "regularization":
                names = (self.data / image).with_suffix(".txt").read_text().split(",")[0].split(" and ")
                self.assertEqual("+".join(sorted(names)), image.parts[2])

    def test_combinations_that_are_left_out_are_in_no_image(self):
        unseen = {"+".join(who) for who in json.loads((self.data / "dataset.json").read_text())["unseen"]}
        self.assertEqual(len(unseen), round(66 / 8) + round(220 / 8) + round(495 / 8))
        self.assertEqual([image for image in self.images if image.parts[2] in unseen], [])


class Figures(unittest.TestCase):
    def test_wilson_intervals(self):
        for hits, of, low, high in (8, 10, 0.4902, 0.9433), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0):
            self.assertAlmostEqual(wilson(hits, of)[0], low, places=3)
            self.assertAlmostEqual(wilson(hits, of)[1], high, places=3)
        self.assertEqual(rate(3, 4)["percent"], 75.0)

    def test_page_is_not_stale(self):
        for page in update_reference_page.PAGES:
            self.assertTrue(update_reference_page.updated(page) == page.read_text(), f"{page} is stale: run scripts/update_reference_page.py")


class ModelCard(unittest.TestCase):
    def card_of(self, records, code=0):
        folder = WORK / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(
            'name = "mine"\nseed = 3\n[model]\npath = "models/sd15"\n[data]\ncaption_dropout = 0.1\ncaption_rename = [["Bfan2", "Bofa2"]]\n'
            '[train]\ntarget = ["unet", "text_encoder"]\nsteps = 9\nglobal_batch = 4\nprecision = "bf16"\n[optimizer]\nname = "adamw"\n'
            'schedule = "constant"\nlr = 1e-6\ntext_encoder_lr = -1.0\n[ema]\ndecay = 0.0\n')
        (folder / "mixture.json").write_text(json.dumps({"categories": [
            {"path": ".", "share": 1, "examples": 30}, {"path": "fanart", "share": 0.25, "examples": 10},
            {"path": "fanart/kita", "share": 0.25, "examples": 10}, {"path": "screenshots", "share": 0.75, "examples": 20}]}))
        (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return run(sys.executable, ROOT / "scripts/model_card.py", folder, "--base", "sd15", code=code)

    def test_says_what_was_drawn_and_changed(self):
        rename = {"key": "data.caption_rename", "before": "[]", "after": "[['Bfan2', 'Bofa2']]"}
        card = self.card_of([{"step": 1, "draws": 4, "categories": {"fanart": 1, "screenshots": 3}},
                             {"step": 2, "draws": 8, "categories": {"screenshots": 4}, "changes": [rename]}]).stdout
        self.assertTrue(card.startswith("---\nlicense: creativeml-openrail-m\nbase_model: sd15\n"))
        for line in ("2 steps of 4 images, 8 draws from 30 images", "| steps | 2 of 9 |", "1e-06; text encoder 1e-06",
                     "| `fanart` | 10 | 25.00 % | 1 (12.50 %) |", "| `screenshots` | 20 | 75.00 % | 7 (87.50 %) |",
                     "- before step 2: `data.caption_rename`, `[]` → `[['Bfan2', 'Bofa2']]`", "- `Bofa2`; it was `Bfan2` at first"):
            self.assertIn(line, card)
        self.assertNotIn("fanart/kita", card)

    def test_refuses_a_run_without_steps(self):
        self.assertIn("no step has been trained yet", self.card_of([], code=1).stderr)


if __name__ == "__main__":
    tests = unittest.main(argv=[sys.argv[0], *sys.argv[3:]], exit=False)
    if not tests.result.wasSuccessful():
        sys.exit(1)
    shutil.rmtree(WORK, ignore_errors=True)
