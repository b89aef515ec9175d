"""Captions to ids: Kessoku and Hugging Face's tokenizer (in Rust) in turn, one thread each.

    tokenizer.py TOKENIZER_SPEED [--tokenizer models/clip-tokenizer] [--texts 4000] [--repeat 5] [--out RESULT.json] [FILE …]

TOKENIZER_SPEED is the program that `ninja -C build tokenizer_speed` makes. Both tokenize the same texts, padded and truncated to 77
ids: captions of several kinds that are made here, and those of FILEs, one a line. Passes alternate, so that what else the machine does
meets both. Hugging Face's is timed as transformers is called with all texts at once ("transformers"), and as the bare Rust part
underneath ("rust"), which is the faster. Prints the median texts a second of each, and by how much Kessoku is faster than the bare Rust
part (median of the turns). Exits with 1 if the ids differ, or if Kessoku is the slower one on any kind.
"""
import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from transformers import CLIPTokenizer  # noqa: E402  (reads the environment on import)

ROOT = Path(__file__).resolve().parents[1]
LENGTH = 77
TAGS = """1girl 2girls solo long_hair short_hair pink_hair blonde_hair blue_eyes smile open_mouth blush guitar electric_guitar drums
stage school_uniform track_jacket skirt cube_hair_ornament side_ponytail ahoge looking_at_viewer from_side upper_body standing night
outdoors city_lights bokeh rooftop café score:9 rating:safe v-shaped_eyebrows >_< no_humans 4koma it's_raining""".split()
WORDS = """a the of on in with and under beside young woman man girl guitarist standing sitting playing electric guitar wooden stage crowded
evening sunlight shadow photograph painting detailed background mountain river village street rainy reflection umbrella colorful
smiling quietly towards audience, lights, behind, curtain. photographer's don't masterpiece highly intricate soft focus""".split()
SCRIPTS = ["後藤ひとり、ぼっち・ざ・ろっく！", "結束バンドのライブ", "девушка с гитарой на сцене", "فتاة تعزف على الجيتار", "초승달 아래의 소녀",
           "สาวน้อยกับกีตาร์", "नमस्ते दुनिया", "ένα κορίτσι με κιθάρα", "cafe\u0301 naïve Ünïcödé", "🎸🎉 👩‍👩‍👧", "東京の夜景", "đàn ghi-ta"]


def captions(kind: str, count: int) -> list[str]:
    chosen = random.Random(kind)
    if kind == "tags":
        return ["bocchi the rock, " + ", ".join(chosen.sample(TAGS, chosen.randint(3, 25))).replace("_", " ") for _ in range(count)]
    if kind == "sentences":
        return [" ".join(chosen.choices(WORDS, k=chosen.randint(40, 90))).capitalize() for _ in range(count)]
    if kind == "scripts":
        return [" ".join(chosen.choices(SCRIPTS, k=chosen.randint(1, 5))) for _ in range(count)]
    # No word twice: what came before helps nobody.
    letters = "eeeetttaaaooiinnsshrrddllucmwfgypbvk"
    return [" ".join("".join(chosen.choices(letters, k=chosen.randint(3, 12))) for _ in range(15)) for _ in range(count)]


class Kessoku:
    """`tokenizer_speed`, which answers a line with a line."""

    def __init__(self, program: Path, tokenizer: Path):
        self.process = subprocess.Popen([program, tokenizer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words) -> str:
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"tokenizer_speed ended at: {' '.join(map(str, words))}")
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def seconds_of(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def digest_ids(rows) -> str:
    digest = 0
    for row in rows:
        for value in row:
            digest = (digest * 31 + value) % 2**64
    return str(digest)


def measure(ours: Kessoku, theirs: CLIPTokenizer, texts: list[str], repeat: int) -> dict:
    settings = dict(padding="max_length", truncation=True, max_length=LENGTH)
    equal = ours.ask("ids") == digest_ids(theirs(texts, **settings)["input_ids"])
    bare = theirs.backend_tokenizer  # keeps the padding and truncation of the last call
    passes = {"kessoku": lambda: float(ours.ask("pass")), "rust": lambda: seconds_of(lambda: bare.encode_batch_fast(texts)),
              "transformers": lambda: seconds_of(lambda: theirs(texts, **settings))}
    seconds = {who: [] for who in passes}
    for turn in range(repeat + 1):  # the first warms up
        for who in sorted(passes, reverse=turn % 2 == 1):
            value = passes[who]()
            if turn > 0:
                seconds[who].append(value)
    faster = statistics.median(b / a for a, b in zip(seconds["kessoku"], seconds["rust"], strict=True))
    return {"texts": len(texts), "characters": sum(map(len, texts)), "equal_ids": equal, "times_rust": faster,
            **{f"{who}_texts_per_s": round(len(texts) / statistics.median(values)) for who, values in seconds.items()}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--tokenizer", type=Path, default=ROOT / "models/clip-tokenizer")
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    kinds = {kind: captions(kind, options.texts) for kind in ("tags", "sentences", "scripts", "new words")}
    for file in options.files:
        kinds[file.name] = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")

    ours, theirs = Kessoku(options.program.resolve(), options.tokenizer), CLIPTokenizer.from_pretrained(options.tokenizer)
    rows = []
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n") as file:
        for kind, texts in kinds.items():
            file.seek(0)
            file.truncate()
            file.write("\n".join(texts) + "\n")
            file.flush()
            assert int(ours.ask("load", file.name)) == len(texts)
            rows.append({"kind": kind} | measure(ours, theirs, texts, options.repeat))
            print("{kind:12} kessoku {kessoku_texts_per_s:8} texts/s  rust {rust_texts_per_s:8}  transformers {transformers_texts_per_s:8}  "
                  "{times_rust:5.1f}x rust  ids {0}".format("equal" if rows[-1]["equal_ids"] else "DIFFER", **rows[-1]),
                  file=sys.stderr, flush=True)
    ours.close()
    report = {"benchmark": "tokenizer", "machine": f"{os.cpu_count()} cores, {platform.machine()}", "threads": 1,
              "repeat": options.repeat, "rows": rows}
    print(json.dumps(report))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if all(row["equal_ids"] and row["times_rust"] >= 1 for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
