"""The reference run's mixture, from real files to planned draws.

    reference_run_test.py KESSOKU WORK_FOLDER

27,173 images of one or two pixels in weighted sub-folders become a store; the schedule of 48,000 steps of 4 draws is counted here
and compared with shares that are worked out here, as fractions. Prints what each folder was due and what it gets.
"""
import csv
import json
import pathlib
import struct
import sys
import unittest
import zlib
from collections import Counter
from fractions import Fraction

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "distributed"))
from harness import WORK, empty_work_folder, kessoku, run_tests

CHARACTERS = ("gotoh_hitori ijichi_nijika kita_ikuyo yamada_ryou ijichi_seika hiroi_kikuri pa-san gotoh_futari gotoh_michiyo "
              "gotoh_naoki shimizu_eliza iwashita_shima").split()
STEPS, GLOBAL_BATCH = 48_000, 4
SIZES = [(1, 1), (1, 1), (2, 1), (1, 1), (1, 2)]  # shapes take turns, so that there are three buckets


def split(total, names):
    """`total` over names, falling as 1, 1/2, 1/3 …"""
    whole = sum(Fraction(1, i + 1) for i in range(len(names)))
    counts = [int(total / whole / (i + 1)) for i in range(len(names))]
    counts[0] += total - sum(counts)
    return dict(zip(names, counts))


def below(folder, counts):
    return {f"{folder}/{name}": count for name, count in counts.items()}


# Images that lie in each folder itself.
IMAGES = {
    **below("screenshots/1_character", split(5000, CHARACTERS)),
    **below("screenshots/2_characters", split(1500, ["gotoh_hitori+kita_ikuyo", "ijichi_nijika+yamada_ryou", "character_others"])),
    "screenshots/3+_characters": 524,
    **below("fanart/solo", split(1330, CHARACTERS)),
    "fanart/group": 300,
    "regularization/style": 9000,
    "regularization/concepts": 19,  # beside sub-folders
    **below("regularization/concepts", split(9500, ["long_hair", "short_hair", "guitar", "drums", "stage", "street", "room"])),
}
# Of [mixture], and what each key means for single folders.
WEIGHTS = {"screenshots": 0.30, "fanart": 0.25, "regularization": 0.45, "screenshots/1_character": 3.0, "screenshots/2_characters": 1.5,
           "screenshots/*/kita_ikuyo": 2.0, "regularization/**/*hair": 0.7}
WEIGHT_OF = {"screenshots": "0.3", "fanart": "0.25", "regularization": "0.45", "screenshots/1_character": "3", "screenshots/2_characters": "1.5",
             "screenshots/1_character/kita_ikuyo": "2", "regularization/concepts/long_hair": "0.7", "regularization/concepts/short_hair": "0.7"}


def shares():
    """By folder: the share of its whole subtree; and that of its own images."""
    folders = {str(p) for path in IMAGES for p in pathlib.PurePosixPath(path).parents} | set(IMAGES)
    whole, own = {".": Fraction(1)}, {}
    for folder in sorted(folders, key=lambda path: (path != ".", path.count("/"), path)):
        children = [path for path in folders if path != "." and str(pathlib.PurePosixPath(path).parent) == folder]
        weights = {path: Fraction(WEIGHT_OF.get(path, "1")) for path in children}
        total = sum(weights.values()) + (1 if folder in IMAGES else 0)
        for path in children:
            whole[path] = whole[folder] * weights[path] / total
        if folder in IMAGES:
            own[folder] = whole[folder] / total
    return whole, own


