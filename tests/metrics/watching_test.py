"""What a person and other programs see of a run: the terminal, JSON lines.

    watching_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import DEADLINE, ENVIRONMENT, WORK, command, kessoku, log_of, make_inputs, run_tests


def setUpModule():
    global RUN_FILE, MODEL
    MODEL, _, RUN_FILE = make_inputs()


def train(name, *arguments, **how):
    return kessoku("train", RUN_FILE, "--out", WORK / name, *arguments, **how)


def on_terminal(words, columns=120):
    """What a command writes to a terminal on its stdout and stderr."""
    master, terminal = pty.openpty()
    os.set_blocking(master, False)
    subprocess.run(["stty", "cols", str(columns)], stdin=terminal, check=True)
    process = subprocess.Popen([str(word) for word in words], stdout=terminal, stderr=terminal, env=ENVIRONMENT)
    os.close(terminal)
    said, end = "", time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            try:
                piece = os.read(master, 1 << 16)
            except OSError:  # the other side is closed
                break
            said += piece.decode(errors="replace")
    process.wait(DEADLINE)
    os.close(master)
    return said, process.returncode


class Terminal(unittest.TestCase):
    def test_one_line_is_redrawn_in_place_also_under_mpirun(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                said, code = on_terminal(command("train", RUN_FILE, "--out", WORK / f"terminal-{ranks}", ranks=ranks))
                self.assertEqual(code, 0, said)
                self.assertIn("\rtrain  0/6 steps", said)
                last = said[said.rindex("\rtrain  6/6 steps"):].split("\n")[0]
                for figure in (r"  loss \d\.\d{4}", r"  data wait \d+ %", r"  \d+(\.\d)? [MG]B", r"  goodput \d+ %", r"  \d+ samples/s"):
                    self.assertRegex(last, figure)

    def test_a_narrow_terminal_keeps_step_rate_time_left_and_loss(self):
        said, _ = on_terminal(command("train", RUN_FILE, "--out", WORK / "narrow"), columns=64)
        lines = re.findall(r"\r(train  [^\r\n\x1b]*)", said)
        self.assertTrue(all(len(line) < 64 for line in lines), lines)
        self.assertRegex(lines[-1], r"^train  6/6 steps  \S+ steps/s  in \d+ s  loss \d\.\d{4}")

    def test_elsewhere_there_are_plain_lines_and_a_summary_that_names_what_limited_the_run(self):
        said = train("plain", ranks=2).stderr
        self.assertNotIn("\x1b", said)
        self.assertEqual(len(re.findall(r"^train  6/6 steps  100.0 %", said, re.M)), 1)
        summary = re.search(r"^6 steps in (\d+) s: (.*); limited by \w+.*$", said, re.M)
        self.assertIsNotNone(summary, said)
        shares = [int(share) for share in re.findall(r"(\d+) %", summary[2])]
        self.assertAlmostEqual(sum(shares), 100, delta=len(shares))

    def test_a_resumed_run_says_what_became_of_the_whole(self):
        train("resumed", "--set", "train.steps=3")
        self.assertRegex(train("resumed").stderr, r"\nthe run so far: 6 steps in \d+ s, 2 starts, 0 steps repeated, goodput \d+ %\n")

    def test_errors_carry_rank_and_host(self):
        said = train("odd", "--set", "train.global_batch=7", ranks=2, expect=64).stderr
        for rank in (0, 1):
            self.assertIn(f"kessoku (rank {rank} on {socket.gethostname()}): train.global_batch = 7", said)


class Json(unittest.TestCase):
    def lines_of(self, text):
        lines = [json.loads(line) for line in text.splitlines()]
        for line in lines:
            self.assertLessEqual({"time", "level", "host", "message"}, line.keys())
            self.assertEqual(line["host"], socket.gethostname())
        return lines

    def test_all_that_two_ranks_say_are_objects(self):
        lines = self.lines_of(train("json", "--log-format", "json", ranks=2).stderr)
        last = [line for line in lines if line.get("task") == "train"][-1]
        record = log_of(WORK / "json")[-1]
        self.assertEqual((last["step"], last["total"], last["rank"]), (6, 6, 0))
        self.assertEqual(last["lr"], record["lr"])
        self.assertGreater(last["memory_bytes"], 1e6)
        self.assertTrue(any("limited by" in line["message"] for line in lines))

    def test_errors_are_objects_of_their_level(self):
        said = train("json-odd", "--log-format", "json", "--set", "train.global_batch=7", ranks=2, expect=64).stderr
        errors = self.lines_of("\n".join(line for line in said.splitlines() if line.startswith("{")))  # mpirun has a word, too
        self.assertEqual({(line["level"], line["rank"]) for line in errors if "global_batch" in line["message"]}, {("error", 0), ("error", 1)})

    def test_launch_hands_the_format_on_to_the_ranks(self):
        done = kessoku("launch", "-n", 2, RUN_FILE, "--out", WORK / "json-launch", "--log-format", "json")
        lines = self.lines_of(done.stderr)
        self.assertTrue(lines[0]["message"].startswith("launch: "))
        self.assertTrue(any(line.get("step") == 6 for line in lines))

    def test_prepare_speaks_it_too(self):
        shutil.copy(WORK / "data/a/0.png", WORK / "data/a/broken.png")
        (WORK / "data/a/broken.png").write_bytes((WORK / "data/a/0.png").read_bytes()[:60])
        done = kessoku("prepare", WORK / "data", "--out", WORK / "json-store", "--model", MODEL, "--resolution", 64, "--log-format", "json")
        lines = self.lines_of(done.stderr)
        self.assertTrue(any(line.get("unit") == "images" and line["done"] > 0 for line in lines), lines)
        (WORK / "data/a/broken.png").unlink()


if __name__ == "__main__":
    run_tests()
