"""The structure that docs/development.md promises: which folder includes which, and one type a name."""

import re
import sys
import unittest
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP_FOLDERS = ("base", "data", "model", "metrics", "runtime", "launcher")
MOST_UNITS = 20  # in a folder; one unit is a header with its source


def sources(suffixes):
    for top in TOP_FOLDERS:
        yield from (p for p in sorted((ROOT / top).rglob("*")) if p.suffix in suffixes)


def folder_of(path):
    return path.parent.relative_to(ROOT).as_posix()


def includes():
    """(including file, its folder, included folder), for includes between folders."""
    for path in sources({".h", ".cpp"}):
        for name in re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE):
            target = (ROOT / name).parent.relative_to(ROOT).as_posix()
            if target != folder_of(path):
                yield f"{path.relative_to(ROOT)} -> {name}", folder_of(path), target


def documented_arrows():
    """The lines "folder -> folder, folder" of docs/development.md."""
    arrows = {}
    for line in (ROOT / "docs/development.md").read_text().splitlines():
        if match := re.fullmatch(r"    ([\w/]+) +-> (.+)", line):
            arrows[match[1]] = set(match[2].split(", "))
    return arrows


def covers(target, allowed):
    """A top folder in the list stands for its sub-folders, too."""
    return target in allowed or target.split("/")[0] in allowed


def cycle(arrows):
    """A path of folders that returns to its start, or None."""
    done, path = set(), []

    def visit(folder):
        if folder in path:
            return path[path.index(folder):] + [folder]
        if folder in done:
            return None
        path.append(folder)
        for target in sorted(arrows.get(folder, ())):
            if found := visit(target):
                return found
        path.pop()
        done.add(folder)
        return None

    return next((found for folder in sorted(arrows) if (found := visit(folder))), None)


class Includes(unittest.TestCase):
    def test_follow_the_arrows_of_the_development_page(self):
        arrows = documented_arrows()
        self.assertGreater(len(arrows), 20, "docs/development.md lists no arrows")
        wrong = [what for what, source, target in includes() if not covers(target, arrows.get(source, ()))]
        self.assertEqual(wrong, [], "add the arrow to docs/development.md, or turn the include")

    def test_documented_arrows_all_exist(self):
        used = defaultdict(set)
        for _, source, target in includes():
            used[source] |= {target, target.split("/")[0]}
        unused = [f"{source} -> {target}" for source, targets in documented_arrows().items()
                  for target in sorted(targets - used[source])]
        self.assertEqual(unused, [], "remove them from docs/development.md")

    def test_have_no_cycle_between_folders(self):
        arrows = defaultdict(set)
        for _, source, target in includes():
            arrows[source].add(target)
        self.assertIsNone(cycle(arrows))

    def test_of_a_cycle_are_found(self):
        self.assertEqual(cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}), ["b", "c", "b"])


class Names(unittest.TestCase):
    maxDiff = None

    # Two types of one name in one namespace violate the one-definition rule, silently: the linker
    # keeps one of their inline functions for both. Types in an anonymous namespace are exempt.

    def test_are_of_one_type_in_each_namespace(self):
        where = defaultdict(set)
        for path in [*sources({".h", ".cpp"}), *(p for p in (ROOT / "tests").rglob("*") if p.suffix in {".h", ".cpp"})]:
            for name in namespace_scope_types(path.read_text()):
                where[name].add(path.relative_to(ROOT).as_posix())
        twice = {name: sorted(paths) for name, paths in where.items() if len(paths) > 1}
        self.assertEqual(twice, {})

    def test_in_anonymous_namespaces_are_exempt(self):
        text = ("namespace kessoku::data {\nstruct A {\n};\nnamespace {\nstruct B {\n};\n}  // namespace\n"
                "class C : public A {\n};\nstruct D;\n}  // namespace kessoku::data\n")
        self.assertEqual(namespace_scope_types(text), ["kessoku::data::A", "kessoku::data::C"])


def namespace_scope_types(text):
    """Qualified names of types defined at namespace scope; clang-format leaves those unindented."""
    names, found = [], []
    for line in text.splitlines():
        if match := re.match(r"namespace ([\w:]*) ?\{", line):
            names.append(match[1])
        elif re.match(r"\}  // namespace", line) and names:
            names.pop()
        elif match := re.match(r"(?:template .*)?(?:struct|class|enum class|enum) ([\w:]+)[^;]*\{", line):
            if "" not in names:
                found.append("::".join([*names, match[1]]))
    return found


class Folders(unittest.TestCase):
    def test_hold_no_more_units_than_one_can_take_in(self):
        units = defaultdict(set)
        for path in sources({".h", ".cpp"}):
            units[folder_of(path)].add(path.stem)
        full = {folder: len(stems) for folder, stems in units.items() if len(stems) > MOST_UNITS and folder != "launcher"}
        self.assertEqual(full, {})


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
