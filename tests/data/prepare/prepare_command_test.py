"""`kessoku prepare` and `kessoku inspect` from outside.

    prepare_command_test.py KESSOKU WORK_FOLDER
"""
import json
import shutil
import sys
import unittest
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "images"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "distributed"))
import make_images
from harness import ENVIRONMENT, WORK, kessoku, make_model, run_tests

ENVIRONMENT["OMP_NUM_THREADS"] = "1"
SMALL = ("--keep", "images", "--resolution", 64)
FILES = {"wide.jpg": "a", "turned.jpg": "a", "exact.png": "b/結束", "gray.png": "b", "cut.jpg": "b"}
CATEGORIES = [{"path": ".", "examples": 4, "multiply": 1.0}, {"path": "a", "examples": 2, "multiply": 2.5},
              {"path": "b", "examples": 2, "multiply": 1.0}, {"path": "b/結束", "examples": 1, "multiply": 1.0}]


def make_dataset(root):
    make_images.main(WORK / "made-images")
    for name, folder in FILES.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(WORK / "made-images" / name, root / folder)
    (root / "a/multiply.txt").write_text("2.5")


def inspected(path):
    return json.loads(kessoku("inspect", path, "--json").stdout)


def content(store):
    """Groups of the only shard, as arrays."""
    shards = json.loads((store / "store.json").read_text())["shards"]
    with h5py.File(store / shards[0]["file"]) as file:
        return {bucket: {name: group[name][...] for name in group} for bucket, group in file.items()}


