#!/usr/bin/env python3
"""Says which of the reference run's 12 characters can be recognized in an image, by a small classifier.

    reference_measure.py prompts DATASET OUT_DIR                 writes prompts.txt (a prompt a line) and prompts.json
    reference_measure.py train MODEL --out CLASSIFIER.pt         trains it on scenes that are in no dataset
    reference_measure.py score CLASSIFIER.pt PROMPTS.json IMAGES --out SCORE.json
    reference_measure.py dataset CLASSIFIER.pt DATASET MODEL --out SCORE.json

DATASET is what make_reference_data.py wrote, MODEL a model folder: its autoencoder renders half of the scenes, so that
the classifier has seen what the autoencoder does to a picture. IMAGES is a folder of samples, 00000.png … in the order
of the prompts. `dataset` scores training images, as they are and as the autoencoder renders them.

The classifier is a convolutional network whose last feature map says, at each place, how much it looks like each
character; the largest value over the image counts. It is trained with other emoji beside the characters, and never
told how many there are. Besides the recall, the number of characters that it finds without their being named is
reported: a classifier that sees everybody everywhere would have a perfect recall. Intervals are Wilson's, of 95 %.
"""
import argparse
import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import torch
from make_demo_data import COLORS, fanart, scene
from make_reference_data import load_cast
from PIL import Image
from torch import nn

SIZES = [(112, 64), (64, 64)]
SEED = 20_000  # of the scenes: no dataset has it
PROMPTS = {1: 240, 2: 96, 3: 96, 4: 96}  # images by number of characters; of two and more, half are unseen combinations
FOUND = 0.5  # probability from which a character counts as recognized


def read_json(path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"reference_measure: cannot read {path}: {error}")


def wilson(hits, of, z=1.96):
    """Bounds of a share, 0…1."""
    if of == 0:
        return [0.0, 1.0]
    p, base = hits / of, 1 + z * z / of
    middle, half = (p + z * z / (2 * of)) / base, z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of)) / base
    return [max(0.0, middle - half), min(1.0, middle + half)]


def rate(hits, of):
    """A share in percent with its interval."""
    return {"hits": hits, "of": of, "percent": round(100 * hits / max(of, 1), 1), "interval": [round(100 * b, 1) for b in wilson(hits, of)]}


def pixels_of(image, size):
    """(3, H, W) bytes: the largest box of the size's proportions from the middle, scaled."""
    image = image.convert("RGB")
    scale = max(size[0] / image.width, size[1] / image.height)
    width, height = size[0] / scale, size[1] / scale
    left, top = (image.width - width) / 2, (image.height - height) / 2
    image = image.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def nearest_size(image):
    return SIZES[0] if image.width > 1.3 * image.height else SIZES[1]


class Classifier(nn.Module):
    """(B, 3, H, W) of -1…1 → (B, characters) logits."""

    def __init__(self, characters):
        super().__init__()

        def block(inputs, outputs, stride):
            return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

        self.features = nn.Sequential(*block(3, 24, 2), *block(24, 48, 1), *block(48, 64, 2), *block(64, 64, 1), *block(64, 96, 2),
                                      *block(96, 96, 1), *block(96, 128, 1))
        self.places = nn.Conv2d(128, characters, 1)

    def forward(self, images):
        return self.places(self.features(images)).flatten(2).amax(2)


def autoencoder_of(model):
    from diffusers import AutoencoderKL
    return AutoencoderKL.from_pretrained(model, subfolder="vae", torch_dtype=torch.float32).eval()


@torch.no_grad()
def render(autoencoder, images):
    """Bytes → bytes, through the autoencoder."""
    rendered = []
    for part in images.split(32):
        latents = autoencoder.encode(part.float() / 127.5 - 1).latent_dist.mean
        rendered.append(((autoencoder.decode(latents).sample.clamp(-1, 1) + 1) * 127.5).round().byte())
    return torch.cat(rendered)


def make_scenes(rng, count, cast, others):
    """By size: images (N, 3, H, W) as bytes, and who is on them (N, characters)."""
    names = list(cast)
    found = {size: ([], []) for size in SIZES}
    while sum(len(images) for images, _ in found.values()) < count:
        number = rng.choice([1, 2, 3, 4])
        who = [cast[n] if rng.random() < 0.6 else rng.choice(others) for n in rng.sample(names, number)]
        image, _ = fanart(rng, who[0]) if number == 1 and rng.random() < 0.3 else scene(rng, who)
        images, labels = found[nearest_size(image)]
        images.append(pixels_of(image, nearest_size(image)))
        labels.append([float(any(e is cast[n] for e in who)) for n in names])
    return {size: (torch.stack(images), torch.tensor(labels)) for size, (images, labels) in found.items()}


