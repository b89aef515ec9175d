#!/usr/bin/env python3
"""Measures whether the demo's images show who the prompt names.

    demo_measure.py prompts DATASET OUT_DIR         writes singles.txt and pairs.txt (a prompt a line) and prompts.json
    demo_measure.py score DATASET PROMPTS.json --singles DIR --pairs DIR [--out FILE] [--label TEXT]

DATASET is what make_demo_data.py wrote. The folders of samples hold 00000.png, 00001.png, … in prompt order;
either may be left out.

    demo_measure.py join FILE SCORE.json...         puts the figures of several scores into one file, for the report

The measure: the background of an image, which is plain or a gradient in all of the dataset, is fitted to the
image's border as a plane in each color. What differs from it is the figure. The figure is cut out, scaled to
16 x 16 pixels and put on mid gray, so that neither the ground nor place and size decide. It is then compared, by
mean squared difference of RGB and of shape, with every training image that shows one character alone; the
nearest one says who it is. With 12 characters chance is 8 %. Of a pair the left and the right half are taken, and
both must be who the prompt names on that side.
"""
import argparse
import json
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 16            # pixels, of the figures that are compared
WORK = 64            # pixels on the short side at which images are looked at
NOTHING = 0.012      # share of an image's area below which no figure is there
SHAPE_WEIGHT = 0.5   # of the shape's difference, against the colors'


def load(path):
    """The image as (H, W, 3) floats of 0…1, short side WORK."""
    try:
        image = Image.open(path).convert("RGB")
    except (OSError, ValueError) as error:
        sys.exit(f"demo_measure: cannot read {path}: {error}")
    scale = WORK / min(image.size)
    image = image.resize([round(s * scale) for s in image.size], Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float64) / 255


def figure_mask(pixels):
    """How much each pixel belongs to a figure, 0…1, (H, W).

    The ground is a plane fitted to the border, three times, each time without the quarter that fits worst, so
    that a figure that touches the border does not count as ground.
    """
    height, width, _ = pixels.shape
    y, x = np.mgrid[0:height, 0:width]
    design = np.stack([np.ones_like(x), x / width, y / height], -1).astype(float)
    border = np.zeros((height, width), bool)
    border[:2], border[-2:], border[:, :2], border[:, -2:] = True, True, True, True
    a, b = design[border], pixels[border]
    keep = np.ones(len(a), bool)
    for _ in range(4):
        plane, *_ = np.linalg.lstsq(a[keep], b[keep], rcond=None)
        miss = np.abs(a @ plane - b).sum(-1)
        keep = miss <= np.quantile(miss, 0.75) + 1e-6
    difference = np.abs(design @ plane - pixels).max(-1)
    return np.clip((difference - 0.08) / 0.08, 0, 1)


def extent(profile, cut=0.03):
    """First and last index of a profile of masses, without the outer `cut` on each side."""
    total = np.cumsum(profile) / profile.sum()
    return int(np.searchsorted(total, cut)), int(np.searchsorted(total, 1 - cut)) + 1


def figure(pixels, mask):
    """The figure as a vector: SIDE x SIDE of RGB on gray and of shape; None where there is nothing."""
    if mask.mean() < NOTHING:
        return None
    left, right = extent(mask.sum(0))
    top, bottom = extent(mask.sum(1))
    # A square around the figure keeps its proportions.
    half = max(right - left, bottom - top) / 2 * 1.08
    cx, cy = (left + right) / 2, (top + bottom) / 2
    box = [cx - half, cy - half, cx + half, cy + half]
    on_gray = np.concatenate([(pixels - 0.5) * mask[..., None], mask[..., None]], -1)

    def cut(plane):
        pad = WORK  # so that the square may reach beyond the image
        image = Image.fromarray(np.pad(plane, pad).astype(np.float32))
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX, box=[v + pad for v in box]))

    planes = np.stack([cut(on_gray[..., c]) for c in range(4)], -1)
    planes[..., 3] *= SHAPE_WEIGHT
    return planes.ravel()


def whole(path):
    pixels = load(path)
    return figure(pixels, figure_mask(pixels))


def halves(path):
    """The figures of the left and of the right half, the ground being that of the whole image."""
    pixels = load(path)
    mask = figure_mask(pixels)
    middle = pixels.shape[1] // 2
    return [figure(pixels[:, s], mask[:, s]) for s in (slice(0, middle), slice(middle, None))]


class Gallery:
    """All training images of one character alone, as figures."""

    def __init__(self, dataset):
        self.names = [c["name"] for c in read_json(dataset / "dataset.json")["characters"]]
        vectors, self.owner = [], []
        for i, name in enumerate(self.names):
            folders = [dataset / "screenshots" / "1_character" / name, dataset / "fanart" / name]
            files = [f for folder in folders if folder.is_dir() for f in sorted(folder.iterdir())]
            found = [whole(f) for f in files if f.suffix in (".png", ".jpg")]
            found = [v for v in found if v is not None]
            if not found:
                sys.exit(f"demo_measure: no images of {name} under {dataset}; make the dataset again")
            vectors += found
            self.owner += [i] * len(found)
        self.vectors, self.owner = np.stack(vectors), np.array(self.owner)

    def name(self, vector):
        """Who is nearest; None for no figure."""
        if vector is None:
            return None
        return self.names[self.owner[np.argmin(((self.vectors - vector) ** 2).sum(-1))]]


