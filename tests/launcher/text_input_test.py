"""Texts that people and other programs wrote: captions, prompts, lists and arguments in whatever encoding, and what is written of them.

    text_input_test.py KESSOKU WORK_FOLDER
"""
import json
import shutil
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PROGRAM, WORK = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
MARK = b"\xef\xbb\xbf"
QUICK = ("--steps", 1, "--size", "32x24", "--threads", 1)


def run(*arguments, code=0):
    """Output and errors of the program; arguments may be bytes."""
    command = [PROGRAM, *(a if isinstance(a, bytes) else str(a) for a in arguments)]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == code, f"{arguments}: exit code {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}"
    return done.stdout.decode(), done.stderr.decode()  # which must be UTF-8


def text(path):
    with Image.open(path) as image:
        return image.text


class TextInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        cls.model = WORK / "model"
        shutil.copytree(ROOT / "models/demo-base", cls.model, ignore=shutil.ignore_patterns("training"))
        shutil.copytree(ROOT / "models/clip-tokenizer", cls.model / "tokenizer")

    def setUp(self):
        self.work = WORK / self.id().rsplit(".", 1)[1]
        self.work.mkdir()
        self.store = WORK / f"{self.work.name}-store"

    def captions(self, **texts):
        """The captions, by name of the image, of a store that is made of files with these bytes; and the warnings."""
        for name, content in texts.items():
            Image.new("RGB", (64, 64)).save(self.work / f"{name}.png")
            (self.work / f"{name}.txt").write_bytes(content)
        (self.work / "sizes").mkdir()
        (self.work / "sizes/list").write_bytes(MARK + b"64x64\r\n48x80\r\n")
        summary = json.loads(run("prepare", self.work, "--out", self.store, "--keep", "images", "--resolution", 64, "--buckets",
                                 self.work / "sizes/list", "--json")[0])
        listed = json.loads(run("inspect", self.store, "--captions", "--json")[0])
        lines = run("inspect", self.store, "--captions")[0].splitlines()
        self.assertEqual([line.split("\t")[0] for line in lines], [entry["source"] for entry in listed])
        return {entry["source"].removesuffix(".png"): entry["caption"] for entry in listed}, summary["warnings"]

    def sample(self, *arguments):
        """What --json says of the images, and the warnings."""
        out, errors = run("sample", self.model, *arguments, *QUICK, "--out", self.work / "out", "--json")
        return json.loads(out)["pictures"], errors

    def test_captions_in_any_encoding(self):
        captions, warnings = self.captions(
            plain="結束, a girl".encode(), marked=MARK + b"a girl", utf16="a girl, blue hair".encode("utf-16-le"),
            big="a girl, blue hair".encode("utf-16-be"), utf16_marked="結束, a girl".encode("utf-16"), nul=b"a girl\0 hidden",
            windows="it\u2019s \u201cred\u201d".encode("cp1252"), lines=b"a girl,\r\nblue hair\r\n", cut="a, 結束".encode()[:-1])
        self.assertEqual(captions, {
            "plain": "結束, a girl", "marked": "a girl", "utf16": "a girl, blue hair", "big": "a girl, blue hair",
            "utf16_marked": "結束, a girl", "nul": "a girl hidden", "windows": "it’s “red”", "lines": "a girl, blue hair", "cut": "a, 結"})
        told = {warning.split(": ")[0]: warning for warning in warnings}
        self.assertEqual(set(told), {"nul.txt", "windows.txt", "cut.txt"}, warnings)
        self.assertIn("NUL", told["nul.txt"])
        self.assertIn("read as Windows-1252", told["windows.txt"])
        self.assertIn("left out", told["cut.txt"])

    def test_an_argument_that_is_not_utf8(self):
        images, errors = self.sample("--prompt", b"caf\xe9", "--negative", b"na\xefve")
        self.assertEqual((images[0]["prompt"], images[0]["negative"]), ("café", "naïve"))
        self.assertIn("read as Windows-1252", errors)
        written = text(self.work / "out/00000.png")
        self.assertEqual(written["prompt"], "café")
        self.assertTrue(written["parameters"].startswith("café\nNegative prompt: naïve\n"), written)

    def test_a_folder_that_is_not_utf8(self):
        folder = bytes(self.work) + b"/caf\xe9"
        out, _ = run("sample", self.model, "--prompt", "x", *QUICK, "--out", folder, "--json")
        self.assertEqual(Path(json.loads(out)["pictures"][0]["file"]).name, "00000.png")
        init = folder + b"/00000.png"
        run("sample", self.model, "--prompt", "x", "--steps", 2, "--threads", 1, "--init", init, "--out", self.work / "out", "--json")
        self.assertTrue(text(self.work / "out/00000.png")["init"].endswith("café/00000.png"))

    def test_prompt_files_of_other_programs(self):
        prompts = self.work / "prompts.txt"
        prompts.write_bytes(MARK + "# for kohya's scripts\r\na cat --w 32 --h 40 --d 7 --s 2 --l 3.5 --n bad hands\r\n\r\n"
                            "caf\u00e9, <lora:hat:0.8>, a [dog:fox:0.5] AND night\r\n--prompt \"two words\" --steps 2 --sampler_name Euler\r\n"
                            "plain -- text\r\n".encode())
        out, errors = run("sample", self.model, "--prompts", prompts, "--size", "32x24", "--threads", 1, "--steps", 1, "--out",
                          self.work / "out", "--json")
        images = json.loads(out)["pictures"]
        self.assertEqual([image["prompt"] for image in images], ["a cat", "café, a fox, night", "two words", "plain -- text"])
        first = images[0]
        self.assertEqual([first[key] for key in ("negative", "seed", "width", "height", "steps", "cfg")], ["bad hands", 7, 32, 40, 2, 3.5])
        self.assertEqual([image["steps"] for image in images[1:]], [1, 2, 1])
        for said in ("1 line that begin", "line 4: <lora:hat:0.8> is left out", "line 4: [dog:fox:0.5] is drawn as \"fox\"",
                     "line 4: AND is read as a comma", "line 5: --sampler_name Euler is another program's flag, left out"):
            self.assertIn(said, errors)
        self.assertEqual(text(self.work / "out/00001.png")["prompt"], "café, a fox, night")
        prompts.write_text("a cat --w 512\n")
        self.assertIn("prompts.txt, line 1: --w and --h go together", run("sample", self.model, "--prompts", prompts, code=64)[1])
        prompts.write_text("a cat --d x\n")
        self.assertIn("prompts.txt, line 1: seed x", run("sample", self.model, "--prompts", prompts, code=64)[1])

    def test_foreign_syntax_stays_with_plain(self):
        images, errors = self.sample("--prompt", "a <lora:x:1> cat AND dog", "--plain")
        self.assertEqual(images[0]["prompt"], "a <lora:x:1> cat AND dog")
        self.assertNotIn("lora", errors)

    def test_texts_to_tokenize(self):
        out, errors = run("tokens", self.model, b"caf\xe9", "--json")
        self.assertEqual(json.loads(out)[0]["text"], "café")
        self.assertIn("read as Windows-1252", errors)
        texts = self.work / "texts"
        for content in ("a cat\r\n結束\r\n".encode("utf-16"), MARK + "a cat\n結束\n".encode()):
            texts.write_bytes(content)
            self.assertEqual([entry["text"] for entry in json.loads(run("tokens", self.model, "--file", texts, "--json")[0])],
                             ["a cat", "結束"])

    def test_run_files_and_settings(self):
        self.captions(one=b"one", two=b"two")
        run("prepare", self.work, "--out", WORK / "moments", "--model", self.model, "--resolution", 64, "--buckets", "64x64")
        run_file = self.work / "run.toml"
        run_file.write_bytes(MARK + f"""[model]\r\npath = "{self.model}"\r\n[data]\r\nstore = "{WORK / 'moments'}"\r\n[train]\r
steps = 1\r\nglobal_batch = 2\r\nmicro_batch = 2\r\nthreads = 1\r\n[metrics]\r\nport = 0\r\n""".encode())
        run("train", run_file, "--out", self.work / "run", "--set", b"name=caf\xe9")
        self.assertEqual(tomllib.loads((self.work / "run/config.toml").read_text())["name"], "café")
        for path in (self.work / "run").rglob("*.json"):
            json.loads(path.read_text())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
