"""What `kessoku` answers by itself, and that it starts `kessoku-core` for all else.

    command_line_test.py KESSOKU WORK_FOLDER
"""
import re
import shutil
import subprocess
import sys
import time
import unittest
from pathlib import Path

PROGRAM, WORK = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).absolute()
CORE = PROGRAM.parent / "kessoku-core"
COMMANDS = "init prepare inspect keys plan train launch sample forward convert tokens top report".split()


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)


class CommandLine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        cls.alone = WORK / "kessoku"  # with no core beside it
        shutil.copy(PROGRAM, cls.alone)

    def test_is_read_without_libtorch(self):
        def needed(program):
            return run("readelf", "-d", program).stdout

        self.assertNotIn("libtorch", needed(PROGRAM))
        self.assertNotIn("libc10", needed(PROGRAM))
        self.assertIn("libtorch_cpu", needed(CORE))

    def test_help_and_version_need_no_core(self):
        self.assertRegex(run(self.alone, "--version").stdout, r"^kessoku \d+\.\d+\.\d+ \(\S+\)$")
        listed = re.findall(r"^  (\w+) ", run(self.alone, "--help").stdout.split("Subcommands:")[1], re.M)
        self.assertEqual(listed, COMMANDS)
        for command in COMMANDS:
            with self.subTest(command):
                done = run(self.alone, command, "--help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn("Example", done.stdout)

    def test_usage_errors_need_no_core(self):
        for words, said in (
            ([], "A subcommand is required"),
            (["trian"], "there is no subcommand trian; did you mean train?"),
            (["train"], "RUN.toml is required"),
            (["sample", "--count", "many"], "--count"),
            (["convert", "a", "b", "--dtype", "int4"], "--dtype"),
            (["plan", "run.toml", "--link", "1GB/s"], "--ranks"),
            (["keys", "--json", "--schema"], "--schema"),
            (["report", "run", "--nonsense"], "--nonsense"),
        ):
            with self.subTest(words):
                done = run(self.alone, *words)
                self.assertEqual((done.returncode, done.stdout), (64, ""))
                self.assertRegex(done.stderr, rf"^kessoku: .*{re.escape(said)}.*\n$")

    def test_core_that_is_missing_is_named(self):
        done = run(self.alone, "keys")
        self.assertEqual(done.returncode, 70)
        self.assertIn(f"cannot start {WORK}/kessoku-core: No such file or directory", done.stderr)

    def test_core_is_found_through_a_link(self):
        link = WORK / "bin/kessoku"
        link.parent.mkdir()
        link.symlink_to(PROGRAM)
        self.assertIn("train.steps", run(link, "keys", "train.steps").stdout)

    def test_core_gets_arguments_exit_code_and_a_limit_to_spinning(self):
        core = WORK / "both/kessoku-core"
        core.parent.mkdir()
        shutil.copy(PROGRAM, core.parent / "kessoku")
        core.write_text('#!/bin/sh\necho "$GOMP_SPINCOUNT" "$@"\nexit 75\n')
        core.chmod(0o755)
        done = run(core.parent / "kessoku", "report", "a b", "--")
        self.assertEqual((done.returncode, done.stdout), (75, "5000 report a b --\n"))

    def test_help_takes_less_than_a_tenth_of_a_second(self):
        def seconds(*words):
            began = time.perf_counter()
            run(PROGRAM, *words)
            return time.perf_counter() - began

        for words in (["--version"], ["--help"], ["train", "--help"], ["trian"]):
            with self.subTest(words):
                self.assertLess(min(seconds(*words) for _ in range(10)), 0.1)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