class PrepareCommand(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = make_model()
        cls.images, cls.store = WORK / "images", WORK / "store"
        make_dataset(cls.images)
        cls.first = kessoku("prepare", cls.images, "--out", cls.store, *SMALL).stdout

    def assert_fails(self, code, words, *arguments):
        with self.subTest(words):
            stderr = kessoku(*arguments, expect=code).stderr
            self.assertIn(words, stderr)
            lines = [line for line in stderr.strip().splitlines() if not line.startswith("warning: ")]
            self.assertEqual(len(lines), 1, stderr)

    def copy_of_store(self, name):
        return Path(shutil.copytree(self.store, WORK / name))

    def test_a_store_tells_what_it_holds_and_what_was_left_out(self):
        found = inspected(self.store)
        self.assertEqual(set(found), {"examples", "buckets", "categories", "skipped", "warnings"})
        self.assertEqual((found["examples"], found["buckets"]), (4, {"48x80": 1, "64x64": 2, "80x48": 1}))
        self.assertEqual(found["categories"], CATEGORIES)
        self.assertEqual([entry["source"] for entry in found["skipped"]], ["b/cut.jpg"])

    def test_says_when_nothing_has_changed(self):
        self.assertNotIn("nothing has changed", self.first)
        again = kessoku("prepare", self.images, "--out", self.store, *SMALL).stdout
        self.assertIn("nothing has changed", again)

    def test_ranks_make_the_same_store(self):
        store = WORK / "by-two"
        done = kessoku("prepare", self.images, "--out", store, *SMALL, "--json", ranks=2)
        summary = json.loads(done.stdout)
        self.assertEqual((summary["examples"], summary["encoded"]), (4, 4))
        self.assertEqual(inspected(store), inspected(self.store))

    def test_strict_lists_all_images_that_cannot_be_used(self):
        images = Path(shutil.copytree(self.images, WORK / "strict-images"))
        shutil.copy(images / "b/cut.jpg", images / "a/結束 2.jpg")
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                arguments = ("prepare", images, "--out", WORK / "strict", *SMALL, "--strict")
                stderr = kessoku(*arguments, ranks=ranks, expect=65).stderr
                listed = [line.split(": ")[0].strip() for line in stderr.splitlines()
                          if line.startswith("  ") and ".jpg: " in line]
                self.assertEqual(listed, ["a/結束 2.jpg", "b/cut.jpg"])
                self.assertIn("2 images cannot be used", stderr)

    def test_a_pointer_or_a_page_in_place_of_an_image_is_called_so(self):
        images = Path(shutil.copytree(self.images, WORK / "fetched-images"))
        (images / "a/pointer.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4265\n")
        (images / "a/page.png").write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
        kessoku("prepare", images, "--out", WORK / "fetched", *SMALL)
        reasons = {entry["source"]: entry["reason"] for entry in inspected(WORK / "fetched")["skipped"]}
        self.assertEqual(reasons["a/pointer.jpg"], "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`")
        self.assertIn("a web page", reasons["a/page.png"])

    def test_moments_are_of_the_models_autoencoder(self):
        components = inspected(self.model)["components"]
        self.assertEqual(set(components), {"unet", "text_encoder", "vae"})
        self.assertGreater(min(c["parameters"] for c in components.values()), 0)
        vae = inspected(self.model / "vae/diffusion_pytorch_model.safetensors")
        self.assertEqual(vae["parameters"], components["vae"]["parameters"])
        moments = WORK / "moments"
        kessoku("prepare", self.images, "--out", moments, "--model", self.model, "--resolution", 64)
        manifest = json.loads((moments / "store.json").read_text())
        self.assertEqual(manifest["kept"], ["moments"])
        self.assertTrue(manifest["encoder"]["digest"])

    def test_a_damaged_model_is_65(self):
        damaged = Path(shutil.copytree(self.model, WORK / "damaged-model"))
        (damaged / "vae/diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 20)
        kessoku("inspect", damaged, expect=65)

    def options(self):
        """A folder of odd images, and what prepares it."""
        root = WORK / "options"
        if not root.exists():
            root.mkdir()
            pixels = np.random.default_rng(1).integers(0, 255, (100, 160, 3), np.uint8)
            Image.fromarray(pixels).save(root / "wide.png")
            Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(root / "clear.png")
            Image.new("1", (3000, 2000)).save(root / "bomb.png")
        return root, ("prepare", root, *SMALL, "--json", "--max-pixels", 5_000_000)

    def test_variants_buckets_background_and_the_pixel_limit(self):
        root, prepare = self.options()
        store, color = WORK / "variants", ("--background", "#ff8000")
        (WORK / "sizes.txt").write_text("96x64\n64x64\n")
        for buckets in ("96x64,64x64", WORK / "sizes.txt"):
            shutil.rmtree(store, ignore_errors=True)
            summary = json.loads(kessoku(*prepare, *color, "--variants", 4, "--out", store, "--buckets", buckets).stdout)
            self.assertEqual((summary["examples"], summary["skipped"][0]["source"]), (2, "bomb.png"))
            self.assertIn("3000x2000 pixels", summary["skipped"][0]["reason"])
            self.assert_variants(content(store))
        unchanged = kessoku(*prepare, *color, "--variants", 4, "--out", store, "--buckets", "96x64,64x64")
        self.assertTrue(json.loads(unchanged.stdout)["unchanged"])
        other = kessoku("prepare", root, *SMALL, "--json", *color, "--out", store, "--buckets", "96x64,64x64",
                        "--replace")
        self.assertEqual(json.loads(other.stdout)["encoded"], 3)
        self.assertEqual(content(store)["96x64"]["images"].shape[1], 1)
        kessoku("inspect", store, "--verify")

    def assert_variants(self, groups):
        self.assertEqual(set(groups), {"96x64", "64x64"})
        wide = groups["96x64"]
        rows = wide["images"][0]
        self.assertEqual((rows.shape, wide["row_checksum"].shape), ((4, 3, 64, 96), (1, 4)))
        np.testing.assert_array_equal(rows[1], rows[0][..., ::-1])
        np.testing.assert_array_equal(rows[3], rows[2][..., ::-1])
        self.assertTrue((rows[2] != rows[0]).any())
        self.assertEqual(wide["variant_flip"].tolist(), [[0, 1, 0, 1]])
        self.assertEqual(wide["crop"][0].tolist(), [5, 0, 155, 100])
        self.assertEqual(wide["variant_crop"][0, 0].tolist(), [5, 0, 155, 100])
        self.assertEqual(wide["variant_crop"][0, 2].tolist(), wide["variant_crop"][0, 3].tolist())
        background = np.array([255, 128, 0]).reshape(1, 1, 3, 1, 1)
        self.assertTrue((groups["64x64"]["images"] == background).all())

    def test_sides_of_other_trainers_buckets_are_multiples_of_64(self):
        root, _ = self.options()
        for resolution in (320, 1088):
            for table in ("everydream", "kohya"):
                with self.subTest(table, resolution=resolution):
                    store = WORK / f"{table}-{resolution}"
                    kessoku("prepare", root, "--out", store, "--keep", "images", "--resolution", resolution, "--buckets", table)
                    sides = [int(side) for bucket in content(store) for side in bucket.split("x")]
                    self.assertEqual({side % 64 for side in sides}, {0})

    def test_newer_or_damaged_stores_are_refused(self):
        """By readers and, if newer, by prepare."""
        store = self.copy_of_store("versions")
        text = (store / "store.json").read_text()
        prepare = ("prepare", self.images, "--out", store)
        for changed, words in ((text.replace('"version": 2', '"version": 3'), "newer kessoku"),
                               (text.replace('"multiply": 2.5', '"multiply": 3.5'), "checksum does not hold"),
                               (text[:len(text) // 2], "not valid JSON"),
                               (text.replace('"version": 2', '"version": 1'), "prepare it again")):
            self.assertNotEqual(text, changed)
            (store / "store.json").write_text(changed)
            self.assert_fails(65, words, "inspect", store)
            self.assert_fails(65, words, *prepare, "--keep", "images", "--captions-only")
            if "newer" in words:
                self.assert_fails(65, words, *prepare, *SMALL)
                self.assertEqual((store / "store.json").read_text(), changed)
        (store / "store.json").write_text(text)
        with h5py.File(store / json.loads(text)["shards"][0]["file"], "r+") as file:
            self.assertEqual(file.attrs["kessoku_store_version"], 2)
            file.attrs.modify("kessoku_store_version", 3)
        self.assert_fails(65, "newer kessoku", "inspect", store)
        with h5py.File(store / json.loads(text)["shards"][0]["file"], "r+") as file:
            file.attrs.modify("kessoku_store_version", 2)
        kessoku("inspect", store)

    def test_a_shard_that_is_cut_short_is_65(self):
        shard = self.copy_of_store("cut") / "shard-00000.h5"
        shard.write_bytes(shard.read_bytes()[:-1000])
        self.assert_fails(65, "cut short", "inspect", shard.parent)

    def test_wrong_use_is_64_and_one_line(self):
        images, none = self.images, ("--out", WORK / "none")
        root, _ = self.options()
        self.assert_fails(64, "--model", "prepare", images, *none)
        self.assert_fails(64, "did you mean 'images'", "prepare", images, *none, "--keep", "imgaes")
        self.assert_fails(64, "no such folder", "prepare", WORK / "nowhere", *none, "--keep", "images")
        self.assert_fails(64, "multiple of 64", "prepare", images, *none, "--keep", "images", "--resolution", 500)
        self.assert_fails(64, "no color", "prepare", root, *none, *SMALL, "--background", "mauve")
        self.assert_fails(64, "no size", "prepare", root, *none, *SMALL, "--buckets", "64x")
        self.assert_fails(64, "holds other files", "prepare", images, "--out", images, "--keep", "images")
        alike = WORK / "alike"  # names that only begin as a store's
        alike.mkdir()
        for name in ("shard-00001.png", "rows-1.txt", "store.json.bak"):
            shutil.copy(next(Path(images).rglob("*.png")), alike / name)
        before = sorted((file.name, file.read_bytes()) for file in alike.iterdir())
        self.assert_fails(64, "holds other files", "prepare", images, "--out", alike, "--keep", "images")
        self.assertEqual(sorted((file.name, file.read_bytes()) for file in alike.iterdir()), before)
        self.assert_fails(64, "no such file", "inspect", WORK / "nowhere")
        self.assert_fails(64, "neither a store", "inspect", images)


if __name__ == "__main__":
    run_tests()
