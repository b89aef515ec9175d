"""Writes texts and what transformers' CLIPTokenizer makes of them, for tokenizer_test.cpp.

    tokenizer_oracle.py TOKENIZER_FOLDER OUT.json [--all-characters]
"""
import json
import random
import sys
import unicodedata

from tokenizers.normalizers import NFC
from transformers import CLIPTokenizer

ODD = """
|a photo of a cat|A  Photo\tof\n\na CAT.|gotoh hitori, kita ikuyo, yamada ryo|1girl, pink_hair, (blue eyes:1.3), [[masterpiece]]
it's, I'll we've they're don't I'm he'd 'street 'S 'LL ''s '' ' 's's 'tis|x<|endoftext|>y|<|startoftext|><|endoftext|>
!<|STARTOFTEXT|>!!|<|EndOfText|>?|<|endoftext|  |<<|endoftext|>>|café cafe\u0301 CAFE\u0301|ǅ ǈ Ǆ|İstanbul ISTANBUL ıI
ΣΑΣ ς Σας|straße STRASSE ẞ|ﬁne ﬂag ＡＢＣ ａｂｃ１２|K Å Ω|ⅷ Ⅷ ½ ² ₃ ٣ ३ 一二三|後藤ひとり ぼっち・ざ・ろっく！|東京タワー、夜。|초승달 한국어
สวัสดี ครับ|مرحبا بالعالم|नमस्ते दुनिया|שלום|Привет МИР Ёж|🎸🎉 😀😀 👩‍👩‍👧 🇯🇵 1️⃣ ☺️|a\u200bb \u200d c\u00add|\ufeffbom|\x00nul\x07bel\x1bescape\x1c\x1d\x1e\x1f
a\u0085b\u00a0c\u2003d\u2028e\u2029f\u3000g\u180eh|“curly” ‘quotes’ — dash… «x»|&amp; &lt;b&gt;|\ufffd\ufffe\U0010ffff|ſ'ſ|0123456789 3.14 1e-6
supercalifragilisticexpialidocious antidisestablishmentarianism|___ --- ... !!! ?!?!|a.b,c;d:e|x^2+y^2=z^2 \\frac{1}{2}|C++ C# .NET @user #tag $5 50%
\u0300\u0301|e\u0323\u0301|\u1112\u1161\u11ab|ﷺ|𝕳𝖊𝖑𝖑𝖔 𐐀𐐨|\u1e9b\u0323|\u0345α|Ǳ|ŉ|և|ǰ ẖ|ᾳ ᾼ ῼ|\u03f4|\u2126|ꟊ Ʂ
"""


def new_marks() -> set[int]:
    """Combining marks that the tokenizers package does not know as such: its tables for NFC are of an older Unicode."""
    marks = [c for c in range(0x110000) if unicodedata.combining(chr(c))]
    return {c for c in marks if NFC().normalize_str(f"e{chr(c)}\u0301") != unicodedata.normalize("NFC", f"e{chr(c)}\u0301")}


def odd_texts() -> list[str]:
    texts = [t for line in ODD.strip("\n").split("\n") for t in line.split("|")]
    # The bars inside the specials' spellings were cut too: add those whole.
    texts += ["x <|endoftext|>y", "<|startoftext|><|endoftext|>", "!<|STARTOFTEXT|>!!", "a<|EndOfText|>?b",
              "<|endoftext|", "<<|endoftext|>>", "<|startoftext|> cat <|ENDOFTEXT|>", "a | b", "|"]
    texts += ["", " ", "\n", "cat " * 100, "a" * 300, "🎸" * 60, "!" * 200, "ab" * 500 + "é" * 50]
    return texts


def captions(rng: random.Random) -> list[str]:
    words = ("girl boy guitar stage Kessoku band smile smiling hair blue pink long-haired crowd's night 2 12 school "
             "uniform, holding; (best quality:1.2) anime screenshot fanart Tōkyō naïve O'Brien mid-2000s").split()
    return [" ".join(rng.choices(words, k=rng.randint(1, 60))) for _ in range(500)]


def in_context(characters: list[int], rng: random.Random) -> list[str]:
    shapes = ["a{}b", "{}", "A {} B", "x{0}{0}", "1{}2", "'{}", "e{}\u0301", "{}'s", ".{}.", "の{}の"]
    return [rng.choice(shapes).format(chr(c)) for c in characters]


def interesting(character: int) -> bool:
    """Characters whose class, case or normal form could go wrong."""
    c = chr(character)
    return c.isspace() or c.lower() != c or c.upper() != c or unicodedata.normalize("NFC", c) != c


def texts(everything: bool) -> list[str]:
    rng = random.Random(20240501)
    unknown = new_marks()
    assigned = [c for c in range(1, 0x110000)
                if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) not in ("Cn", "Co")
                and c not in unknown]
    bmp = [c for c in assigned if c < 0x10000]
    if everything:
        return in_context(assigned, rng)
    chosen = rng.sample(bmp, 2500) + rng.sample(assigned, 500) + rng.sample([c for c in bmp if interesting(c)], 1000)
    mixtures = ["".join(chr(rng.choice(bmp)) for _ in range(rng.randint(2, 12))) for _ in range(1000)]
    return odd_texts() + captions(rng) + in_context(chosen, rng) + mixtures


def main(folder: str, out: str, everything: bool) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    records = []
    batch = texts(everything)
    framed = tokenizer(batch, padding="max_length", max_length=77, truncation=True).input_ids
    whole = tokenizer(batch).input_ids
    for text, ids, all_ids in zip(batch, framed, whole):
        pieces = tokenizer.convert_ids_to_tokens(all_ids[1:-1][:75])
        records.append({"text": text, "ids": ids, "pieces": pieces, "truncated": max(0, len(all_ids) - 77)})
    with open(out, "w", encoding="utf-8") as file:
        json.dump(records, file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--all-characters" in sys.argv)
