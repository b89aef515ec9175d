#!/usr/bin/env python3
"""Makes the demo's dataset out of the bitmaps of Noto Color Emoji.

    make_demo_data.py OUT_DIR           2,717 captioned images to fine-tune on
    make_demo_data.py OUT_DIR --base    the images that the demo's base model is trained on

Twelve emoji play the characters of a series, each under a made-up name. As in a real collection there are
`screenshots/` (one to four characters in a scene), `fanart/` (one character, large) and `regularization/` (other
emoji). A `.txt` beside each image is its caption, `multiply.txt` weights a folder. The base set is composed in
the same way from the other emoji and shows none of the twelve. The same seed gives the same images.

Needs fontTools, Pillow, and the Debian packages fonts-noto-color-emoji and unicode-data.
"""
import argparse
import io
import json
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import Image

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
EMOJI_LIST = Path("/usr/share/unicode/emoji/emoji-test.txt")
SEED = 555

# Each name is a single token of CLIP's vocabulary and no part of any emoji's name.
CHARACTERS = {
    "maru": "🐼", "kiri": "🐸", "kita": "🦊", "momo": "🐷", "umi": "🐬", "hana": "🐥",
    "yuri": "🍆", "sakura": "🍓", "akira": "🤖", "kuro": "🎩", "kuma": "🐻", "miku": "🌵",
}

COLORS = {
    "red": (214, 62, 62), "orange": (240, 150, 60), "yellow": (245, 218, 90), "green": (92, 170, 92),
    "mint": (172, 232, 200), "teal": (40, 140, 150), "sky": (150, 210, 245), "blue": (66, 112, 210),
    "navy": (34, 44, 96), "purple": (140, 90, 190), "pink": (246, 176, 204), "brown": (130, 92, 64),
    "beige": (236, 220, 188), "gray": (150, 152, 158), "white": (246, 246, 246), "black": (26, 26, 30),
}

SHORT = 128  # pixels on an image's short side: twice what the demo trains on
WIDE, SQUARE, TALL = (228, SHORT), (SHORT, SHORT), (SHORT, 213)

# Shares of the total weight. The sub-folders of a folder not named here share its weight equally; in
# `regularization` every image has the same.
CATEGORY_SHARES = {"screenshots": 0.30, "fanart": 0.25, "regularization": 0.45}
SCENE_SHARES = {"1_character": 0.24, "2_characters": 0.52, "3_characters": 0.14, "4_characters": 0.10}


@dataclass
class Emoji:
    name: str
    char: str
    group: str
    subgroup: str
    image: Image.Image  # RGBA, cut to what is visible
    mean: tuple         # mean color of what is visible


def slug(text):
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def load_emoji():
    """All emoji of one code point with a bitmap in the font; no flags, no skin tones."""
    font = TTFont(FONT, lazy=True)
    glyph_of = font.getBestCmap()
    bitmaps = {}
    for strike in font["CBDT"].strikeData:
        bitmaps.update(strike)
    found, group, subgroup = [], "", ""
    for line in EMOJI_LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.split(":", 1)[1].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.split(":", 1)[1].strip()
        entry = re.match(r"([0-9A-F]+)(?: FE0F)?\s*; fully-qualified\s*# \S+ E[\d.]+ (.+)", line)
        if not entry or group in ("Flags", "Component"):
            continue
        code = int(entry[1], 16)
        bitmap = bitmaps.get(glyph_of.get(code))
        if bitmap is None:
            continue
        image = Image.open(io.BytesIO(bitmap.imageData)).convert("RGBA")
        image = image.crop(image.getchannel("A").getbbox())
        r, g, b, a = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        name = re.sub(r"\s+", " ", re.sub(r"[^a-z0-9 '-]+", " ", entry[2].lower())).strip()
        found.append(Emoji(name, chr(code), group, subgroup, image, (r, g, b)))
    return found


