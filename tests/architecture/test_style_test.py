"""How tests are named and written, as docs/development.md says: test_style_test.py"""

import ast
import re
import sys
import unittest
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
WORDS = re.compile(r"([A-Z][a-z0-9]*)+")


def googletest_cases():
    """(file, TEST or TEST_F, suite, case)"""
    for path in sorted(TESTS.rglob("*.cpp")):
        for words in re.findall(r"^(TEST(?:_[FP])?)\((\w+),\s*(\w+)\)", path.read_text(), re.MULTILINE):
            yield path.relative_to(TESTS).as_posix(), *words


def python_scripts():
    """Those that CTest runs as Python tests, by their paths."""
    for lists in sorted(TESTS.rglob("CMakeLists.txt")):
        for name in re.findall(r"^ *kessoku_python_test\(\S+\s+SCRIPT\s+([\w/]+\.py)", lists.read_text(), re.MULTILINE):
            yield lists.parent / name


def test_classes(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "unittest.TestCase" for base in node.bases):
            yield node


class TestStyle(unittest.TestCase):
    def test_googletest_cases_are_sentences_in_camel_case(self):
        cases = list(googletest_cases())
        self.assertGreater(len(cases), 400)
        odd = [case for case in cases if not all(map(WORDS.fullmatch, case[2:])) or case[2].endswith("Test")]
        self.assertEqual(odd, [])

    def test_a_suite_has_one_fixture(self):
        """GoogleTest fails a suite with two, as one program holds several files."""
        fixtures = defaultdict(set)
        for file, kind, suite, _ in googletest_cases():
            fixtures[suite].add(file if kind == "TEST_F" else "none")
        self.assertEqual({suite: sorted(files) for suite, files in fixtures.items() if len(files) > 1}, {})

    def test_python_tests_are_methods_of_unittest(self):
        scripts = set(python_scripts())
        self.assertGreater(len(scripts), 25)
        for path in sorted(scripts):
            with self.subTest(path.relative_to(TESTS)):
                classes = list(test_classes(path))
                self.assertTrue(classes, "no class of unittest.TestCase: one failure would hide the others")
                for node in classes:
                    self.assertFalse(node.name.endswith("Test"), node.name)
                    self.assertIn("test_", " ".join(m.name for m in node.body if isinstance(m, ast.FunctionDef)))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
