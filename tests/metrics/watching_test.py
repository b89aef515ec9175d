"""What a person and other programs see of a run: the terminal, JSON lines, `kessoku top`, TensorBoard, and the ledger.

    watching_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
import numpy as np
from harness import (DEADLINE, ENDLESS, ENVIRONMENT, PROGRAM, WORK, command, kessoku, last_step, log_of, make_inputs, mpirun_of, ranks_of,
                     require_same_weights, run_tests, start, wait_for)
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def setUpModule():
    global RUN_FILE, MODEL
    MODEL, _, RUN_FILE = make_inputs()


def train(name, *arguments, **how):
    return kessoku("train", RUN_FILE, "--out", WORK / name, *arguments, **how)


def kill_after(test, run, *arguments):
    """A run that goes on without end, killed some steps after a checkpoint; the last step that it took."""
    process = start(command("train", RUN_FILE, "--out", run, *ENDLESS, "--set", "checkpoint.every_steps=10", *arguments), WORK / f"{run.name}.err")
    test.addCleanup(process.kill)
    wait_for(lambda: (run / "checkpoints/latest").exists() and last_step(run) % 10 in (4, 5, 6), "a step after a checkpoint")
    process.kill()
    process.wait()
    return last_step(run)


def on_terminal(words, columns=120, rows=24, until=None):
    """What a command writes to a terminal on its stdout and stderr; it is interrupted when `until` is in it."""
    master, terminal = pty.openpty()
    os.set_blocking(master, False)
    subprocess.run(["stty", "cols", str(columns), "rows", str(rows)], stdin=terminal, check=True)
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
        if until and until(said):
            process.send_signal(signal.SIGINT)
            break
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


class Top(unittest.TestCase):
    def top(self, run):
        return kessoku("top", run, "--once").stdout

    def test_it_follows_a_run_from_its_folder(self):
        run = WORK / "top"
        process = start(command("train", RUN_FILE, "--out", run, *ENDLESS, ranks=2), WORK / "top.err")
        self.addCleanup(process.kill)
        wait_for(lambda: last_step(run) > 12, "12 steps")
        said = self.top(run)
        step = int(re.match(r"test: training, step (\d+) of 1000000, 0\.0 %, .* left\n", said)[1])
        self.assertGreaterEqual(step, 12)
        for line in (r"  loss +\d\.\d+ in the mean of the last \d+ steps; gradient norm", r"  pace +\S+ s a step, \S+ samples/s; last step",
                     r"  time +\d+ s: .*\d+ % compute", r"  checkpoint +step \d+, \d+ s ago; \d kept", r"  ranks +2 ranks"):
            self.assertRegex(said, line)
        screen, _ = on_terminal([PROGRAM, "top", run], until=lambda said: said.count("\x1b[H") >= 3)
        frames = [int(step) for step in re.findall(r"training, step (\d+)", screen)]
        self.assertGreater(frames[-1], frames[0])
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.wait(DEADLINE), 75)
        self.assertRegex(self.top(run), r"^test: stopped \d+ s ago, step \d+")

    def test_it_asks_the_exporters_of_ranks_and_launch(self):
        run, login = WORK / "top-ranks", WORK / "login"
        login.write_text("ann:pass word\n")
        process = start(command("launch", "-n", 2, RUN_FILE, "--out", run, *ENDLESS, "--set", f"metrics.login_file='{login}'"), WORK / "top-ranks.err")
        self.addCleanup(process.kill)
        wait_for(lambda: last_step(run) > 12, "12 steps")
        said = self.top(run)
        self.assertRegex(said, r"\n  launch +has started, 2 of 2 ranks; no restart\n  rank +host")
        for rank in (0, 1):
            self.assertRegex(said, rf"\n  {rank} +{socket.gethostname()} +training +\d+ s ago( +\d+ %){{2}} +[\d.]+ +\d+ of \d+ +\d+(\.\d)? MB  ")
        stopped = ranks_of(mpirun_of(process.pid))[1]
        os.kill(stopped, signal.SIGSTOP)
        try:
            self.assertRegex(self.top(run), r"\n  1 +127\.0\.0\.1:\d+ +does not answer\n")
        finally:
            os.kill(stopped, signal.SIGCONT)
        screen, _ = on_terminal([PROGRAM, "top", run], rows=8, until=lambda said: said.count("\x1b[H") >= 2)
        self.assertIn("and 1 more", screen)
        login.write_text("ann:another\n")
        self.assertRegex(self.top(run), r"\n  0 +127\.0\.0\.1:\d+ +asks for the login of metrics\.login_file\n")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(DEADLINE), 75)
        self.assertNotIn("launch", self.top(run))

    def test_it_knows_a_run_that_ended_one_that_was_killed_and_none(self):
        train("top-done", "--set", "train.steps=2")
        self.assertRegex(self.top(WORK / "top-done"), r"^test: complete \d+ s ago, step 2 of 2, 100\.0 %\n")
        run = WORK / "top-killed"
        kill_after(self, run)
        records = [json.dumps(record | {"time": record["time"] - 3600}) for record in log_of(run)]
        (run / "log.jsonl").write_text("\n".join(records) + "\n")
        book = [json.loads(line) for line in (run / "account.jsonl").read_text().splitlines()]
        for entry in book:
            for place in (entry, entry["account"]):
                for key in ("time", "began", "until"):
                    if key in place:
                        place[key] -= 3600
        (run / "account.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in book))
        self.assertRegex(self.top(run), r"^test: no step for 1 h 0 min, step \d+")
        self.assertIn("holds no run", kessoku("top", WORK / "data", "--once", expect=64).stderr)


class TensorBoard(unittest.TestCase):
    def scalars(self, run):
        events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
        events.Reload()
        return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}, events

    def require_log(self, run):
        """Each step of the log is there, once, as it stands there."""
        scalars, events = self.scalars(run)
        records = log_of(run)
        self.assertEqual([event.step for event in events.Scalars("train/loss")], [record["step"] for record in records])
        for record in records:
            for key in ("loss", "grad_norm", "lr", "samples_per_second"):
                self.assertEqual(scalars[f"train/{key}"][record["step"]], np.float32(record[key]))
            for folder, loss in record["category_losses"].items():
                self.assertEqual(scalars[f"loss_of_folder/{folder}"][record["step"]], np.float32(loss))
            self.assertEqual(scalars["seconds/forward"][record["step"]], np.float32(record["phases"]["forward"]))
        return scalars

    def test_it_shows_what_the_log_has(self):
        train("board", "--set", "metrics.tensorboard=true", "--set", "validation.fraction=0.2", ranks=2)
        scalars = self.require_log(WORK / "board")
        self.assertEqual(list(scalars["validation/loss"]), [6])

    def test_steps_that_are_repeated_after_a_kill_replace_those_before(self):
        run, on = WORK / "board-killed", ("--set", "metrics.tensorboard=true")
        reached = kill_after(self, run, *on)
        newest = int((run / "checkpoints/latest").readlink().name[5:])
        self.assertGreater(reached, newest)
        steps = reached + 3
        train(run.name, *on, "--set", f"train.steps={steps}")
        self.assertEqual(len(list((run / "tensorboard").iterdir())), 2)
        self.require_log(run)
        self.assertEqual(last_step(run), steps)

    def test_a_run_that_does_more_once_and_less_then_has_no_steps_beyond_its_end(self):
        """--resume of an older checkpoint: the steps after it are gone."""
        run, on = WORK / "board-back", ("--set", "metrics.tensorboard=true")
        train(run.name, *on)
        train(run.name, *on, "--resume", run / "checkpoints/step-00000003", "--set", "train.steps=4")
        self.require_log(run)
        self.assertEqual(last_step(run), 4)


class Ledger(unittest.TestCase):
    ON = ("--set", "metrics.ledger=true")

    def newest(self, run):
        return max((run / "ledger").iterdir())

    def images(self, run):
        about, *images = [json.loads(line) for line in self.newest(run).read_text().splitlines()]
        return about, [image for image in images if image["count"]]

    def test_it_holds_what_each_draw_lost(self):
        """Beside audit/, which has timesteps and losses as the ranks computed them, and the log's counts by folder."""
        train("ledger", *self.ON, "--set", "audit.batches=6", ranks=2)
        about, images = self.images(WORK / "ledger")
        self.assertEqual(about, {"first_step": 0, "step": 6})
        batches = [load_file(file) for file in sorted((WORK / "ledger/audit").iterdir())]
        timesteps = np.concatenate([batch["timesteps"].ravel() for batch in batches])
        losses = np.concatenate([batch["loss"].ravel() for batch in batches]).astype(np.float64)
        for place in range(10):
            own = losses[timesteps // 100 == place]
            count, total, squares = np.sum([image["bins"].get(str(place), [0, 0, 0]) for image in images], axis=0)
            self.assertEqual(count, len(own))
            np.testing.assert_allclose([total, squares], [own.sum(), (own**2).sum()], rtol=1e-12)
        drawn = Counter()
        for record in log_of(WORK / "ledger"):
            drawn.update(record["categories"])
        ours = Counter()
        for image in images:
            ours[image["folder"].split("/")[0]] += image["count"]
            self.assertTrue(image["image"].startswith(image["folder"] + "/"))
            self.assertAlmostEqual(image["mean"], sum(total for _, total, _ in image["bins"].values()) / image["count"])
        self.assertEqual(ours, drawn)

    def test_it_has_the_same_bits_for_any_ranks_and_after_a_kill(self):
        undisturbed, run = WORK / "ledger-whole", WORK / "ledger-killed"
        settings = (*self.ON, "--set", "train.micro_batch=4")
        steps = ("--set", f"train.steps={kill_after(self, run, *settings) + 3}")
        train(run.name, *settings, *steps, ranks=2)
        train(undisturbed.name, *settings, *steps)
        require_same_weights(run, undisturbed)
        self.assertEqual(self.newest(run).name, self.newest(undisturbed).name)
        self.assertEqual(self.newest(run).read_bytes(), self.newest(undisturbed).read_bytes())
        kept = {path.name for path in (run / "checkpoints").iterdir() if not path.is_symlink()}
        self.assertEqual({path.stem for path in (run / "ledger").iterdir()}, kept)

    def test_one_that_is_switched_on_later_says_from_where_it_counts(self):
        train("ledger-late", "--set", "train.steps=3")
        self.assertIn("the ledger begins with step 4", train("ledger-late", *self.ON).stderr)
        self.assertEqual(self.images(WORK / "ledger-late")[0], {"first_step": 3, "step": 6})

    def test_inspect_and_report_list_the_images(self):
        run = WORK / "ledger-shown"
        train(run.name, *self.ON, "--set", "train.steps=24", "--set", "checkpoint.every_steps=24")
        _, images = self.images(run)
        shown = json.loads(kessoku("inspect", run, "--json").stdout)["ledger"]
        means = {image["image"]: image["mean"] for image in images}
        self.assertTrue(shown["worst"] and shown["best"])
        for image in shown["worst"] + shown["best"]:
            self.assertEqual(image["mean"], means[image["image"]])
        self.assertGreater(shown["worst"][0]["relative"], 1)
        self.assertLess(shown["best"][0]["relative"], 1)
        self.assertEqual(sum(folder["draws"] for folder in shown["folders"]), 8 * 24)
        said = kessoku("inspect", run).stdout
        self.assertIn("losses of steps 1 to 24\n", said)
        self.assertIn(shown["worst"][0]["image"], said)
        kessoku("report", run)
        page = (run / "report.html").read_text()
        for words in ("Learned worst", "Loss by folder and timesteps", shown["worst"][0]["image"]):
            self.assertIn(words, page)


if __name__ == "__main__":
    run_tests()
