"""`kessoku train` when its data changes: damaged rows, renamed words, a store that was refreshed between two halves.

    data_changes_test.py KESSOKU WORK_FOLDER
"""
import json
import re
import shutil
import unittest

import h5py
import numpy as np

from harness import WORK, kessoku, log_of, make_inputs, run_tests


def changes_of(run):
    """What was recorded, each with the step it stands at; steps that were added are left out."""
    return [change | {"step": record["step"]} for record in log_of(run) for change in record.get("changes", [])
            if change["key"] != "train.steps"]


class DataChanges(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()

    def train(self, name, *settings, **how):
        overrides = [argument for setting in settings for argument in ("--set", setting)]
        done = kessoku("train", self.run_file, "--out", WORK / name, *overrides, **how)
        return WORK / name, done.stderr

    def test_renamed_words_are_recorded(self):
        run, _ = self.train("renamed", "train.steps=3")
        self.train("renamed", "train.steps=4")
        self.assertEqual(changes_of(run), [], "nothing has changed yet")
        rename = "[['b', 'bocchi'], ['nowhere', 'x']]"
        _, told = self.train("renamed", "train.steps=5", f"data.caption_rename={rename}", ranks=2)
        self.assertIn("data.caption_rename", told)
        self.train("renamed", "train.steps=6", f"data.caption_rename={rename}", "mixture.b=2")
        renamed, mixed = changes_of(run)
        self.assertEqual((renamed["step"], renamed["key"]), (5, "data.caption_rename"))
        self.assertEqual((renamed["before"], renamed["after"]), ("[]", rename))
        self.assertEqual((renamed["captions"], renamed["examples"]), (7, 26), "the captions of folder b")
        self.assertEqual((mixed["step"], mixed["key"], mixed["before"], mixed["after"]), (6, "mixture", "", "'b' = 2.0"))
        self.assertEqual([r["step"] for r in log_of(run)], [1, 2, 3, 4, 5, 6])
        page = WORK / "renamed/report.html"
        kessoku("report", run)
        self.assertIn("Changes during the run", page.read_text())
        self.assertIn("7 captions of 26 images", page.read_text())

    def test_refreshed_captions_are_recorded_and_other_images_must_be_asked_for(self):
        data, store = WORK / "refreshed-data", WORK / "refreshed-store"
        shutil.copytree(WORK / "data", data)
        prepare = ("prepare", data, "--out", store, "--model", self.model, "--resolution", 64, "--keep", "moments")
        kessoku(*prepare)
        run, _ = self.train("refreshed", "train.steps=3", f"data.store={store}")
        for name in ("a/0.txt", "a/1.txt", "b/3.txt"):
            (data / name).write_text("another caption")
        (data / "b/multiply.txt").write_text("3")
        kessoku(*prepare, "--captions-only")
        self.train("refreshed", f"data.store={store}", "train.steps=4")
        captions, weights = changes_of(run)
        self.assertEqual((captions["key"], captions["step"], captions["captions"]), ("store.captions", 4, 3))
        self.assertNotEqual(captions["before"], captions["after"])
        self.assertEqual(weights["key"], "store.weights")
        shutil.copy(data / "a/2.png", data / "a/new.png")
        (data / "a/9.png").unlink()
        kessoku(*prepare)
        refused = kessoku("train", self.run_file, "--out", run, "--set", f"data.store={store}", expect=64).stderr
        self.assertIn("1 images added, 1 images removed", refused)
        self.assertIn("--allow-change data.store", refused)
        kessoku("train", self.run_file, "--out", run, "--set", f"data.store={store}", "--set", "train.steps=5",
                "--allow-change", "data.store")
        images = next(change for change in changes_of(run) if change["key"] == "store.rows")
        self.assertEqual((images["step"], images["images_added"], images["images_removed"]), (5, 1, 1))
        recorded = len(changes_of(run))
        self.train("refreshed", f"data.store={store}", "train.steps=6")
        self.assertEqual(len(changes_of(run)), recorded, "what was accepted is accepted")

    def test_held_out_images_are_measured_by_alike_at_any_time_and_for_all_ranks(self):
        settings = ("validation.fraction=0.4", "validation.every_steps=2", "train.steps=5", "ema.decay=0.5", "train.micro_batch=2")
        def measured(run):
            return {r["step"]: r["validation_loss"] for r in log_of(run) if "validation_loss" in r}
        whole, _ = self.train("validated", *settings)
        losses = measured(whole)
        self.assertEqual(list(losses), [2, 4, 5])
        self.assertEqual(len(set(losses.values())), 3)
        for ranks in (2, 4):
            run, _ = self.train(f"validated-{ranks}", *settings, ranks=ranks)
            np.testing.assert_allclose(list(measured(run).values()), list(losses.values()), rtol=1e-5)
        # Measuring changes nothing; the same images are measured by whatever the seed; nothing learned, nothing changed.
        plain, _ = self.train("not-validated", *settings, "validation.every_steps=0")
        self.assertEqual(list(measured(plain)), [5])
        self.assertEqual([r["loss"] for r in log_of(plain)], [r["loss"] for r in log_of(whole)])
        still = [measured(self.train(f"still-{seed}", *settings, "optimizer.lr=0", f"seed={seed}")[0]) for seed in (1, 2)]
        self.assertEqual(len({loss for run in still for loss in run.values()}), 1)
        kessoku("report", whole)
        self.assertIn("validation_loss", (whole / "report.html").read_text())

    def test_what_is_most_often_a_mistake_is_refused_by_name(self):
        run, _ = self.train("refused", "train.steps=2")
        for setting in ("train.precision=bf16", "train.noise_offset=0.1", "optimizer.betas=[0.8, 0.9]", "optimizer.name=lion"):
            key = setting.split("=")[0]
            errors = self.train("refused", "train.steps=3", setting, expect=64)[1]
            self.assertIn(f"--allow-change {key}", errors)
            self.assertEqual(len(log_of(run)), 2)
            copy = WORK / "refused-copy"
            shutil.copytree(run, copy, symlinks=True)
            kessoku("train", self.run_file, "--out", copy, "--set", "train.steps=3", "--set", setting, "--allow-change", key,
                    *(["--allow-change", "optimizer.betas"] if "lion" in setting else []))
            self.assertEqual(len(log_of(copy)), 3)
            shutil.rmtree(copy)
        kessoku("train", self.run_file, "--out", run, "--set", "train.steps=3", "--set", "train.noise_offset=0.1",
                "--allow-change", "train.noise_offset")
        self.train("refused", "train.steps=4", "train.noise_offset=0.1", "optimizer.lr=1e-4", "train.micro_batch=2", ranks=2)
        changes = {(c["step"], c["key"]): (c["before"], c["after"]) for c in changes_of(run)}
        self.assertEqual(changes, {(3, "train.noise_offset"): ("0.0", "0.1"), (4, "optimizer.lr"): ("0.001", "0.0001")})
        steps = [c for record in log_of(run) for c in record.get("changes", []) if c["key"] == "train.steps"]
        self.assertEqual([(c["before"], c["after"]) for c in steps], [("2", "3"), ("3", "4")])

    def test_what_cannot_change_is_refused_with_advice_that_works(self):
        run, _ = self.train("fixed", "train.steps=2")
        for setting in ("seed=1", "train.global_batch=2", "train.target=['unet']", "train.clip_skip=1",
                        "optimizer.freeze=['unet.conv_in.*']"):
            with self.subTest(setting):
                key = setting.split("=")[0]
                errors = self.train("fixed", "train.steps=3", setting, expect=64)[1]
                self.assertNotIn("--allow-change", errors)
                self.assertIn(f"{key} is ", errors)
                advice = re.search(r"--set (model\.path=\S+);", errors)[1]
                arguments = ("train", self.run_file, "--out", run, "--set", "train.steps=3", "--set", setting)
                self.assertIn("cannot change", kessoku(*arguments, "--allow-change", key, expect=64).stderr)
                self.train("fixed-" + key, "train.steps=1", setting, advice)
        self.assertEqual(len(log_of(run)), 2)
        for name, words in (("nonsense", "nonsense is not a key"), ("train.lr", "did you mean optimizer.lr?")):
            self.assertIn(words, kessoku("train", self.run_file, "--out", run, "--allow-change", name, expect=64).stderr)

    def test_a_damaged_row_stops_the_run_or_is_passed_over_alike_for_all_ranks(self):
        store = WORK / "damaged-store"
        shutil.copytree(self.store, store)
        shard = store / json.loads((store / "store.json").read_text())["shards"][0]["file"]
        with h5py.File(shard) as file:
            bucket = max(file, key=lambda name: len(file[name]["moments"]))
            rows = file[bucket]["moments"]
            sources, offsets = bytes(file[bucket]["source_bytes"][:]), file[bucket]["source_offsets"][:]
            begin, size = rows.id.get_offset(), rows.id.get_storage_size() // len(rows)
            bad = [i for i in range(len(rows)) if sources[offsets[i]:offsets[i + 1]].startswith(b"a/")][:2]
            names = [sources[offsets[i]:offsets[i + 1]].decode() for i in bad]
        content = bytearray(shard.read_bytes())
        for row in bad:
            content[begin + row * size + 5] ^= 1
        shard.write_bytes(content)
        stopped = kessoku("train", self.run_file, "--out", WORK / "stopped", "--set", f"data.store={store}",
                          "--set", "train.steps=20", expect=65).stderr
        self.assertTrue(any(name in stopped for name in names), stopped)
        self.assertIn("checksum", stopped)
        # Weights that stay: then losses say which images were drawn, and rounding does not grow from step to step.
        still = ("train.steps=12", "optimizer.lr=0")
        runs = {}
        for ranks in (0, 2, 4):
            runs[ranks], told = self.train(f"skipped-{ranks}", f"data.store={store}", "data.on_bad_row='skip'", *still, ranks=ranks)
            for name in names:
                self.assertIn(name, told)
        counts = [record.get("bad_rows", 0) for record in log_of(runs[0])]
        self.assertGreater(sum(counts), 2)
        whole, _ = self.train("undamaged", *still)
        for ranks in (2, 4):
            self.assertEqual([record.get("bad_rows", 0) for record in log_of(runs[ranks])], counts)
            np.testing.assert_allclose([r["loss"] for r in log_of(runs[ranks])], [r["loss"] for r in log_of(runs[0])],
                                       rtol=1e-5)
        self.assertEqual([r["categories"] for r in log_of(runs[0])], [r["categories"] for r in log_of(whole)],
                         "images of the same folder take the draws")
        untouched = next(i for i, count in enumerate(counts) if count)
        np.testing.assert_array_equal([r["loss"] for r in log_of(runs[0])][:untouched],
                                      [r["loss"] for r in log_of(whole)][:untouched])


if __name__ == "__main__":
    run_tests()
