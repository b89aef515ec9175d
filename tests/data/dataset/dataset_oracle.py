"""Random datasets and what their trainers make of them: dataset_oracle.py OUT SEED COUNT

Writes OUT/N/DIALECT/... and OUT/N/DIALECT.json for each N < COUNT. The rules are those of the trainers, written anew from their
documented behavior; where Kessoku means to differ (docs/datasets.md) a comment says so."""
import csv
import fnmatch
import json
import os
import random
import sys
from pathlib import Path

import yaml

WORDS = ["1girl", "solo", "long hair", "結束バンド", "が", "a girl, standing", "x", "blue_eyes", "wa \u3000", "42", "guitar\nsecond line", "yes"]
NAMES = ["a", "b c", "結束", "が", "n_1", "1_character", "10_x", "Kita Ikuyo", "d.e", "2+_characters"]
EXTENSIONS = [".png", ".jpg", ".JPEG", ".webp", ".Bmp", ".jfif"]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, p):
        return self.random.random() < p

    def number(self):
        return self.random.choice([0, 0.5, 1, 2, 1.76, 6.31, 10, 250.0])

    def text(self):
        parts = [self.random.choice(["", " ", "\n"]) + self.random.choice(WORDS) + self.random.choice(["", " ", "  "])
                 for _ in range(self.random.randint(0, 5))]
        return ",".join(parts)

    def config(self, depth=0):
        config = {}
        if self.chance(0.5):
            config["main_prompt"] = self.random.choice([*WORDS, "", None, self.random.sample(WORDS, 2)])
        if self.chance(0.6):
            config["tags"] = [self.random.choice([word, {"tag": word}, {"tag": word, "weight": self.number()}, None])
                              for word in self.random.choices(WORDS, k=self.random.randint(0, 5))]
        for key, values in {"multiply": [0.5, 2, 3.25], "cond_dropout": [0, 0.1, 1], "flip_p": [0, 0.5], "loss_scale": [0, -1, 0.5],
                            "batch_id": ["one", "two", None], "shuffle_tags": [True, False, None],
                            "max_caption_length": [10, 2048]}.items():
            if self.chance(0.25):
                config[key] = self.random.choice(values)
        if depth < 2 and self.chance(0.15):
            config["caption"] = self.config(depth + 1) if self.chance(0.5) else self.text()
        return config

    def yaml(self):
        return yaml.safe_dump(self.config(), allow_unicode=self.chance(0.5), default_flow_style=self.random.choice([True, False, None]))

    def folders(self, root, depth=0):
        yield root
        if depth < 3:
            for name in self.random.sample(NAMES, self.random.randint(0, 3)):
                yield from self.folders(root / name, depth + 1)

    def images(self, folder, some):
        stems = self.random.sample(["one", "two, tag", "three_1", "four_(x)", "五 , six", "a_b_1_2_3_4", "_z"], self.random.randint(some, 4))
        for stem in stems:
            write(folder / (stem + self.random.choice(EXTENSIONS)), "x")
            yield folder / stem


def split(text):
    """Main prompt and tags of a text. Empty tags are left out (EveryDream2 keeps them)."""
    first, *rest = [part.strip() for part in text.split(",")]
    return [first] if first else [], [(tag, 1.0) for tag in rest if tag]


def decode(data):
    return data.decode("utf-8").replace("\r\n", "\n")


class Config:
    """What one source says, as EveryDream2 has it."""
    SCALARS = ["multiply", "cond_dropout", "flip_p", "loss_scale", "batch_id", "max_caption_length"]

    def __init__(self, prompts=(), tags=(), shuffle=False, **scalars):
        self.prompts, self.tags, self.shuffle = list(dict.fromkeys(prompts)), list(dict.fromkeys(tags)), shuffle
        self.scalars = {key: scalars.get(key) for key in self.SCALARS}

    def under(self, later):
        # Any source that asks for shuffling is enough, also a folder above one without a global.yaml.
        merged = Config([*later.prompts, *self.prompts], [*later.tags, *self.tags], self.shuffle or later.shuffle)
        merged.scalars = {key: later.scalars[key] if later.scalars[key] is not None else self.scalars[key] for key in self.SCALARS}
        return merged

    @staticmethod
    def of(data):
        data = data or {}
        prompts = data.get("main_prompt") or []
        prompts = [prompts] if isinstance(prompts, str) else [prompt for prompt in prompts if prompt]
        tags = []
        for tag in data.get("tags") or []:
            if isinstance(tag, dict):
                weight = tag.get("weight")
                tags.append((tag["tag"], 1.0 if weight is None else float(weight)))
            elif tag is not None:
                tags.append((tag, 1.0))
        config = Config(prompts, tags, bool(data.get("shuffle_tags")), **{key: data.get(key) for key in Config.SCALARS})
        caption = data.get("caption")
        if isinstance(caption, dict):
            return config.under(Config.of(caption)) if caption else config
        return config.under(Config(*split(caption))) if caption else config


