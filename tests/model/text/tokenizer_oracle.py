"""Writes texts and the ids that the tokenizers of others give them, for tokenizer_test.cpp.

    tokenizer_oracle.py TOKENIZER_FOLDER OUT_FOLDER CORPUS [--all-characters]

CORPUS: one text a line, tokenized beside the texts made here. Writes framed.json (as the text encoder takes them: ids, pieces,
truncated) and FRONT_END-N.json ([text, ids without start and end] each): "hf-fast" is transformers' CLIPTokenizer, "openai" is
what OpenAI's simple_tokenizer does, with ftfy, html and regex.
"""
import argparse
import html
import json
import os
import random
import unicodedata
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import ftfy  # noqa: E402
import regex  # noqa: E402
from ftfy.badness import is_bad  # noqa: E402
from transformers import CLIPTokenizer  # noqa: E402

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


EMOJI_TEST = Path("/usr/share/unicode/emoji/emoji-test.txt")  # of Debian's unicode-data
HTML = ["&amp; &lt;b&gt;", "a &lt; b & c", "&amp;amp;", "&AMP;", "&NTILDE;&Eacute;&EACUTE; &nTILDE;", "&#65;&#x42;&#1234567890;", "&#128;&#x85;",
        "&notit; &not", "&lt;tag <b> &eacute;", "x<y\n&eacute;\nz", "&eacute;\n<b>\n&eacute;", "&; &# &#; &#x; &amp", "&#59; &semi;", "&#0;&#x1b;[31mred",
        "&CounterClockwiseContourIntegral; &CounterClockwiseContourIntegralX;", "&nbsp;&nbsp;x", "&#8217;s &rsquo;s", "&fjlig;&ThickSpace;",
        "&\u00e9; &aacut\u00e9;", "&#x110000; &#xD800;", "&hellip;&AMP;AMP;", "&copy &copyright;"]
FTFY = ["\u2018a\u2019 \u201cb\u201d \u201a\u201e\u201f\u201b", "\uff21\uff22\uff43 \uff11\uff01 \uff76\uff9e \uffe6", "\ufb01ne \ufb05 \u0149 \u01c4\u01c5\u01c6",
        "\x1b[31mred\x1b[0m \x1b[;;m \x1b[31", "a\r\nb\rc\u2028d\u2029e\u0085f", "\x80\x85\x93\x9f", "it'\u017f 'S '\u017f", "<|\u017ftartoftext|>",
        "<|ENDOFTEXT|>x<|StartOfText|>", "\u0345a\u0345b", "\u039f\u0394\u039f\u03a3 \u03a3 \u03a3\u03a3. \u03a3\u0301", "\ufeffx\ufeff\ufffc", "e\x00\u0301", "\x1b\x00[31m", "\r\x00\n"]


def odd_texts() -> list[str]:
    texts = [t for line in ODD.strip("\n").split("\n") for t in line.split("|")]
    # The bars inside the specials' spellings were cut too: add those whole.
    texts += ["x <|endoftext|>y", "<|startoftext|><|endoftext|>", "!<|STARTOFTEXT|>!!", "a<|EndOfText|>?b",
              "<|endoftext|", "<<|endoftext|>>", "<|startoftext|> cat <|ENDOFTEXT|>", "a | b", "|"]
    texts += ["", " ", "\n", "cat " * 100, "a" * 300, "🎸" * 60, "!" * 200, "ab" * 500 + "é" * 50]
    return texts + HTML + FTFY


def captions(rng: random.Random) -> list[str]:
    words = ("girl boy guitar stage Kessoku band smile smiling hair blue pink long-haired crowd's night 2 12 school "
             "uniform, holding; (best quality:1.2) anime screenshot fanart Tōkyō naïve O'Brien mid-2000s").split()
    return [" ".join(rng.choices(words, k=rng.randint(1, 60))) for _ in range(500)]


def emoji() -> list[str]:
    """Every emoji sequence of Unicode, in a caption."""
    lines = [line.split("#")[0].split(";")[0].split() for line in EMOJI_TEST.read_text(encoding="utf-8").splitlines()]
    return [f"1girl, {''.join(chr(int(c, 16)) for c in codes)}!" for codes in lines if codes]


