"""README and docs/: links lead somewhere, lines are short, code blocks say their language.

links_test.py KESSOKU WORK_FOLDER [TESTS...]
"""

import re
import sys
import unittest

from pages import PAGES, ROOT, blocks, name_of, prose

LONGEST_LINE = 100  # characters; tables may be longer
WRITTEN_ON_GPUS = "bench/results/bundle.json", "bench/results/gpu.json"
LANGUAGES = {"sh", "toml", "yaml", "text", "python"}
SHELL_WORDS = r"(build/)?kessoku [a-z]|mpirun |sbatch |scripts/|cmake |ninja |ctest |python"


def anchors(page):
    """As GitHub makes them: lower case, without punctuation, spaces as hyphens."""
    found = set()
    fenced = False
    for line in page.read_text().splitlines():
        fenced ^= line.startswith("```")
        if not fenced and (heading := re.fullmatch(r"#+ (.+)", line)):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            while anchor in found:
                anchor += "-1"
            found.add(anchor)
    return found


def links(page):
    """Targets of [text](target), also over the ends of lines."""
    text = page.read_text()
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`]*`", "", text)
    yield from re.findall(r"\]\(([^)\s]+)\)", text)


class Links(unittest.TestCase):
    def test_relative_links_and_anchors_lead_somewhere(self):
        dead, followed = [], 0
        for page in PAGES:
            for link in links(page):
                if re.match(r"https?://", link):
                    continue
                followed += 1
                path, _, anchor = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                if not target.exists() or not target.is_relative_to(ROOT):
                    dead.append(f"{name_of(page)}: {link}: no such file")
                elif anchor and anchor not in anchors(target):
                    dead.append(f"{name_of(page)}: {link}: no such heading")
        self.assertEqual(dead, [])
        self.assertGreater(followed, 50, "the links are not found anymore")

    def test_every_page_can_be_reached_from_the_readme(self):
        reached, waiting = set(), [PAGES[0]]
        while waiting:
            page = waiting.pop()
            if page in PAGES and page not in reached:
                reached.add(page)
                waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
        self.assertEqual([name_of(page) for page in PAGES if page not in reached], [])

    def test_files_named_in_the_text_exist(self):
        missing = []
        for page in PAGES:
            text = "\n".join(line for _, line in prose(page))
            names = re.findall(r"`((?:tests|scripts|configs|docs|cmake|bench)/[\w./-]+)", text)
            for name in names:
                if name not in WRITTEN_ON_GPUS and not (ROOT / name).exists():
                    missing.append(f"{name_of(page)}: {name}")
        self.assertEqual(missing, [])

    def test_lines_are_short(self):
        long = [f"{name_of(page)}:{number}" for page in PAGES for number, line in prose(page)
                if len(line) > LONGEST_LINE]
        long += [f"{name_of(page)}:{begin + i}" for page in PAGES for _, begin, text in blocks(page)
                 for i, line in enumerate(text.splitlines()) if len(line) > LONGEST_LINE]
        self.assertEqual(long, [])

    def test_blocks_say_their_language_so_that_commands_are_found(self):
        wrong = []
        for page in PAGES:
            for language, begin, text in blocks(page):
                if language not in LANGUAGES:
                    wrong.append(f"{name_of(page)}:{begin}: a block of {language or 'no language'}")
                if language == "text" and re.search(rf"^({SHELL_WORDS})", text, re.MULTILINE):
                    wrong.append(f"{name_of(page)}:{begin}: a command in a block of text")
            for number, line in enumerate(page.read_text().splitlines(), 1):
                if re.match(rf"    \s*(\$ )?({SHELL_WORDS})", line):
                    wrong.append(f"{name_of(page)}:{number}: a command in an indented block")
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
