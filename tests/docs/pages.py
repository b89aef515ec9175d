"""The Markdown pages for users, README first, and their fenced blocks."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "bench/RESULTS.md"]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page):
    """(language, first line's number, text) of each fenced block."""
    language, begin, lines = None, 0, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if fence := re.fullmatch(r"```(\w*)", line):
            if language is None:
                language, begin, lines = fence[1], number + 1, []
            else:
                yield language, begin, "\n".join(lines)
                language = None
        elif language is not None:
            lines.append(line)
    if language is not None:
        raise AssertionError(f"{name_of(page)}:{begin - 1}: the block has no end")


def prose(page):
    """(number, line) of what is neither in a fenced or indented block nor in a table."""
    fenced = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith(("    ", "|")):
            yield number, line
