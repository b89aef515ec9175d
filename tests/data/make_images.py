"""Writes the pictures of image_test and prepare_test with Pillow: make_images.py DIR."""
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms


def smooth(width, height):
    """A picture of slow waves, so that any good filter scales it alike; no two corners are alike."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    x, y = x / width, y / height
    rgb = np.stack([127 + 120 * np.sin(3 * x + y), 255 * x, 255 * y * (1 - 0.3 * x)], axis=-1)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    wide = smooth(160, 90)
    wide.save(out / "wide.jpg", quality=95)
    data = (out / "wide.jpg").read_bytes()
    (out / "cut.jpg").write_bytes(data[: len(data) // 2])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    wide.save(out / "turned.jpg", quality=95, exif=exif)
    smooth(64, 64).save(out / "exact.png")
    smooth(640, 480).save(out / "large.png")
    smooth(64, 64).save(out / "small.webp", lossless=True)
    smooth(64, 64).save(out / "plain.bmp")
    smooth(64, 64).convert("L").save(out / "gray.png")
    smooth(64, 64).convert("P").save(out / "palette.png")
    smooth(64, 64).convert("CMYK").save(out / "cmyk.jpg", quality=95)
    Image.new("RGBA", (64, 64), (255, 0, 0, 128)).save(out / "alpha.png")
    Image.fromarray(np.full((64, 64), 0x8040, np.uint16)).save(out / "deep.png")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    smooth(64, 64).save(out / "profile.png", icc_profile=profile)
    smooth(64, 64).save(out / "bad_profile.png", icc_profile=b"not a profile" * 20)
    frames = [Image.new("RGB", (64, 64), c) for c in [(0, 255, 0), (255, 0, 0)]]
    frames[0].save(out / "moving.gif", save_all=True, append_images=frames[1:])
    (out / "empty.jpg").write_bytes(b"")
    (out / "text.jpg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    # A header that claims 60,000 x 60,000 pixels.
    png = bytearray((out / "exact.png").read_bytes())
    png[16:24] = (60000).to_bytes(4, "big") * 2
    import zlib
    png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4, "big")
    (out / "bomb.png").write_bytes(png)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
