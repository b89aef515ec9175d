"""`kessoku sample` as its users run it: images that make themselves again, batches, prompts files, names, Ctrl-C, misuse.

    sample_test.py KESSOKU WORK_FOLDER
"""
import json
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

ROOT = Path(__file__).resolve().parents[2]
PROGRAM, WORK = Path(sys.argv[1]), Path(sys.argv[2])
QUICK = ("--steps", 3, "--size", "32x24", "--threads", 1)


def run(*arguments, expect=0, cwd=None):
    done = subprocess.run([PROGRAM, "sample", *map(str, arguments)], capture_output=True, text=True, timeout=120, cwd=cwd)
    if done.returncode != expect:
        raise AssertionError(f"{arguments}: exit code {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}")
    return done


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def text(path):
    with Image.open(path) as image:
        return image.text


def size(path):
    with Image.open(path) as image:
        return image.size


def rewrite(source, target, **changes):
    """A copy of a PNG with other text."""
    info = PngImagePlugin.PngInfo()
    for key, value in {**text(source), **changes}.items():
        info.add_itxt(key, value)
    Image.open(source).save(target, pnginfo=info)


class Sample(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        cls.model = WORK / "model"
        shutil.copytree(ROOT / "models/demo-base", cls.model, ignore=shutil.ignore_patterns("training"))
        shutil.copytree(ROOT / "models/clip-tokenizer", cls.model / "tokenizer")
        y, x = np.mgrid[0:24, 0:32]
        Image.fromarray(np.stack([x * 7, y * 9, (x + y) * 4], -1).astype(np.uint8)).save(WORK / "init.png")
        Image.fromarray(((x > 10) * 255).astype(np.uint8)).save(WORK / "mask.png")

    def setUp(self):
        self.out = WORK / self.id().rsplit(".", 1)[1]

    def make(self, *arguments, out=None, **how):
        run(self.model, *arguments, "--out", out or self.out, **how)
        return out or self.out

    def assert_made_again(self, image, *arguments, **how):
        again = self.out / f"again-{image.stem}"
        run("--from", image, *arguments, "--out", again, **how)
        self.assertGreater(pixels(image).std(), 5, "a flat image would prove nothing")
        np.testing.assert_array_equal(pixels(again / "00000.png"), pixels(image))
        self.assertEqual(text(again / "00000.png"), text(image))

    # --- images are functions of their settings

    def test_an_image_makes_itself_again_bit_for_bit(self):
        self.make("--prompt", "a (cat:1.3), 結束バンド", "--prompt", "dog\nnight", "--negative", "blurry", "--count", 2, "--seed",
                  2**64 - 2, "--cfg", 3.3, "--solver", "euler_a", "--clip-skip", 1, *QUICK)
        for i in range(4):
            self.assert_made_again(self.out / f"0000{i}.png")

    def test_so_does_one_of_an_image_and_a_mask(self):
        files = ("--init", WORK / "init.png", "--mask", WORK / "mask.png")
        self.make("--prompt", "a cat", *files, "--strength", 0.7, "--keep-original", "--feather", 2, *QUICK)
        self.make("--prompt", "a cat", *files[:2], *QUICK)
        for i in range(2):
            self.assert_made_again(self.out / f"0000{i}.png")

    def test_place_in_the_batch_company_and_threads_change_no_bit(self):
        self.make("--prompt", "a cat", "--count", 7, "--batch", 4, *QUICK)
        for i in (0, 3, 5, 6):
            alone = self.make("--prompt", "a cat", "--seed", i, "--batch", 4, *QUICK[:-1], 2, out=self.out / f"alone-{i}")
            np.testing.assert_array_equal(pixels(alone / "00000.png"), pixels(self.out / f"0000{i}.png"))
        others = self.make("--prompt", "quite another one", "--prompt", "a cat", "--seed", 4, "--batch", 4, *QUICK,
                           out=self.out / "company")
        np.testing.assert_array_equal(pixels(others / "00001.png"), pixels(self.out / "00005.png"))

    def test_the_size_of_the_batch_is_the_images_own(self):
        self.make("--prompt", "a cat", *QUICK)
        self.assertEqual(text(self.out / "00000.png")["batch"], "8")
        self.make("--prompt", "a cat", "--size", "256x256", "--steps", 1, "--threads", 1)
        self.assertEqual(text(self.out / "00001.png")["batch"], "1")

    def test_settings_on_the_command_line_override_those_of_the_image(self):
        self.make("--prompt", "a cat", "--seed", 5, "--cfg", 3, *QUICK)
        run("--from", self.out / "00000.png", "--seed", 6, "--prompt", "a dog", "--out", self.out / "other")
        self.make("--prompt", "a dog", "--seed", 6, "--cfg", 3, *QUICK)
        np.testing.assert_array_equal(pixels(self.out / "other/00000.png"), pixels(self.out / "00001.png"))

    def test_several_images_are_made_again_at_once(self):
        self.make("--prompt", "a cat", *QUICK)
        self.make("--prompt", "a dog", "--solver", "ddim", "--steps", 2, "--size", "24x32", "--threads", 1)
        run("--from", self.out / "00000.png", "--from", self.out / "00001.png", "--out", self.out / "again")
        for i in range(2):
            np.testing.assert_array_equal(pixels(self.out / f"again/0000{i}.png"), pixels(self.out / f"0000{i}.png"))

    def test_another_model_is_refused_unless_it_is_wanted(self):
        self.make("--prompt", "a cat", *QUICK)
        other = WORK / "other-model"
        shutil.copytree(self.model, other)
        weights = other / "unet/diffusion_pytorch_model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        done = run(other, "--from", self.out / "00000.png", "--out", self.out / "x", expect=65)
        self.assertIn("--any-model", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
        run(other, "--from", self.out / "00000.png", "--any-model", "--out", self.out / "x")
        rewrite(self.out / "00000.png", self.out / "moved.png", model=str(WORK / "nowhere"))
        self.assertIn("nowhere", run("--from", self.out / "moved.png", expect=64).stderr)
        self.assert_made_again(self.out / "00000.png", self.model)

    def test_a_changed_init_image_is_refused_unless_it_is_given(self):
        init = self.out / "init.png"
        self.out.mkdir()
        shutil.copy(WORK / "init.png", init)
        made = self.make("--prompt", "a cat", "--init", init, *QUICK) / "00000.png"
        Image.new("RGB", (32, 24), (9, 99, 200)).save(init)
        done = run("--from", made, "--out", self.out / "x", expect=65)
        self.assertIn(str(init), done.stderr)
        run("--from", made, "--init", init, "--out", self.out / "x")
        init.unlink()
        self.assertIn(str(init), run("--from", made, "--out", self.out / "x", expect=64).stderr)

    def test_a_run_folders_image_names_the_checkpoint(self):
        checkpoints = self.out / "run/checkpoints"
        checkpoints.mkdir(parents=True)
        (checkpoints / "step-00000010").symlink_to(self.model)
        (checkpoints / "latest").symlink_to("step-00000010")
        run(self.out / "run", "--prompt", "a cat", *QUICK, "--out", self.out)
        (checkpoints / "latest").unlink()  # it moves on, or goes
        self.assertTrue(text(self.out / "00000.png")["model"].endswith("step-00000010"))
        self.assert_made_again(self.out / "00000.png")

    # --- what is made

    def test_prompts_file_of_lines_and_of_json(self):
        prompts = WORK / "prompts.txt"
        prompts.write_text('a cat\n\n  a dog  \r\n{"prompt": "a bird", "seed": 90, "size": [24, 40], "count": 2, "cfg": 1}\n'
                           '{"steps": 1, "weights": false}\n', encoding="utf-8")
        done = run(self.model, "--prompts", prompts, "--prompt", "first", "--seed", 7, "--solver", "ddim", *QUICK, "--json", "--out", self.out)
        images = json.loads(done.stdout)["pictures"]
        self.assertEqual([(p["prompt"], p["seed"], p["width"], p["height"], p["steps"], p["cfg"]) for p in images],
                         [("first", 7, 32, 24, 3, 7.5), ("a cat", 8, 32, 24, 3, 7.5), ("a dog", 9, 32, 24, 3, 7.5),
                          ("a bird", 90, 24, 40, 3, 1), ("a bird", 91, 24, 40, 3, 1), ("", 12, 32, 24, 1, 7.5)])
        for number, made in enumerate(images):
            self.assertEqual(made["file"], str(self.out / f"{number:05}.png"))
            self.assertEqual(size(made["file"]), (made["width"], made["height"]))
        self.assertEqual(json.loads(done.stdout)["grid"], str(self.out / "grid.png"))
        grid = pixels(self.out / "grid.png")
        self.assertEqual(grid.shape, (2 * 42 + 2, 3 * 34 + 2, 3))
        alone = self.make("--prompt", "a bird", "--seed", 91, "--size", "24x40", "--cfg", 1, "--solver", "ddim", "--steps", 3,
                          "--threads", 1, out=self.out / "alone")
        np.testing.assert_array_equal(pixels(alone / "00000.png"), pixels(self.out / "00004.png"))

    def test_nothing_is_overwritten(self):
        self.out.mkdir()
        (self.out / "00007.png").write_text("mine")
        (self.out / "grid.png").write_text("mine too")
        self.make("--prompt", "a cat", "--count", 2, *QUICK)
        self.make("--prompt", "a cat", *QUICK)
        self.assertEqual(sorted(p.name for p in self.out.iterdir()),
                         ["00007.png", "00008.png", "00009.png", "00010.png", "grid-1.png", "grid-2.png", "grid.png"])
        self.assertEqual((self.out / "00007.png").read_text() + (self.out / "grid.png").read_text(), "minemine too")

    def test_text_that_other_programs_read(self):
        self.make("--prompt", "a (cat:1.2)", "--negative", "blurry", "--clip-skip", 1, "--init", WORK / "init.png", *QUICK)
        self.assertEqual(text(self.out / "00000.png")["parameters"],
                         "a (cat:1.2)\nNegative prompt: blurry\nSteps: 3, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 0, "
                         "Size: 32x24, Denoising strength: 0.8, Clip skip: 2, Model: model, Version: kessoku "
                         + text(self.out / "00000.png")["kessoku"])

    def test_a_grid_of_many_images_stays_an_image(self):
        self.make("--prompt", "a cat", "--count", 3, "--columns", 1, "--size", "8x4096", "--steps", 1, "--threads", 1)
        self.assertLessEqual(max(size(self.out / "grid.png")), 8192 + 99)
        self.assertEqual(size(self.out / "00002.png"), (8, 4096))

    def test_interrupt_keeps_what_is_finished(self):
        process = subprocess.Popen([PROGRAM, "sample", self.model, "--prompt", "a cat", "--count", "1000", "--batch", "1", "--steps", "9",
                                    "--threads", "1", "--out", self.out, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 60
        while time.monotonic() < end and not (self.out / "00002.png").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        listed, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        self.assertIn("of 1000 images are there", errors)
        files = sorted(p.name for p in self.out.glob("0*.png"))
        self.assertGreaterEqual(len(files), 3)
        self.assertEqual([Path(p["file"]).name for p in json.loads(listed)["pictures"]], files)
        for file in files:
            Image.open(self.out / file).load()
        self.assertEqual({p.name for p in self.out.iterdir()} - set(files), {"grid.png"})

    # --- misuse

    def assert_refused(self, code, words, *arguments):
        with self.subTest(arguments=arguments):
            errors = run(*arguments, "--out", self.out / "refused", expect=code).stderr
            lines = [line for line in errors.splitlines() if not line.startswith("sample  ")]  # progress
            self.assertEqual(len(lines), 1, errors)
            self.assertIn(words, lines[0])

    def test_wrong_use_is_64_and_one_helpful_line(self):
        prompts = WORK / "bad-prompts.txt"
        image = self.make("--prompt", "a cat", *QUICK) / "00000.png"
        prompt = (self.model, "--prompt", "x")
        init = ("--init", WORK / "init.png")
        for words, arguments in [
            ("--prompt", (self.model,)),
            ("which model", ("--prompt", "x")),
            ("32x32", (*prompt, "--size", "33x31")),
            ("WIDTHxHEIGHT", (*prompt, "--size", "big")),
            ("WIDTHxHEIGHT", (*prompt, "--size", "64x")),
            ("between 1 and 32768", (*prompt, "--size", "99999x64")),
            ("did you mean euler?", (*prompt, "--solver", "eulr")),
            ("steps 0", (*prompt, "--steps", 0)),
            ("cfg nan", (*prompt, "--cfg", "nan")),
            ("seed -1", (*prompt, "--seed", -1)),
            ("--init", (*prompt, "--mask", WORK / "mask.png")),
            ("--init", (*prompt, "--strength", 0.5)),
            ("--mask", (*prompt, *init, "--keep-original")),
            ("leaves no step", (*prompt, *init, "--steps", 5, "--strength", 0.1)),
            ("between 0 and 1", (*prompt, *init, "--strength", 1.5)),
            ("nowhere.png", (*prompt, "--init", WORK / "nowhere.png")),
            ("nowhere.png", ("--from", WORK / "nowhere.png")),
            ("nowhere.txt", (self.model, "--prompts", WORK / "nowhere.txt")),
            ("multiple of 32", (*prompt, "--tile", 40)),
            ("batch 65", (*prompt, "--batch", 65)),
            ("clip_skip 9", (*prompt, "--clip-skip", 9)),
            ("folder", (*prompt, "--steps", 1, "--out", image)),
        ]:
            self.assert_refused(64, words, *arguments) if "--out" not in arguments else self.assertIn(
                words, run(*arguments, expect=64).stderr)
        for line, words in (("{", "line 2: begins with {"), ('{"promt": "x"}', "did you mean prompt?"), ('{"seed": 1.5}', "seed 1.5"),
                            ('{"prompt": "x", "count": 0}', "count 0"), ('{"size": [1, 2, 3]}', "WIDTHxHEIGHT")):
            prompts.write_text("fine\n" + line)
            self.assert_refused(64, words, self.model, "--prompts", prompts)
        self.assertEqual(list(self.out.rglob("refused/*")), [])

    def test_bad_files_are_65_and_one_helpful_line(self):
        image = self.make("--prompt", "a cat", *QUICK) / "00000.png"
        (WORK / "bad.png").write_bytes(image.read_bytes()[:300])
        (WORK / "text.png").write_text("no image")
        Image.new("RGB", (8, 8)).save(WORK / "bare.png")
        rewrite(image, WORK / "steps.png", steps="many")
        rewrite(image, WORK / "size.png", size="10000000x8")
        for words, arguments in [
            ("bad.png", (self.model, "--prompt", "x", "--init", WORK / "bad.png")),
            ("text.png", (self.model, "--prompt", "x", "--init", WORK / "text.png")),
            ("text.png", (self.model, "--prompt", "x", "--init", WORK / "init.png", "--mask", WORK / "text.png")),
            ("bad.png: cut off", ("--from", WORK / "bad.png")),
            ("text.png: not a PNG", ("--from", WORK / "text.png")),
            ("carries no settings", ("--from", WORK / "bare.png")),
            ("carries no settings", ("--from", self.out / "grid.png")),
            ("steps many", ("--from", WORK / "steps.png")),
            ("size 10000000x8", ("--from", WORK / "size.png")),
        ]:
            self.assert_refused(65, words, *arguments)

    def test_numbers_that_are_not_finite_are_65(self):
        header = json.dumps({"latents": {"dtype": "F32", "shape": [1, 16, 3, 4], "data_offsets": [0, 768]}}).encode()
        (WORK / "nan.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<192f", *[float("nan")] * 192))
        self.assert_refused(65, "not finite", self.model, "--prompt", "x", "--latents", WORK / "nan.safetensors", *QUICK)
        broken = WORK / "nan-model"
        shutil.copytree(self.model, broken)
        weights = broken / "vae/diffusion_pytorch_model.safetensors"
        content = bytearray(weights.read_bytes())
        header_size = struct.unpack("<Q", content[:8])[0]
        begin, end = json.loads(content[8:8 + header_size])["decoder.conv_out.bias"]["data_offsets"]
        content[8 + header_size + begin:8 + header_size + end] = b"\xff" * (end - begin)
        weights.write_bytes(content)
        self.assert_refused(65, "NaN or infinity", broken, "--prompt", "x", *QUICK)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
