"""kessoku plan --ranks: what it takes, and what it says; tests/runtime/planning/step_time_model_test.cpp has the model itself.

    scaling_plan_test.py KESSOKU WORK_FOLDER
"""
import json
import math
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import WORK, kessoku, make_inputs, run_tests


class ScalingPlan(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()

    def plan(self, *arguments):
        return json.loads(kessoku("plan", self.run_file, "--json", *arguments).stdout)["scaling"]

    def told(self, *arguments):
        return self.plan("--compute", "0.8s", *arguments)

    def test_steps_are_measured_and_more_ranks_do_less_each(self):
        scaling = self.plan("--ranks", "1,2,4", "--link", "1Gbit/s")
        rows = scaling["rows"]
        self.assertEqual([(row["micro_batch"], row["accumulation"]) for row in rows], [(8, 1), (4, 1), (2, 1)])
        self.assertGreater(rows[0]["compute_seconds"], rows[1]["compute_seconds"])
        self.assertGreater(rows[1]["compute_seconds"], rows[2]["compute_seconds"])
        self.assertEqual(rows[0]["communication_seconds"], 0)
        for row in rows:
            self.assertTrue(math.isclose(row["seconds"], row["compute_seconds"] + row["exposed_seconds"]))
            self.assertTrue(math.isclose(row["samples_per_second"], 8 / row["seconds"]))
            self.assertGreater(row["memory"]["activations"], 1e6)
            self.assertGreater(row["memory"]["program"], 5e7)
        self.assertGreater(rows[0]["memory"]["activations"], 1.5 * rows[1]["memory"]["activations"])
        self.assertAlmostEqual(rows[0]["memory"]["moments"] / rows[1]["memory"]["moments"], 2, places=3)  # but for padding
        table = kessoku("plan", self.run_file, "--ranks", "1,2", "--link", "1Gbit/s").stdout
        self.assertIn("efficiency", table)
        self.assertIn("memory a rank", table)

    def test_bandwidths_in_all_units(self):
        for text, rate in (("25GB/s", 25e9), ("100Gbit/s", 12.5e9), ("10Gbps", 1.25e9), ("400MiB/s", 400 * 2**20), ("1gbit", 1.25e8)):
            self.assertEqual(self.told("--ranks", "2", "--link", text)["link"], rate, text)
        self.assertAlmostEqual(self.told("--ranks", "2", "--link", "1GB/s", "--latency", "5us")["latency"] * 1e6, 5)

    def test_what_one_is_told_is_divided_in_proportion(self):
        rows = self.told("--ranks", "1,2,3,8", "--link", "1000TB/s", "--latency", "0s")["rows"]
        self.assertEqual(rows[2], {"ranks": 3, "problem": "a global batch of 8 does not divide"})
        for row in (rows[0], rows[1], rows[3]):
            self.assertAlmostEqual(row["seconds"], 0.8 / row["ranks"], places=6)
            self.assertAlmostEqual(row["efficiency"], 1, places=4)
            self.assertEqual(row["memory"]["activations"], 0)

    def test_weak_scaling_keeps_what_a_rank_does(self):
        rows = self.told("--ranks", "2,4,512", "--link", "1000TB/s", "--latency", "0s", "--weak")["rows"]
        self.assertEqual([row["global_batch"] for row in rows], [8, 16, 2048])
        for row in rows:
            self.assertAlmostEqual(row["seconds"], 0.4, places=6)

    def test_slower_links_take_longer(self):
        seconds = [self.told("--ranks", "4", "--link", link, *more)["rows"][0]["exposed_seconds"]
                   for link, *more in (("100GB/s",), ("1Gbit/s", "--set", "communication.wire=bf16"), ("1Gbit/s",),
                                       ("1Gbit/s", "--set", "communication.overlap=false"),
                                       ("1Gbit/s", "--set", "communication.overlap=false", "--ranks-per-host", "2"))]
        self.assertEqual(seconds, sorted(seconds))
        self.assertEqual(len(set(seconds)), len(seconds))

    def test_a_run_tells_what_its_steps_took(self):
        kessoku("train", self.run_file, "--out", WORK / "run", "--set", "metrics.port=-1", ranks=2)
        log = [json.loads(line) for line in (WORK / "run/log.jsonl").read_text().splitlines()][2:]
        phases = {phase: sorted(record["phases"][phase] for record in log)[len(log) // 2] for phase in ("forward", "backward", "optimizer")}
        row = self.plan("--ranks", "2", "--link", "1000TB/s", "--latency", "0s", "--compute", WORK / "run")["rows"][0]
        self.assertAlmostEqual(row["compute_seconds"], sum(phases.values()), places=6)

    def test_a_gpu_takes_at_least_what_its_data_sheet_says(self):
        """The operations are those that a training counts, which replay_test compares with PyTorch's counter."""
        kessoku("train", self.run_file, "--out", WORK / "counted", "--set", "metrics.port=-1")
        trained = max(json.loads(line)["flops"] for line in (WORK / "counted/log.jsonl").read_text().splitlines())
        scaling = self.plan("--ranks", "1,2", "--link", "25GB/s", "--compute", "a100")
        budget = scaling["budget"]
        lines = {line["kind"]: line for line in budget["lines"]}
        self.assertEqual(sum(line["flops"] for line in lines.values()), trained)
        for kind in ("convolutions", "matrix products", "attention"):
            self.assertGreaterEqual(lines[kind]["seconds"] * 1.0001, lines[kind]["flops"] / 19.5e12)
            self.assertGreaterEqual(lines[kind]["seconds"] * 1.0001, lines[kind]["bytes"] / 2039e9)
        for line in lines.values():
            self.assertLessEqual(line["seconds"], 1.0001 * (line["flops"] / 19.5e12 + line["bytes"] / 2039e9))
        parts = budget["forward_seconds"] + budget["backward_seconds"] + budget["optimizer_seconds"]
        self.assertAlmostEqual(parts, sum(line["seconds"] for line in lines.values()), places=9)
        self.assertAlmostEqual(scaling["rows"][0]["compute_seconds"], parts, places=9)
        self.assertTrue(scaling["memory_of_gpu"])
        halves = self.plan("--ranks", "1", "--compute", "a100", "--set", "train.precision=bf16")["budget"]
        self.assertEqual(self.plan("--ranks", "1", "--compute", "a100", "--set", "train.precision=auto")["budget"], halves)
        self.assertLess(halves["forward_seconds"], budget["forward_seconds"])
        again = self.plan("--ranks", "1", "--compute", "a100", "--set", "train.gradient_checkpointing=true")["budget"]
        self.assertGreater(again["backward_seconds"], budget["backward_seconds"] + 0.5 * budget["forward_seconds"])
        table = kessoku("plan", self.run_file, "--ranks", "1", "--compute", "rtx3090").stdout
        self.assertIn("convolutions", table)

    def test_what_is_wrong_is_said_in_a_line(self):
        for arguments, words in ((("--ranks", "2"), "--link"), (("--ranks", "2", "--link", "fast"), "--link fast"),
                                 (("--ranks", "2", "--link", "5us"), "--link 5us"), (("--ranks", "2", "--link", "0GB/s"), "0GB/s"),
                                 (("--ranks", "2", "--link", "1GB/s", "--latency", "3 apples"), "--latency"),
                                 (("--ranks", "2", "--link", "1GB/s", "--compute", "nowhere"), "--compute nowhere"),
                                 (("--ranks", "2", "--link", "1GB/s", "--compute", self.store), "log.jsonl"),
                                 (("--ranks", "0", "--link", "1GB/s"), "--ranks"), (("--link", "1GB/s"), "--ranks")):
            errors = kessoku("plan", self.run_file, *arguments, expect=64).stderr
            self.assertIn(words, errors)


if __name__ == "__main__":
    run_tests()
