"""`kessoku tokens` and the tokenizer's front-end, against transformers: ids, pieces, colliding trigger words, misuse; and that
previews see their prompts as training sees captions.

    tokens_test.py KESSOKU WORK_FOLDER
"""
import json
import os
import random
import shutil
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

ROOT = Path(__file__).resolve().parents[2]
PROGRAM, WORK = Path(sys.argv[1]), Path(sys.argv[2])
CLIP = ROOT / "models/clip-tokenizer"
CURLED = "“it’s” &amp; a ﬁne day"
STRAIGHT = '"it\'s" & a fine day'
WORDS = "Bfan1 Bfan2 Bofa2 a girl's hair, smiling! 後藤ひとり привет ΣΑΣ café 🎸 12 mid-2000s <|endoftext|> &amp; “x” Ünïcödé".split()


def run(*arguments, expect=0):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode != expect:
        raise AssertionError(f"{arguments}: exit code {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}")
    return done


def tokens(*arguments):
    return json.loads(run("tokens", *arguments, "--json").stdout)


def colliding(comparison):
    return {(pair["a"], pair["b"]) for pair in comparison["pairs"] if pair["collides"]}


class Tokens(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        cls.oracle = CLIPTokenizer.from_pretrained(CLIP)
        cls.model = WORK / "model"
        run("init", "--preset", "tiny", cls.model, "--tokenizer", CLIP, "--seed", 3)

    def setUp(self):
        self.folder = WORK / self.id().rsplit(".", 1)[1]
        self.folder.mkdir()
        self.addCleanup(shutil.rmtree, self.folder)

    def test_a_word_that_transformers_added_is_read_and_kept(self):
        model = self.copy_of_model()
        oracle = CLIPTokenizer.from_pretrained(CLIP)
        oracle.add_tokens(["<kita>"])
        oracle.save_pretrained(model / "tokenizer")
        self.assertTrue((model / "tokenizer/tokenizer.json").exists())
        shutil.copy(CLIP / "vocab.json", model / "tokenizer")  # an older one
        shutil.copy(CLIP / "merges.txt", model / "tokenizer")
        text = "a photo of <kita> at night"
        expected = oracle(text)["input_ids"]
        self.assertIn(49408, expected)
        done = run("tokens", model / "tokenizer", text, "--json")
        self.assertEqual(json.loads(done.stdout)[0]["ids"][:len(expected)], expected)
        self.assertIn("tokenizer.json is taken", done.stderr)
        self.assertNotIn("tokenizer.json", run("tokens", CLIP, text, "--json").stderr)
        refused = run("sample", model, "--prompt", "x", "--out", self.folder / "none", expect=65).stderr
        self.assertIn("the tokenizer has piece 49408, but the text encoder's vocabulary 49408 entries", refused)
        config = model / "text_encoder/config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": 49409}))
        weights = load_file(model / "text_encoder/model.safetensors")
        name = next(name for name in weights if name.endswith("token_embedding.weight"))
        weights[name] = torch.cat([weights[name], weights[name][:1]])
        save_file(weights, model / "text_encoder/model.safetensors", metadata={"format": "pt"})
        run("convert", model, self.folder / "converted")
        kept = CLIPTokenizer.from_pretrained(self.folder / "converted/tokenizer")
        self.assertEqual(kept(text)["input_ids"], expected)

    def copy_of_model(self, name="model"):
        return Path(shutil.copytree(self.model, self.folder / name))

    def assert_fails(self, code, says, *arguments):
        error = run("tokens", *arguments, expect=code).stderr
        self.assertIn(says, error)
        self.assertEqual(error.count("\n"), 1, error)

    # --- ids

    def test_a_file_gives_transformers_ids_and_pieces_line_by_line(self):
        chosen = random.Random(7)
        texts = ["", " ", *(" ".join(chosen.choices(WORDS, k=chosen.randint(1, 60))) for _ in range(400))]
        (self.folder / "captions.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        found = tokens(self.model, "--file", self.folder / "captions.txt")
        self.assertEqual([entry["text"] for entry in found], texts)
        wanted = self.oracle(texts, padding="max_length", truncation=True, max_length=77)["input_ids"]
        for entry, ids in zip(found, wanted, strict=True):
            whole = self.oracle.encode(entry["text"], add_special_tokens=False)
            self.assertEqual(entry["ids"], ids, entry["text"])
            self.assertEqual(entry["pieces"], self.oracle.convert_ids_to_tokens(whole[:75]))
            self.assertEqual(entry["truncated"], max(0, len(whole) - 75))
        self.assertTrue(any(entry["truncated"] for entry in found))

    def test_a_file_may_be_long_and_have_windows_line_ends(self):
        (self.folder / "many.txt").write_bytes(b"a photo of a cat on a stage\r\n" * 100_000)
        found = tokens(self.model, "--file", self.folder / "many.txt")
        self.assertEqual(len(found), 100_000)
        self.assertEqual(found[-1]["pieces"], ["a</w>", "photo</w>", "of</w>", "a</w>", "cat</w>", "on</w>", "a</w>", "stage</w>"])

    def test_chunks_take_what_one_would_cut_off(self):
        whole = self.oracle.encode("cat " * 100, add_special_tokens=False)
        entry, = tokens(self.model, "cat " * 100, "--chunks", 2)
        self.assertEqual(entry["ids"], [49406, *whole[:75], 49407, 49406, *whole[75:], *[49407] * 51])
        self.assertEqual(entry["truncated"], 0)

    def test_a_tokenizer_may_be_a_folder_a_file_or_part_of_any_kind_of_model(self):
        self.oracle.save_pretrained(self.folder / "v5")
        self.assertTrue((self.folder / "v5/tokenizer.json").exists() and not (self.folder / "v5/vocab.json").exists())
        run("convert", self.model, self.folder / "x.safetensors")
        checkpoint = self.folder / "run/checkpoints/step-1"
        shutil.copytree(self.model, checkpoint)
        (checkpoint.parent / "latest").symlink_to("step-1")
        bare = self.copy_of_model("bare")
        shutil.rmtree(bare / "tokenizer")  # as models/demo-base: CLIP's is taken
        wanted = tokens(self.model, *WORDS)
        for place in (CLIP, self.folder / "v5", self.folder / "v5/tokenizer.json", self.folder / "x.safetensors", self.folder / "run", bare):
            self.assertEqual(tokens(place, *WORDS), wanted, place)

    # --- front-ends

    def test_the_front_end_is_the_models_own_unless_another_is_asked_for(self):
        straight = tokens(self.model, STRAIGHT)[0]["ids"]
        self.assertNotEqual(tokens(self.model, CURLED)[0]["ids"], straight)
        self.assertEqual(tokens(self.model, CURLED, "--front-end", "openai")[0]["ids"], straight)
        trained = self.copy_of_model()
        config = trained / "tokenizer/tokenizer_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"kessoku_front_end": "openai"}))
        self.assertEqual(tokens(trained, CURLED)[0]["ids"], straight)
        self.assertEqual(tokens(trained, CURLED, "--front-end", "hf"), tokens(self.model, CURLED))

    def test_images_are_made_with_the_front_end_that_is_asked_for(self):
        def image(prompt, *more):
            out = self.folder / f"{len(list(self.folder.iterdir()))}"
            run("sample", self.model, "--prompt", prompt, "--out", out, "--steps", 2, "--size", "64x64", "--plain", *more)
            return out / "00000.png"

        def pixels(path):
            return np.asarray(Image.open(path)).astype(int)

        straight, openai = image(STRAIGHT), image(CURLED, "--front-end", "openai")
        np.testing.assert_array_equal(pixels(straight), pixels(openai))
        self.assertTrue((pixels(straight) != pixels(image(CURLED))).any())
        run("sample", "--from", openai, "--out", self.folder / "again")
        np.testing.assert_array_equal(pixels(self.folder / "again/00000.png"), pixels(openai))

    # --- trigger words

    def test_the_reference_runs_words_collide_until_one_is_renamed(self):
        for model, more in ((self.model, ()), (ROOT / "models/demo-base", ()), (CLIP, ())):
            done = run("tokens", model, "--compare", "Bfan1", "Bfan2", "Bofa2", "Bscreen", "--json", *more)
            comparison = json.loads(done.stdout)
            self.assertEqual(colliding(comparison), {("Bfan1", "Bfan2")}, model)
            self.assertIn("warning: Bfan1 and Bfan2 share 2 of 3 tokens", done.stderr)
            words = {entry["word"]: entry for entry in comparison["words"]}
            self.assertEqual(words["Bofa2"]["pieces"], self.oracle.tokenize("Bofa2"))
            proposed = [entry["word"] for entry in comparison["proposals"] if entry["instead_of"] == "Bfan2"]
            self.assertEqual(len(set(proposed)), 3)
            again = tokens(model, "--compare", "Bfan1", "Bofa2", "Bscreen", *proposed)
            self.assertEqual(colliding(again), set())
            self.assertEqual(again["proposals"], [])
            self.assertEqual("by their tokens alone" in done.stderr, model == CLIP)
            self.assertEqual(comparison["pairs"][0]["similarity"] is None, model == CLIP)

    def test_words_that_the_encoder_takes_for_the_same_collide(self):
        merged = self.copy_of_model()
        weights = merged / "text_encoder/model.safetensors"
        state = load_file(weights)
        table = state["text_model.embeddings.token_embedding.weight"]
        a, b = (self.oracle.encode(word, add_special_tokens=False) for word in ("kita", "guitar"))
        self.assertEqual((len(a), len(b)), (1, 1))
        table[a[0]] = table[b[0]] + 0.02 * table[b[0]].std()
        save_file(state, weights, {"format": "pt"})
        self.assertEqual(colliding(tokens(self.model, "--compare", "kita", "guitar", "drums")), set())
        done = run("tokens", merged, "--compare", "kita", "guitar", "drums")
        self.assertIn("warning: kita and guitar are nearly the same to the text encoder", done.stderr)
        self.assertRegex(done.stdout, "instead of guitar: [a-z]{4,6} ")
        # A lone file says nothing of its shapes: --config does.
        run("convert", merged, self.folder / "x.safetensors")
        save_file(load_file(self.folder / "x.safetensors"), self.folder / "bare.safetensors")
        for arguments in (("x.safetensors",), ("bare.safetensors", "--config", self.model)):
            self.assertEqual(colliding(tokens(self.folder / arguments[0], *arguments[1:], "--compare", "kita", "guitar")),
                             {("kita", "guitar")})

    def test_a_stores_captions_give_the_words(self):
        for i in range(8):
            Image.new("RGB", (64, 64), (30 * i, 0, 0)).save(self.folder / f"{i}.png")
            (self.folder / f"{i}.txt").write_text(f"Bfan{1 + i % 2}, nijika and a girl on a stage")
        run("prepare", self.folder, "--out", WORK / "store", "--resolution", 64, "--keep", "images")
        comparison = tokens(self.model, "--compare", "Bofa2", "--store", WORK / "store")
        self.assertEqual({entry["word"] for entry in comparison["words"]}, {"Bofa2", "Bfan1", "Bfan2", "nijika"})
        self.assertEqual(colliding(comparison), {("Bfan1", "Bfan2")})

    # --- training

    def test_previews_see_prompts_as_training_sees_captions(self):
        data = self.folder / "data"
        data.mkdir()
        for i in range(2):
            Image.new("RGB", (64, 64), (90 * i, 40, 0)).save(data / f"{i}.png")
            (data / f"{i}.txt").write_text(CURLED)
        run("prepare", data, "--out", self.folder / "store", "--model", self.model, "--resolution", 64)
        run_file = self.folder / "run.toml"
        run_file.write_text(f"""
            model.path = "{self.model}"
            data = {{store = "{self.folder / 'store'}", max_token_length = 150, front_end = "openai"}}
            train = {{steps = 1, global_batch = 2, micro_batch = 2, clip_skip = 1, threads = 1}}
            checkpoint.weights_dtype = "fp32"
            sample = {{every_steps = 1, prompts = ["{CURLED}"], steps = 2, size = [64, 64]}}
            metrics.port = -1
            audit.batches = 1
            """)
        run("train", run_file, "--out", self.folder / "run")
        ids = load_file(self.folder / "run/audit/step-00000001.safetensors")["input_ids"].tolist()
        self.assertEqual(ids[0], tokens(self.model, STRAIGHT, "--chunks", 2)[0]["ids"])
        self.assertEqual(tomllib.loads((self.folder / "run/config.toml").read_text())["data"]["front_end"], "openai")

        preview = self.folder / "run/samples/step-00000001/00000.png"

        def pixels(path):
            return np.asarray(Image.open(path)).astype(int)

        def made(*arguments):
            out = self.folder / f"made-{len(list(self.folder.iterdir()))}"
            run("sample", self.folder / "run", "--out", out, *arguments)
            return pixels(out / "00000.png")

        np.testing.assert_array_equal(made("--from", preview), pixels(preview))
        # The checkpoint says the front-end; the rest must be told.
        same = ("--prompt", CURLED, "--steps", 2, "--size", "64x64", "--seed", 555, "--threads", 1)
        np.testing.assert_array_equal(made(*same, "--clip-skip", 1, "--chunks", 2, "--fill-chunks"), pixels(preview))
        for lacking in (("--clip-skip", 1), ("--chunks", 2, "--fill-chunks"), ("--clip-skip", 1, "--chunks", 2)):
            self.assertTrue((made(*same, *lacking) != pixels(preview)).any(), lacking)

    # --- misuse

    def test_what_is_wrong_is_said_in_one_line(self):
        self.assert_fails(64, "no such file or folder", self.folder / "none", "a cat")
        self.assert_fails(64, "give a TEXT", self.model)
        self.assert_fails(64, "no such file", self.model, "--file", self.folder / "none.txt")
        self.assert_fails(64, "hf-fast, openai", self.model, "a cat", "--front-end", "ftfy")
        self.assert_fails(64, "--store goes with --compare", self.model, "a cat", "--store", self.folder)
        self.assert_fails(64, "two trigger words", self.model, "--compare", "Bfan1", "Bfan1")
        self.assert_fails(64, "a trigger word has 1 to 16", self.model, "--compare", "cat", "a " * 17)
        (self.folder / "tokenizer.json").write_text('{"model": {"vocab": {"a": 7}}}')
        self.assert_fails(65, "tokenizer.json", self.folder / "tokenizer.json", "a cat")
        broken = self.copy_of_model()
        with open(broken / "text_encoder/model.safetensors", "r+b") as file:
            file.truncate(1000)
        self.assert_fails(65, "text_encoder/model.safetensors", broken, "--compare", "Bfan1", "Bfan2")
        small = self.copy_of_model("small")
        config = json.loads((small / "text_encoder/config.json").read_text()) | {"vocab_size": 100}
        (small / "text_encoder/config.json").write_text(json.dumps(config))
        self.assert_fails(65, "token_embedding.weight", small, "--compare", "Bfan1", "Bfan2")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