def read_json(path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"demo_measure: cannot read {path}: {error}")


def write_prompts(args):
    """8 prompts for each character alone, 48 for pairs."""
    about = read_json(args.dataset / "dataset.json")
    allowed = {c["name"]: c["backgrounds"] for c in about["characters"]}  # on which the character can be seen
    names, rng, used = list(allowed), random.Random(12), {}

    def prompt(cast):
        """On the ground that was used least so far."""
        grounds = [g for g in allowed[cast[0]] if all(g in allowed[n] for n in cast)]
        ground = min(rng.sample(grounds, len(grounds)), key=lambda g: used.get(g, 0))
        used[ground] = used.get(ground, 0) + 1
        return {"prompt": f"{' and '.join(cast)}, screenshot, {ground} background", "characters": cast}

    singles = [[n] for n in names for _ in range(8)]
    pairs = rng.sample([[a, b] for a in names for b in names if a != b], 48)

    args.out.mkdir(parents=True, exist_ok=True)
    record = {}
    for kind, casts in (("singles", singles), ("pairs", pairs)):
        record[kind] = [prompt(c) for c in casts]
        (args.out / f"{kind}.txt").write_text("".join(p["prompt"] + "\n" for p in record[kind]), encoding="utf-8")
    (args.out / "prompts.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(singles)} single and {len(pairs)} pair prompts in {args.out}")


def samples(folder, prompts):
    """(image, characters) for each prompt."""
    images = [folder / f"{i:05}.png" for i in range(len(prompts))]
    missing = [p for p in images if not p.exists()]
    if missing:
        sys.exit(f"demo_measure: {len(missing)} of {len(images)} images are missing, first {missing[0]}")
    return [(image, prompt["characters"]) for image, prompt in zip(images, prompts)]


def score(args):
    if not args.singles and not args.pairs:
        sys.exit("demo_measure: name --singles DIR, --pairs DIR or both")
    gallery, prompts = Gallery(args.dataset), read_json(args.prompts)
    prefix = f"{args.label}: " if args.label else ""
    result = {"figures": [], "per_character": {n: {} for n in gallery.names}, "mistaken": []}

    def add(label, hits, of, target, note):
        result["figures"].append({"label": prefix + label, "value": round(100 * hits / of, 1), "unit": "%", "target": target,
                                  "note": f"{hits} of {of}; {note}"})
        print(f"{prefix}{label}: {hits} of {of} = {100 * hits / of:.1f} % ({note})")

    def tally(kind, wanted, got, image):
        entry = result["per_character"][wanted].setdefault(kind, {"found": 0, "of": 0})
        entry["of"] += 1
        entry["found"] += wanted == got
        if wanted != got:
            result["mistaken"].append({"image": f"{kind}/{image.name}", "wanted": wanted, "nearest": got})
        return wanted == got

    if args.singles:
        shown = samples(args.singles, prompts["singles"])
        hits = sum(tally("singles", who[0], gallery.name(whole(image)), image) for image, who in shown)
        add("single characters recognized", hits, len(shown), 80, "nearest training image at 16 x 16 pixels; chance 8 %")
    if args.pairs:
        shown = samples(args.pairs, prompts["pairs"])
        found = [[tally("pairs", w, gallery.name(v), image) for w, v in zip(who, halves(image))] for image, who in shown]
        add("pairs with both characters", sum(all(f) for f in found), len(found), 50, "left and right as named; chance 0.7 %")
        add("characters found in pairs", sum(map(sum, found)), 2 * len(found), None, "each half by itself; chance 8 %")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def join(args):
    parts = [read_json(part) for part in args.parts]
    joined = {"figures": [figure for part in parts for figure in part["figures"]], "per_character": parts[-1]["per_character"]}
    args.out.write_text(json.dumps(joined, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    prompts = commands.add_parser("prompts", help="write the prompts to sample")
    prompts.add_argument("dataset", type=Path)
    prompts.add_argument("out", type=Path, metavar="OUT_DIR")
    prompts.set_defaults(run=write_prompts)
    scores = commands.add_parser("score", help="measure the samples")
    scores.add_argument("dataset", type=Path)
    scores.add_argument("prompts", type=Path, metavar="PROMPTS.json")
    scores.add_argument("--singles", type=Path, metavar="DIR", help="samples of singles.txt")
    scores.add_argument("--pairs", type=Path, metavar="DIR", help="samples of pairs.txt")
    scores.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON, for the report")
    scores.add_argument("--label", default="", help="goes before each figure's name, such as 'before fine-tuning'")
    scores.set_defaults(run=score)
    joins = commands.add_parser("join", help="put the figures of several scores into one file, for the report")
    joins.add_argument("out", type=Path, metavar="FILE")
    joins.add_argument("parts", type=Path, metavar="SCORE.json", nargs="+")
    joins.set_defaults(run=join)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