def everydream2(root):
    found = []

    def read(path):
        data = decode(path.read_bytes())
        return Config.of(yaml.safe_load(data)) if path.suffix in (".yaml", ".yml") else Config(*split(data))

    def visit(folder, above):
        files = {path.name: path for path in folder.iterdir() if path.is_file()}
        number = lambda name: float(files[name].read_text())
        for name in ("global.yaml", "global.yml"):
            if name in files:
                above = above.under(read(files[name]))
        here = above
        for name, key in (("multiply.txt", "multiply"), ("cond_dropout.txt", "cond_dropout"), ("flip_p.txt", "flip_p")):
            if name in files:
                here = here.under(Config(**{key: number(name)}))
        for name in ("local.yaml", "local.yml"):
            if name in files:
                here = here.under(read(files[name]))
        if "batch_id.txt" in files:
            here = here.under(Config(batch_id=files["batch_id.txt"].read_text().strip()))  # EveryDream2 does not strip it
        if "loss_scale.txt" in files:
            here = here.under(Config(loss_scale=number("loss_scale.txt")))
        here = here.under(Config(shuffle="shuffle_tags.txt" in files))
        for name, path in files.items():
            stem, extension = os.path.splitext(name)
            if extension.lower() not in (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".jfif"):
                continue
            config = here
            for sidecar in (".txt", ".caption", ".yml", ".yaml"):
                if stem + sidecar in files:
                    config = config.under(read(files[stem + sidecar]))
            if not config.prompts:
                config = config.under(Config(*split(stem.split("_")[0])))
            tags = sorted(config.tags, key=lambda tag: tag[1], reverse=True)
            parts = [(prompt, 1.0) for prompt in config.prompts[:1]] + tags
            scalars = {key: value for key, value in config.scalars.items() if value is not None}
            found.append({"source": path.relative_to(root).as_posix(), "caption": ", ".join(part for part, _ in parts), "parts": parts,
                          "shuffle_tags": config.shuffle, **scalars})
        for path in folder.iterdir():
            if path.is_dir():
                visit(path, above)

    visit(root, Config())
    return {"examples": found}


def make_everydream2(make, root):
    for folder in make.folders(root):
        folder.mkdir(parents=True, exist_ok=True)
        for name, chance in (("global.yaml", 0.25), ("global.yml", 0.1), ("local.yaml", 0.25), ("local.yml", 0.1)):
            if make.chance(chance):
                write(folder / name, make.yaml())
        for name in ("multiply.txt", "loss_scale.txt"):
            if make.chance(0.3):
                write(folder / name, f" {make.number()}\n")
        for name in ("cond_dropout.txt", "flip_p.txt"):
            if make.chance(0.3):
                write(folder / name, str(make.random.choice([0, 0.04, 1])))
        if make.chance(0.2):
            write(folder / "batch_id.txt", "family\n")
        if make.chance(0.2):
            write(folder / "shuffle_tags.txt", "")
        for stem in make.images(folder, 1 if folder == root else 0):
            for sidecar, content in ((".txt", make.text), (".caption", make.text), (".yml", make.yaml), (".yaml", make.yaml)):
                if make.chance(0.3):
                    write(stem.parent / (stem.name + sidecar), content())


def everydream1(root):
    found = []
    for folder, _, files in os.walk(root):
        multiply = 1
        if "multiply.txt" in files:
            try:
                multiply = int(float(Path(folder, "multiply.txt").read_text().strip()))
            except (ValueError, OverflowError):
                pass
        for name in files:
            stem, extension = os.path.splitext(name)
            # Extensions in capitals are taken, with a warning (EveryDream1 does not see them).
            if extension.lower() not in (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".jfif"):
                continue
            caption = stem.split("_")[0]
            for sidecar in (".txt", ".caption"):
                if stem + sidecar in files:
                    try:
                        caption = decode(Path(folder, stem + sidecar).read_bytes())
                    except UnicodeDecodeError:
                        pass
                    break
            found.append({"source": Path(folder, name).relative_to(root).as_posix(), "caption": caption.strip(), "multiply": max(0, multiply)})
    return {"examples": found}


