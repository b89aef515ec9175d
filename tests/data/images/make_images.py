"""Writes the images of prepare_test with Pillow: make_images.py DIR; with "all" also those of image_test."""
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageDraw


def smooth(width, height):
    """An image of slow waves, so that any good filter scales it alike; no two corners are alike."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    x, y = x / width, y / height
    rgb = np.stack([127 + 120 * np.sin(3 * x + y), 255 * x, 255 * y * (1 - 0.3 * x)], axis=-1)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def detailed(width, height):
    """An image with the spectrum of a photograph, and drawn lines and shapes."""
    generator = np.random.default_rng(1)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    noise = np.fft.irfft2(np.fft.rfft2(generator.standard_normal((height, width))) / frequency, s=(height, width))
    noise = 127 + 45 * noise / noise.std()
    image = Image.fromarray(np.stack([noise, noise[:, ::-1], noise[::-1]], axis=-1).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(30):
        x, y, r = generator.uniform(0, width), generator.uniform(0, height), generator.uniform(0.02, 0.1) * width
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(generator.integers(0, 255, 3)), outline=(9, 9, 9),
                     width=1 + width // 500)
    return image


def icc(color_space, connection_space, tags):
    """An ICC profile, version 2, for input."""
    body, table, place = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", name, place + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s12s4s4sI4s4sQI3i4s", place + len(body), b"lcms", 0x02400000, b"scnr", color_space,
                       connection_space, bytes(12), b"acsp", b"APPL", 0, b"none", b"none", 0, 0, 63190, 65536, 54061,
                       b"lcms")
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def text_tags(name):
    description = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(1 + 4 + 4 + 2 + 1 + 67)
    return {b"desc": description, b"cprt": b"text" + bytes(4) + b"none\0"}


def wide_profile():
    """RGB with the primaries of Adobe RGB (1998) and gamma 2.2."""
    def xyz(*values):
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256)) + bytes(2)
    return icc(b"RGB ", b"XYZ ", text_tags(b"wide") | {
        b"wtpt": xyz(0.9642, 1, 0.8249), b"rXYZ": xyz(0.60974, 0.31111, 0.01947), b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def gray_profile():
    """Gray of gamma 1.0."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 256) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    return icc(b"GRAY", b"XYZ ", text_tags(b"grey") | {b"wtpt": white, b"kTRC": curve})


def cmyk_profile():
    """CMYK whose inks give the Lab values of a table with two steps an ink."""
    ramp = bytes(range(256))
    corners = bytearray()
    for c in (0, 1):
        for m in (0, 1):
            for y in (0, 1):
                for k in (0, 1):
                    lightness = 255 * (1 - 0.3 * c) * (1 - 0.35 * m) * (1 - 0.1 * y) * (1 - 0.9 * k)
                    ink = 1 - 0.9 * k
                    corners += bytes([round(lightness), round(128 + ink * (-40 * c + 60 * m)),
                                      round(128 + ink * (-40 * c + 70 * y))])
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + bytes(corners) + ramp * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    return icc(b"CMYK", b"Lab ", text_tags(b"inks") | {b"wtpt": white, b"A2B0": lut})


def lab_profile():
    """Of Lab numbers, as ImageCms makes it: none that an image of RGB can have."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def float_tiff(pixels):
    """A TIFF of 32-bit floats, (H, W, C), without compression. Pillow writes them of one channel only."""
    height, width, channels = pixels.shape
    data = pixels.astype("<f4").tobytes()
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, 0), (259, 3, 1, 1), (262, 3, 1, 2 if channels > 2 else 1),
               (273, 4, 1, 0), (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(data)), (339, 3, channels, 0)]
    if channels == 4:
        entries.insert(9, (338, 3, 1, 2))  # the fourth is alpha
    after = 8 + 2 + 12 * len(entries) + 4
    table = b""
    for tag, kind, count, value in entries:
        if tag in (258, 339):  # bits and format of each channel
            value = after + (0 if tag == 258 else 2 * channels)
            if channels == 1:
                value = 32 if tag == 258 else 3
        if tag == 273:
            value = after + 4 * channels
        table += struct.pack("<HHII", tag, kind, count, value)
    lists = struct.pack(f"<{2 * channels}H", *[32] * channels, *[3] * channels)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + lists + data


def with_damage(data):
    """Zeroes, and the mark that ends a JPEG, in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes(40) + b"\xff\xd9" + data[middle + 42:]


