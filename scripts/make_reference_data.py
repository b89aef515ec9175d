#!/usr/bin/env python3
"""Makes a dataset of the reference run's size and shape out of the demo's scenes.

    make_reference_data.py OUT_DIR              27,173 captioned images
    make_reference_data.py OUT_DIR --divide 200 the same in small, for tests

The tree has the hierarchy of anime_screenshot_pipeline, category / number of characters / characters / source: 7,024
`screenshots`, 1,630 of `fanart` and 18,519 for `regularization`. The characters are those of make_demo_data.py; two of
them are called by trigger words that share two of their three tokens. As in a real collection the first characters
are in many images and the last ones in few. `multiply.txt` weights each folder such that categories, numbers of
characters, and the folders of characters get the shares below whatever they hold. An eighth of all combinations of
characters is in no image: `dataset.json` lists them, for prompts that nothing was trained on.
"""
import argparse
import itertools
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

from make_demo_data import COLORS, CHARACTERS, EMOJI_LIST, FONT, SEED, fanart, far_from, load_emoji, scene, single, slug

# Instead of the demo's kiri and momo: the words share two of three tokens in CLIP's vocabulary.
TRIGGER_WORDS = {"kiri": "Bemo1", "momo": "Bemo2"}

# Images by category and number of characters.
COUNTS = {
    "screenshots": {1: 4024, 2: 1600, 3: 800, 4: 600},
    "fanart": {1: 1330, 2: 300},
    "regularization": {1: 12519, 2: 3000, 3: 1800, 4: 1200},
}
# Shares of the total weight, and within a category; in `regularization` every image has the same.
CATEGORY_SHARES = {"screenshots": 0.30, "fanart": 0.25, "regularization": 0.45}
NUMBER_SHARES = {"screenshots": {1: 0.24, 2: 0.36, 3: 0.20, 4: 0.20}, "fanart": {1: 0.60, 2: 0.40}}
SOURCES = {"screenshots": ["ep01", "ep02", "ep03", "ep04", "ep05", "ep06"], "fanart": ["booru", "gallery"]}
LEFT_OUT = 1 / 8  # of the combinations of two, three and four characters


def load_cast():
    """The characters by the names that captions use, and all other emoji."""
    emoji = load_emoji()
    by_char = {e.char: e for e in emoji}
    named = {TRIGGER_WORDS.get(name, name): char for name, char in CHARACTERS.items()}
    cast = {name: replace(by_char[char], name=name) for name, char in named.items()}
    return cast, [e for e in emoji if e.char not in CHARACTERS.values()]


def unseen_combinations(names):
    """Of two, three and four names; the same whatever the seed of the images."""
    rng, unseen = random.Random(12), set()
    for size in 2, 3, 4:
        all_of_size = list(itertools.combinations(sorted(names), size))
        unseen |= set(rng.sample(all_of_size, round(LEFT_OUT * len(all_of_size))))
    return unseen


def split(total, parts):
    """`total` over parts, falling as 1, 1/2, 1/3 …, each at least 1."""
    whole = sum(1 / (i + 1) for i in range(parts))
    counts = [max(1, int(total / whole / (i + 1))) for i in range(parts)]
    counts[0] += total - sum(counts)
    return counts


def draw_cast(rng, names, size, unseen):
    """So many different names, the first ones more often, in any order; no combination that is left out."""
    weights = [1 / (i + 1) ** 0.5 for i in range(len(names))]
    while True:
        found = []
        while len(found) < size:
            name = rng.choices(names, weights)[0]
            if name not in found:
                found.append(name)
        if tuple(sorted(found)) not in unseen:
            return found