def make_everydream1(make, root):
    for folder in make.folders(root):
        folder.mkdir(parents=True, exist_ok=True)
        if make.chance(0.6):
            write(folder / "multiply.txt", make.random.choice([" 1.76\n", "6.99", "0.99", "-2", "many", "", "1e3", "inf", "2"]))
        for stem in make.images(folder, 1 if folder == root else 0):
            for sidecar in (".txt", ".caption"):
                if make.chance(0.3):
                    write(stem.parent / (stem.name + sidecar), b"caf\xe9" if make.chance(0.1) else make.text())


def kohya(root):
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        repeats, _, words = folder.name.partition("_")
        try:
            repeats = int(repeats)
        except ValueError:
            continue
        if repeats < 1:
            continue
        files = {path.name for path in folder.iterdir() if path.is_file()}
        for name in files:
            stem, extension = os.path.splitext(name)
            if extension.lower() not in (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".jfif"):  # kohya's scripts do not read .jfif
                continue
            without_face = "_".join(stem.split("_")[:-4]) if len(stem.split("_")) >= 5 else stem
            caption = words
            # kohya's scripts read one of the two extensions, which the command line names.
            captions = [candidate + extension for extension in (".caption", ".txt") for candidate in (stem, without_face)]
            for sidecar in captions:
                if sidecar in files:
                    text = decode((folder / sidecar).read_bytes())
                    if text.strip():  # the scripts stop at an empty file
                        caption = text.split("\n")[0].strip()
                    break
            found.append({"source": f"{folder.name}/{name}", "caption": caption.strip(), "multiply": repeats})
    return {"examples": found}


def make_kohya(make, root):
    names = ["10_bocchi girl", "1_x_y", "3", "0_never", "-1_never", "x_1", "2.5_never", "07_seven", "+4_four"]
    for name in ["5_always", *make.random.sample(names, 5)]:
        (root / name).mkdir(parents=True)
        for stem in make.images(root / name, 1):
            for sidecar in (".txt", ".caption"):
                if make.chance(0.4):
                    write(stem.parent / (make.random.choice([stem.name, "a_b"]) + sidecar), make.text())


def screenshot_pipeline(root, weights_file):
    with open(weights_file, newline="") as file:
        weights = dict(csv.reader(file))

    def weight(path):
        if path.name in weights:
            return float(weights[path.name])
        for pattern, value in weights.items():
            if fnmatch.fnmatchcase(str(path), pattern):
                return float(value)
        return 1

    def holds_images(path):
        return any(file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".jfif") for file in path.rglob("*") if file.is_file())

    shares = {}

    def share_out(path, share):
        children = [child for child in path.iterdir() if child.is_dir() and holds_images(child)]
        images = [file for file in path.iterdir() if file.is_file() and file.suffix.lower() != ".txt"]
        total = sum(weight(child) for child in children) + (weight(path) if images else 0)
        if images:
            shares[path.relative_to(root).as_posix()] = share * weight(path) / total
        for child in children:
            share_out(child, share * weight(child) / total)

    share_out(root, 1)
    return {"examples": [], "weights": str(weights_file), "shares": shares}


def make_screenshot_pipeline(make, root):
    for folder in make.folders(root):
        folder.mkdir(parents=True, exist_ok=True)
        for _ in make.images(folder, 1 if folder == root else 0):
            pass
    patterns = [*NAMES, "*/a", "*[!b]", "*結束*", "*/screenshot-pipeline/*", "?", "*"]
    rows = [[pattern, make.random.choice(["1", " 2.5", "0.1", "300"])] for pattern in make.random.sample(patterns, 6)]
    weights = root.parent / "weights.csv"
    with open(weights, "w", newline="") as file:
        csv.writer(file).writerows([*rows, rows[0][:1] + ["7"]])
    return weights


def main(out, seed, count):
    for number in range(count):
        make = Generator(seed + number)
        for dialect, generate, read in (("everydream2", make_everydream2, everydream2), ("everydream1", make_everydream1, everydream1),
                                        ("kohya", make_kohya, kohya), ("screenshot-pipeline", make_screenshot_pipeline, screenshot_pipeline)):
            root = out / str(number) / dialect
            root.mkdir(parents=True)
            extra = generate(make, root)
            expected = read(root, extra) if extra else read(root)
            (out / str(number) / f"{dialect}.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