def png(width, height, number):
    """The smallest PNG of one color, another one for each number."""
    def chunk(body):
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    pixels = b"".join(b"\0" + number.to_bytes(3, "big") * width for _ in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT" + zlib.compress(pixels)) + chunk(b"IEND"))


def write_tree(root):
    number = 0
    for folder, count in IMAGES.items():
        (root / folder).mkdir(parents=True)
        for i in range(count):
            (root / folder / f"{i:05}.png").write_bytes(png(*SIZES[i % len(SIZES)], number))
            number += 1
    return number


def plan_of(store):
    run_file = WORK / "run.toml"
    mixture = "\n".join(f'"{key}" = {weight}' for key, weight in WEIGHTS.items())
    run_file.write_text(f'seed = 555\n[model]\npath = "{WORK}/none"\n[data]\nstore = "{store}"\n[mixture]\n{mixture}\n'
                        f'[train]\ntarget = ["vae"]\nsteps = {STEPS}\nglobal_batch = {GLOBAL_BATCH}\nmicro_batch = {GLOBAL_BATCH}\n')
    plan = json.loads(kessoku("plan", run_file, "--json", "--schedule", WORK / "schedule.csv").stdout)
    with open(WORK / "schedule.csv", newline="") as file:
        draws = list(csv.DictReader(file))
    return plan, draws


class ReferenceRun(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        empty_work_folder()
        cls.written = write_tree(WORK / "set")
        cls.summary = json.loads(kessoku("prepare", WORK / "set", "--out", WORK / "store", "--keep", "images",
                                         "--buckets", "32x32,64x32,32x64", "--json").stdout)
        cls.plan, cls.draws = plan_of(WORK / "store")
        cls.by_image = Counter(draw["source"] for draw in cls.draws)
        cls.planned = {folder["path"]: folder for folder in cls.plan["categories"]}
        cls.whole_shares, cls.own_shares = shares()

    def test_all_images_are_prepared(self):
        self.assertEqual(self.written, 27_173)
        for top, count in ("screenshots", 7024), ("fanart", 1630), ("regularization", 18519):
            self.assertEqual(sum(n for path, n in IMAGES.items() if path.startswith(top)), count)
        self.assertEqual((self.summary["examples"], self.summary["skipped"]), (27_173, []))
        self.assertEqual([warning.split(" of ")[0].rpartition(": ")[0] for warning in self.summary["warnings"]],
                         ["images enlarged 2 times or more to fill their bucket", "images without a caption"])
        self.assertEqual(self.plan["examples"], 27_173)
        self.assertEqual(set(self.plan["buckets"]), {"32x32", "64x32", "32x64"})

    def test_each_step_holds_one_bucket(self):
        self.assertEqual((len(self.draws), self.plan["draws"]), (STEPS * GLOBAL_BATCH,) * 2)
        for begin in range(0, len(self.draws), GLOBAL_BATCH):
            buckets = {draw["bucket"] for draw in self.draws[begin:begin + GLOBAL_BATCH]}
            self.assertEqual(len(buckets), 1, f"draw {begin}")

    def test_each_folder_gets_its_share_within_six_draws(self):
        by_folder = Counter()
        for source, count in self.by_image.items():
            for folder in pathlib.PurePosixPath(source).parents:
                by_folder[str(folder)] += count
        self.assertEqual(self.planned.keys(), self.whole_shares.keys())
        print(f"{'folder':<50}{'share':>10}{'expected':>12}{'planned':>9}{'off by':>8}")
        for folder, share in sorted(self.whole_shares.items()):
            expected = float(share * STEPS * GLOBAL_BATCH)
            print(f"{folder:<50}{float(share):>10.6f}{expected:>12.2f}{by_folder[folder]:>9}{by_folder[folder] - expected:>8.2f}")
            self.assertLess(abs(self.planned[folder]["share"] - share), 1e-9, folder)
            self.assertEqual(self.planned[folder]["draws_planned"], by_folder[folder], folder)
            self.assertLess(abs(by_folder[folder] - expected), 6, folder)

    def test_each_image_gets_its_share_within_four_draws(self):
        furthest = 0
        for folder, share in self.own_shares.items():
            expected = float(share * STEPS * GLOBAL_BATCH / IMAGES[folder])
            counts = [self.by_image[f"{folder}/{i:05}.png"] for i in range(IMAGES[folder])]
            furthest = max(furthest, *(abs(count - expected) for count in counts))
            told = self.planned[folder]
            self.assertEqual((told["own_fewest_views"], told["own_most_views"]), (min(counts), max(counts)), folder)
        print(f"images: {len(self.by_image)} of 27173 drawn; none is further than {furthest:.2f} draws from its expectation")
        self.assertLess(furthest, 3.5)


if __name__ == "__main__":
    run_tests()