class Writer:
    """Numbers the images of each folder and writes them with their captions; every tenth as PNG."""

    def __init__(self, root):
        self.root, self.count, self.written = root, {}, 0

    def add(self, folder, image, caption):
        number = self.count[folder] = self.count.get(folder, 0) + 1
        path = self.root / folder
        path.mkdir(parents=True, exist_ok=True)
        if self.written % 10 == 9:
            image.save(path / f"{number:04}.png", compress_level=1)
        else:
            image.save(path / f"{number:04}.jpg", quality=92, subsampling=0)
        (path / f"{number:04}.txt").write_text(caption + "\n", encoding="utf-8")
        self.written += 1

    def write_multipliers(self):
        """multiply.txt in each folder of images, so that p(image) ∝ multiplier gives the shares; least = 1."""
        weight = self.weights()
        least = min(weight.values())
        for folder, w in weight.items():
            (self.root / folder / "multiply.txt").write_text(f"{w / least:.12f}\n")

    def weights(self):
        """Of one image of each folder."""
        images = {}  # category, or folder of characters → its images
        for folder, n in self.count.items():
            for key in folder.split("/")[0], folder.rsplit("/", 1)[0]:
                images[key] = images.get(key, 0) + n
        weight = {}
        for folder in self.count:
            category, number, characters = folder.rsplit("/", 1)[0].split("/")
            share = CATEGORY_SHARES[category]
            if category == "regularization":
                weight[folder] = share / images[category]
                continue
            siblings = sum(key.startswith(f"{category}/{number}/") for key in images)
            share *= NUMBER_SHARES[category][int(number[0])]
            weight[folder] = share / siblings / images[f"{category}/{number}/{characters}"]
        return weight


def folder_of(category, names, source):
    number = f"{len(names)}_character{'s' if len(names) > 1 else ''}"
    return f"{category}/{number}/{'+'.join(sorted(names))}/{source}"


def make_set(out, rng, cast, others, divide):
    names = list(cast)
    unseen = unseen_combinations(names)

    def count(category, number):
        return max(len(names), round(COUNTS[category][number] / divide))

    def picture_of(category, number):
        """Casts of so many images of a category, each with its source."""
        if number == 1:
            casts = [[name] for name, n in zip(names, split(count(category, 1), len(names))) for _ in range(n)]
        else:
            casts = [draw_cast(rng, names, number, unseen) for _ in range(count(category, number))]
        return [(who, rng.choice(SOURCES[category])) for who in casts]

    for number in COUNTS["screenshots"]:
        for who, source in picture_of("screenshots", number):
            out.add(folder_of("screenshots", who, source), *scene(rng, [cast[n] for n in who]))
    for number in COUNTS["fanart"]:
        for who, source in picture_of("fanart", number):
            image, caption = fanart(rng, cast[who[0]]) if number == 1 else scene(rng, [cast[n] for n in who])
            out.add(folder_of("fanart", who, source), image, caption.replace("screenshot", "fanart"))
    for number in COUNTS["regularization"]:
        for i in range(count("regularization", number)):
            if number == 1:
                emoji = others[i % len(others)]
                image, caption = single(rng, emoji) if rng.random() < 0.7 else fanart(rng, emoji)
                folder = f"regularization/1_character/{slug(emoji.group)}/{slug(emoji.subgroup)}"
            else:
                image, caption = scene(rng, rng.sample(others, number))
                folder = f"regularization/{number}_characters/others/part_{i % 3 + 1}"
            out.add(folder, image, caption)
    out.write_multipliers()
    return unseen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="a folder that does not exist yet, or is empty")
    parser.add_argument("--divide", type=int, default=1, help="only one in so many images (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed gives other images (default %(default)s)")
    args = parser.parse_args()
    for path, package in ((FONT, "fonts-noto-color-emoji"), (EMOJI_LIST, "unicode-data")):
        if not path.exists():
            sys.exit(f"make_reference_data: {path} is missing; install the Debian package {package}")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        sys.exit(f"make_reference_data: {args.out} is not an empty folder; name a new one")

    cast, others = load_cast()
    out = Writer(args.out)
    unseen = make_set(out, random.Random(args.seed), cast, others, args.divide)
    about = {"seed": args.seed, "images": out.written, "unseen": sorted(map(list, unseen)),
             "characters": [{"name": n, "emoji": e.char, "backgrounds": [b for b, c in COLORS.items() if far_from(c, [e])]}
                            for n, e in cast.items()]}
    (args.out / "dataset.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{out.written} images in {args.out}")


if __name__ == "__main__":
    main()