def write_formats(out):
    image = smooth(64, 64)
    image.save(out / "still.avif", quality=100, subsampling="4:4:4")
    image.save(out / "page.tiff", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    image.save(out / "packed.tiff", compression="tiff_lzw")
    black = Image.new("RGB", (64, 64))
    image.save(out / "moving.webp", save_all=True, append_images=[black], lossless=True)
    image.save(out / "moving.png", save_all=True, append_images=[black])
    image.convert("1").save(out / "bits.png")
    image.convert("LA").save(out / "gray_alpha.png")
    Image.fromarray(np.full((64, 64, 2), [80, 0], np.uint8), "LA").save(out / "gray_clear.png")
    (out / "png_called.jpg").write_bytes((out / "exact.png").read_bytes())
    # 16 bits of red, half of it clear; Pillow writes no such PNG.
    row = b"\0" + struct.pack(">4H", 0xFFFF, 0, 0, 0x8000) * 64
    chunks = [(b"IHDR", struct.pack(">2I5B", 64, 64, 16, 6, 0, 0, 0)), (b"IDAT", zlib.compress(row * 64)), (b"IEND", b"")]
    (out / "deep_alpha.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks))


def write_turned(out):
    wide = smooth(160, 90)
    for turn in range(10):
        exif = Image.Exif()
        exif[0x0112] = turn  # 1 to 8 mean something
        wide.save(out / f"turned{turn}.jpg", quality=95, exif=exif)
        if turn in (1, 6):
            wide.save(out / f"turned{turn}.png", exif=exif)
    exif[0x0112] = 6
    large = detailed(1603, 1203)
    large.save(out / "camera.jpg", quality=92)
    large.save(out / "camera_turned.jpg", quality=92, exif=exif)


def write_profiles(out):
    image = smooth(160, 90)
    for name, options in {"jpg": {"quality": 97, "subsampling": 0}, "png": {}, "webp": {"lossless": True}}.items():
        image.save(out / f"wide_profile.{name}", icc_profile=wide_profile(), **options)
    image.convert("L").save(out / "gray_profile.jpg", quality=97, icc_profile=gray_profile())
    image.convert("CMYK").save(out / "cmyk_profile.jpg", quality=97, icc_profile=cmyk_profile())
    image.convert("CMYK").save(out / "cmyk_profile.tiff", icc_profile=cmyk_profile())
    for name in ("jpg", "png"):
        smooth(64, 64).save(out / f"lab_profile.{name}", quality=97, subsampling=0, icc_profile=lab_profile())
        smooth(64, 64).save(out / f"gray_in_color.{name}", quality=97, subsampling=0, icc_profile=gray_profile())


def write_floats(out):
    image = np.asarray(smooth(64, 64)).astype(np.float32)
    (out / "float.tiff").write_bytes(float_tiff(image / 255))
    (out / "float_255.tiff").write_bytes(float_tiff(image))
    (out / "float_gray.tif").write_bytes(float_tiff(image[..., :1] / 255))
    (out / "float_alpha.tiff").write_bytes(float_tiff(np.dstack([image, np.where(np.arange(64) < 32, 255.0, 0.0) + 0 * image[..., 0]]) / 255))
    (out / "float_beyond.tiff").write_bytes(float_tiff(image * 100))
    (out / "float_nan.tiff").write_bytes(float_tiff(np.where(image > 250, np.inf, image)))
    Image.fromarray((image[..., 0] * 65536).astype(np.int32)).save(out / "int.tiff")


def write_damaged(out):
    image = detailed(160, 90)
    image.save(out / "noisy.jpg", quality=95)
    image.save(out / "noisy_progressive.jpg", quality=95, progressive=True)
    for name, options in {"png": {}, "webp": {}, "gif": {}, "tiff": {"compression": "tiff_lzw"}, "avif": {},
                          "bmp": {}}.items():
        image.save(out / f"noisy.{name}", **options)
    for name in ["jpg", "png", "webp", "gif", "tiff", "avif", "bmp"]:
        data = (out / f"noisy.{name}").read_bytes()
        (out / f"cut.{name}").write_bytes(data[: len(data) * 2 // 3])
    for name in ["noisy_progressive.jpg", "noisy.png", "noisy.jpg"]:
        data = (out / name).read_bytes()
        (out / f"hurt_{name}").write_bytes(with_damage(data))
    data = (out / "noisy.jpg").read_bytes()
    (out / "extra.jpg").write_bytes(data[:-2] + b"\0\1\2" + data[-2:] + b"trailing")


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
    png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4, "big")
    (out / "bomb.png").write_bytes(png)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if sys.argv[2:] == ["all"]:
        for write in (write_formats, write_turned, write_profiles, write_floats, write_damaged):
            write(Path(sys.argv[1]))