def far_from(color, cast):
    """Whether everybody in the cast can be seen on this background color."""
    return all(sum(abs(c - m) for c, m in zip(color, e.mean)) > 110 for e in cast)


def make_background(rng, size, cast):
    """A plain ground or a gradient, and its words: "red" (plain), "red to blue" (left to right) or "red over
    blue" (top to bottom)."""
    names = [n for n, c in COLORS.items() if far_from(c, cast)] or list(COLORS)

    def shade(name):
        light = rng.randint(-10, 10)
        return tuple(min(255, max(0, c + light + rng.randint(-6, 6))) for c in COLORS[name])

    if len(names) == 1 or rng.random() < 0.55:
        name = rng.choice(names)
        return Image.new("RGB", size, shade(name)), f"{name} background"
    first, second = rng.sample(names, 2)
    sideways = rng.random() < 0.5
    ramp = Image.linear_gradient("L")  # black above, white below
    ramp = (ramp.rotate(90) if sideways else ramp).resize(size)
    ground = Image.composite(Image.new("RGB", size, shade(second)), Image.new("RGB", size, shade(first)), ramp)
    return ground, f"{first} {'to' if sideways else 'over'} {second} background"


def put(ground, rng, emoji, center, extent, turn):
    """Draws the emoji with its longer side `extent` pixels, turned by up to `turn` degrees."""
    image = emoji.image
    scale = extent / max(image.size)
    image = image.resize([max(1, round(s * scale)) for s in image.size], Image.Resampling.LANCZOS)
    image = image.rotate(rng.uniform(-turn, turn), Image.Resampling.BICUBIC, expand=True)
    x = min(max(round(center[0] - image.width / 2), 0), max(ground.width - image.width, 0))
    y = min(max(round(center[1] - image.height / 2), 0), max(ground.height - image.height, 0))
    ground.paste(image, (x, y), image)


def scene(rng, cast):
    """A screenshot: the cast side by side, in the caption's order."""
    n = len(cast)
    width, height = size = WIDE if n > 2 or rng.random() < 0.5 else SQUARE
    ground, words = make_background(rng, size, cast)
    slot = width / n
    for i, emoji in enumerate(cast):
        extent = rng.uniform(0.84, 0.96) * slot if slot < height else rng.uniform(0.62, 0.86) * height
        room_x, room_y = max(slot - extent, 0), height - extent
        center = ((i + 0.5) * slot + rng.uniform(-0.3, 0.3) * room_x, height / 2 + rng.uniform(-0.35, 0.35) * room_y)
        put(ground, rng, emoji, center, extent, turn=6)
    return ground, f"{' and '.join(e.name for e in cast)}, screenshot, {words}"


def portrait(rng, emoji, kind, shapes, extent, turn):
    """One emoji in the middle."""
    size = rng.choice(shapes)
    ground, words = make_background(rng, size, [emoji])
    center = [s / 2 + rng.uniform(-0.05, 0.05) * s for s in size]
    put(ground, rng, emoji, center, rng.uniform(*extent) * SHORT, turn)
    return ground, f"{emoji.name}, {kind}, {words}"


def fanart(rng, emoji):
    return portrait(rng, emoji, "fanart", [SQUARE, WIDE, TALL], (0.86, 0.98), turn=10)


def single(rng, emoji):
    return portrait(rng, emoji, "emoji", [SQUARE], (0.70, 0.90), turn=4)