def varied(images, generator):
    """Floats of -1…1, with another brightness, contrast and noise for each image."""
    shape = (len(images), 1, 1, 1)
    images = images.float() / 127.5 - 1
    images = images * (1 + 0.2 * torch.randn(shape, generator=generator)) + 0.1 * torch.randn((len(images), 3, 1, 1), generator=generator)
    return (images + 0.08 * torch.rand(shape, generator=generator) * torch.randn(images.shape, generator=generator)).clamp(-1.2, 1.2)


def train(args):
    torch.manual_seed(1)
    generator, rng = torch.Generator().manual_seed(1), random.Random(SEED)
    cast, others = load_cast()
    autoencoder = autoencoder_of(args.model)
    scenes, check = make_scenes(rng, args.scenes, cast, others), make_scenes(rng, args.scenes // 8, cast, others)
    for size, (images, _) in scenes.items():
        images[::2] = render(autoencoder, images[::2])
    check = {size: (render(autoencoder, images), labels) for size, (images, labels) in check.items()}

    classifier = Classifier(len(cast))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.02)
    batches = [(size, part) for size, (images, _) in scenes.items() for part in torch.arange(len(images)).split(64)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=args.epochs * len(batches))
    for epoch in range(args.epochs):
        order = {size: torch.randperm(len(images), generator=generator) for size, (images, _) in scenes.items()}
        total = 0.0
        for size, part in rng.sample(batches, len(batches)):
            images, labels = scenes[size]
            chosen = order[size][part]
            loss = nn.functional.binary_cross_entropy_with_logits(classifier(varied(images[chosen], generator)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1} of {args.epochs}: loss {total / len(batches):.4f}", flush=True)

    classifier.eval()
    hits = named = wrong = absent = 0
    for images, labels in check.values():
        seen = probabilities(classifier, images) >= FOUND
        hits, named = hits + int((seen & (labels > 0)).sum()), named + int(labels.sum())
        wrong, absent = wrong + int((seen & (labels == 0)).sum()), absent + int((labels == 0).sum())
    about = {"scenes": args.scenes, "epochs": args.epochs, "held_back": {"recall": rate(hits, named), "false": rate(wrong, absent)}}
    torch.save({"names": list(cast), "weights": classifier.state_dict(), "about": about}, args.out)
    print(json.dumps(about))


@torch.no_grad()
def probabilities(classifier, images):
    return torch.cat([torch.sigmoid(classifier(part.float() / 127.5 - 1)) for part in images.split(64)])


def load_classifier(path):
    saved = torch.load(path, weights_only=True)
    classifier = Classifier(len(saved["names"]))
    classifier.load_state_dict(saved["weights"])
    return classifier.eval(), saved["names"], saved["about"]


def write_prompts(args):
    """The same for every dataset with these characters."""
    about = read_json(args.dataset / "dataset.json")
    grounds = {c["name"]: c["backgrounds"] for c in about["characters"]}
    names, rng = list(grounds), random.Random(34)
    unseen, record = {tuple(who) for who in about["unseen"]}, []

    def prompt(who, known):
        common = [g for g in grounds[who[0]] if all(g in grounds[n] for n in who)] or list(COLORS)
        size = SIZES[0] if len(who) > 1 else SIZES[1]
        return {"prompt": f"{' and '.join(who)}, screenshot, {rng.choice(common)} background", "characters": who, "seen": known,
                "settings": {"size": size}}

    for number, count in PROMPTS.items():
        if number == 1:
            record += [prompt([names[i % len(names)]], True) for i in range(count)]
            continue
        for known in True, False:
            for _ in range(count // 2):
                # By characters in turn, so that each is asked for about as often.
                while (tuple(sorted(who := rng.sample(names, number))) in unseen) == known:
                    pass
                record.append(prompt(who, known))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "prompts.txt").write_text("".join(json.dumps({"prompt": p["prompt"], **p["settings"]}) + "\n" for p in record),
                                          encoding="utf-8")
    (args.out / "prompts.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(record)} prompts in {args.out}")


def account(classifier, names, images, casts, groups):
    """Recall by group of images (name → indices)."""
    by_size = {}
    for i, image in enumerate(images):
        by_size.setdefault(tuple(image.shape), []).append(i)
    seen = [None] * len(images)
    for indices in by_size.values():
        for i, row in zip(indices, probabilities(classifier, torch.stack([images[i] for i in indices])) >= FOUND):
            seen[i] = {name for name, there in zip(names, row.tolist()) if there}
    result = {}
    for group, indices in groups.items():
        if not indices:
            continue
        named = [(set(casts[i]), seen[i]) for i in indices]
        hits, of = sum(len(who & found) for who, found in named), sum(len(who) for who, _ in named)
        result[group] = {"images": len(named), "recall": rate(hits, of), "all_named": rate(sum(who <= found for who, found in named), len(named)),
                         "not_named": rate(sum(len(found - who) for who, found in named), sum(len(names) - len(who) for who, _ in named))}
    per = {name: rate(sum(name in seen[i] for i in asked), len(asked))
           for name in names if (asked := [i for i in range(len(images)) if name in casts[i]])}
    return {"groups": result, "per_character": per, "seen": [sorted(s) for s in seen]}


def score(args):
    classifier, names, about = load_classifier(args.classifier)
    record = read_json(args.prompts)
    files = [args.images / f"{i:05}.png" for i in range(len(record))]
    missing = [f for f in files if not f.exists()]
    if missing:
        sys.exit(f"reference_measure: {len(missing)} of {len(files)} images are missing, first {missing[0]}")
    images = [pixels_of(image := Image.open(f), nearest_size(image)) for f in files]
    casts, groups = [p["characters"] for p in record], {}
    for number in PROMPTS:
        of_number = [i for i, who in enumerate(casts) if len(who) == number]
        groups[str(number)] = of_number
        for label, known in ("seen", True), ("unseen", False):
            if number > 1:
                groups[f"{number} {label}"] = [i for i in of_number if record[i]["seen"] == known]
    write(args.out, account(classifier, names, images, casts, groups) | {"classifier": about})


def score_dataset(args):
    classifier, names, about = load_classifier(args.classifier)
    rng, images, casts, groups = random.Random(5), [], [], {}
    for number in PROMPTS:
        folder = args.dataset / "screenshots" / f"{number}_character{'s' if number > 1 else ''}"
        files = sorted(f for f in folder.rglob("*") if f.suffix in (".png", ".jpg"))
        groups[str(number)] = list(range(len(images), len(images) + min(args.count, len(files))))
        for file in rng.sample(files, min(args.count, len(files))):
            image = Image.open(file)
            images.append(pixels_of(image, nearest_size(image)))
            casts.append(file.parts[-3].split("+"))
    autoencoder, rendered = autoencoder_of(args.model), list(images)
    for size in SIZES:
        of_size = [i for i, image in enumerate(images) if image.shape[2] == size[0]]
        for i, image in zip(of_size, render(autoencoder, torch.stack([images[i] for i in of_size])) if of_size else []):
            rendered[i] = image
    write(args.out, {"as they are": account(classifier, names, images, casts, groups)["groups"],
                     "by the autoencoder": account(classifier, names, rendered, casts, groups)["groups"],
                     "classifier": about})


def write(path, result):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for part in result.values():
        for name, group in (part.get("groups", part) if isinstance(part, dict) else {}).items():
            if isinstance(group, dict) and "all_named" in group:
                print(f"{name}: recall {group['recall']['percent']} % {group['recall']['interval']}, all named in "
                      f"{group['all_named']['percent']} % of {group['images']}, not named: {group['not_named']['percent']} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="threads of the classifier (default: all cores)")
    commands = parser.add_subparsers(dest="command", required=True)
    prompts = commands.add_parser("prompts", help="write the prompts to sample")
    prompts.add_argument("dataset", type=Path)
    prompts.add_argument("out", type=Path, metavar="OUT_DIR")
    prompts.set_defaults(run=write_prompts)
    trains = commands.add_parser("train", help="train the classifier")
    trains.add_argument("model", type=Path)
    trains.add_argument("--scenes", type=int, default=8000)
    trains.add_argument("--epochs", type=int, default=8)
    trains.add_argument("--out", type=Path, required=True)
    trains.set_defaults(run=train)
    scores = commands.add_parser("score", help="score samples")
    scores.add_argument("classifier", type=Path)
    scores.add_argument("prompts", type=Path, metavar="PROMPTS.json")
    scores.add_argument("images", type=Path)
    scores.add_argument("--out", type=Path, required=True)
    scores.set_defaults(run=score)
    sets = commands.add_parser("dataset", help="score training images")
    sets.add_argument("classifier", type=Path)
    sets.add_argument("dataset", type=Path)
    sets.add_argument("model", type=Path)
    sets.add_argument("--count", type=int, default=200, help="images of each number of characters")
    sets.add_argument("--out", type=Path, required=True)
    sets.set_defaults(run=score_dataset)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.run(args)


if __name__ == "__main__":
    main()
