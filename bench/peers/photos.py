"""Photo-like JPEGs: gradients, discs with soft edges, and noise as of a sensor. The same arguments make the same files.

    photos.py FOLDER [--count 500] [--size 1280x720]
"""
import argparse
from pathlib import Path

import numpy as np
from PIL import Image


def photo(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    color = lambda: generator.uniform(0, 255, 3).astype(np.float32)  # noqa: E731
    weight = ((x / width + y / height) / 2)[..., None]
    image = color() * (1 - weight) + color() * weight
    for _ in range(6):
        radius = generator.uniform(0.03, 0.2) * width
        distance = np.hypot(x - generator.uniform(0, width), y - generator.uniform(0, height))
        image += np.clip((radius - distance) / 8 + 0.5, 0, 1)[..., None] * (color() - image)
    image += 6 * generator.standard_normal(image.shape, dtype=np.float32)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def make(folder: Path, count: int, width: int, height: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for i in range(count):
        photo(generator, width, height).save(folder / f"{i:05}.jpg", quality=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--size", default="1280x720")
    options = parser.parse_args()
    make(options.folder, options.count, *map(int, options.size.split("x")))


if __name__ == "__main__":
    main()