class Writer:
    """Numbers the images of each folder and writes them, every other one as JPEG."""

    def __init__(self, root):
        self.root, self.count = root, {}

    def add(self, folder, image, caption):
        number = self.count[folder] = self.count.get(folder, 0) + 1
        path = self.root / folder
        path.mkdir(parents=True, exist_ok=True)
        if number % 2:
            image.save(path / f"{number:04}.jpg", quality=94, subsampling=0)
        else:
            image.save(path / f"{number:04}.png", compress_level=1)
        (path / f"{number:04}.txt").write_text(caption + "\n", encoding="utf-8")

    def write_multipliers(self):
        """multiply.txt per folder of images, so that p(image) ∝ multiplier gives the shares; least = 1."""
        weight = {}
        for folder, n in self.count.items():
            parts = folder.split("/")
            share = CATEGORY_SHARES[parts[0]]
            if parts[0] == "regularization":
                weight[folder] = share / sum(m for f, m in self.count.items() if f.startswith(parts[0]))
                continue
            if parts[0] == "screenshots":
                share *= SCENE_SHARES[parts[1]]
            siblings = sum(f.rsplit("/", 1)[0] == folder.rsplit("/", 1)[0] for f in self.count)
            weight[folder] = share / siblings / n
        least = min(weight.values())
        for folder, w in weight.items():
            (self.root / folder / "multiply.txt").write_text(f"{w / least:.12f}\n")


def make_finetune_set(out, rng, cast, others):
    names = list(cast)
    plan = [[n] for n in names for _ in range(16)]
    plan += [[a, b] for a in names for b in names if a != b for _ in range(2)]
    plan += [rng.sample(names, 3) for _ in range(150)]
    plan += [rng.sample(names, 4) for _ in range(96)]
    for who in plan:
        folder = f"screenshots/{len(who)}_character{'s' if len(who) > 1 else ''}/{'+'.join(who)}"
        out.add(folder, *scene(rng, [cast[n] for n in who]))
    for i in range(163):
        name = names[i % len(names)]
        out.add(f"fanart/{name}", *fanart(rng, cast[name]))
    for emoji in (others + rng.sample(others, len(others)))[:1852]:
        out.add(f"regularization/{slug(emoji.group)}/{slug(emoji.subgroup)}", *single(rng, emoji))
    out.write_multipliers()


def make_base_set(out, rng, others):
    def in_turn(n):
        """n emoji, each as often as the others."""
        return [e for _ in range(-(-n // len(others))) for e in rng.sample(others, len(others))][:n]

    for emoji in in_turn(2 * len(others)):
        out.add(f"single/{slug(emoji.group)}", *single(rng, emoji))
    for emoji in in_turn(len(others)):
        out.add(f"fanart/{slug(emoji.group)}", *fanart(rng, emoji))
    for n, images in ((1, 2000), (2, 3000), (3, 800), (4, 600)):
        players = iter(in_turn(n * images))
        for _ in range(images):
            out.add(f"screenshots/{n}", *scene(rng, [next(players) for _ in range(n)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="a folder that does not exist yet, or is empty")
    parser.add_argument("--base", action="store_true", help="make the base model's dataset instead")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed gives other images (default %(default)s)")
    args = parser.parse_args()
    for path, package in ((FONT, "fonts-noto-color-emoji"), (EMOJI_LIST, "unicode-data")):
        if not path.exists():
            sys.exit(f"make_demo_data: {path} is missing; install the Debian package {package}")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        sys.exit(f"make_demo_data: {args.out} is not an empty folder; name a new one")

    emoji = load_emoji()
    name_of = {char: name for name, char in CHARACTERS.items()}
    cast = {e.char: e for e in emoji if e.char in name_of}
    cast = {n: Emoji(n, c, cast[c].group, cast[c].subgroup, cast[c].image, cast[c].mean) for n, c in CHARACTERS.items()}
    others = [e for e in emoji if e.char not in name_of]
    rng, out = random.Random(args.seed), Writer(args.out)
    if args.base:
        make_base_set(out, rng, others)
    else:
        make_finetune_set(out, rng, cast, others)
    about = {"seed": args.seed, "pictures": sum(out.count.values()), "other_emoji": len(others),
             "characters": [] if args.base else [
                 {"name": n, "emoji": e.char, "backgrounds": [b for b, c in COLORS.items() if far_from(c, [e])]}
                 for n, e in cast.items()]}
    (args.out / "dataset.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{about['pictures']} images in {args.out}")


if __name__ == "__main__":
    main()