SHAPES = ["{}", "a{}b", "A {} B", "x{0}{0}", "1{}2", "'{}", "e{}\u0301", "{}'s", ".{}.", "の{}の", "é{0}é{0}", "{0} {0}"]


def in_contexts(characters: list[int], shapes: list[str]) -> list[str]:
    return [shape.format(chr(c)) for shape in shapes for c in characters]


def interesting(character: int) -> bool:
    """Characters whose class, case or normal form could go wrong."""
    c = chr(character)
    return c.isspace() or c.lower() != c or c.upper() != c or unicodedata.normalize("NFC", c) != c


def text_groups(corpus: list[str], everything: bool):
    rng = random.Random(20240501)
    bmp = [c for c in range(0x10000) if not 0xD800 <= c < 0xE000]
    beyond = [c for c in range(0x10000, 0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Co")]
    if everything:
        for shape in SHAPES:
            yield in_contexts(bmp, [shape])
        yield in_contexts(beyond, ["a{}b", "é{0}é{0}"])
        return
    yield odd_texts() + captions(rng)
    yield corpus + emoji()
    yield in_contexts(bmp, ["{}"])
    chosen = rng.sample(bmp, 300) + rng.sample(beyond, 100) + rng.sample([c for c in bmp if interesting(c)], 200)
    yield in_contexts(chosen, SHAPES)
    yield ["".join(chr(rng.choice(bmp)) for _ in range(rng.randint(2, 12))) for _ in range(1000)]


class OpenAi:
    """simple_tokenizer of OpenAI's CLIP, with byte-pair encoding by the tokenizers package."""
    PATTERN = regex.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
                            regex.IGNORECASE)

    def __init__(self, tokenizer: CLIPTokenizer):
        self.model = tokenizer.backend_tokenizer.model
        self.special = {"<|startoftext|>": tokenizer.bos_token_id, "<|endoftext|>": tokenizer.eos_token_id}
        printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
        rest = [b for b in range(256) if b not in printable]
        self.symbol = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}

    def ids(self, text: str) -> list[int] | None:
        """None where ftfy repairs a text that was decoded by a wrong encoding: that, Kessoku leaves alone."""
        fixed = ftfy.fix_text(text)
        if is_bad(text) and fixed != ftfy.fix_text(text, fix_encoding=False):
            return None
        clean = html.unescape(html.unescape(fixed)).strip()
        clean = regex.sub(r"\s+", " ", clean).strip().lower()
        ids = []
        for word in self.PATTERN.findall(clean):
            if word in self.special:
                ids.append(self.special[word])
            else:
                ids += [token.id for token in self.model.tokenize("".join(self.symbol[b] for b in word.encode()))]
        return ids


def write(path: Path, value) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--all-characters", action="store_true")
    a = parser.parse_args()
    tokenizer = CLIPTokenizer.from_pretrained(a.folder)
    openai = OpenAi(tokenizer)

    framed = []
    batch = odd_texts()
    for text, ids, whole in zip(batch, tokenizer(batch, padding="max_length", max_length=77, truncation=True).input_ids,
                                tokenizer(batch).input_ids):
        pieces = tokenizer.convert_ids_to_tokens(whole[1:-1][:75])
        framed.append({"text": text, "ids": ids, "pieces": pieces, "truncated": max(0, len(whole) - 77)})
    write(a.out / "framed.json", framed)

    repaired = total = 0
    corpus = a.corpus.read_text(encoding="utf-8").split("\n")
    for number, group in enumerate(text_groups(corpus, a.all_characters)):
        write(a.out / f"hf-fast-{number}.json", [[t, ids[1:-1]] for t, ids in zip(group, tokenizer(group).input_ids)])
        pairs = [[t, openai.ids(t)] for t in group]
        repaired += sum(ids is None for _, ids in pairs)
        total += len(group)
        write(a.out / f"openai-{number}.json", [pair for pair in pairs if pair[1] is not None])
    print(f"{total} texts; {repaired} of them ftfy takes for wrongly decoded")
    assert repaired < total / 500, "ftfy repairs more texts than it should"


if __name__ == "__main__":
    main()
