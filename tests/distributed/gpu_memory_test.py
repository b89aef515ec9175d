"""What `kessoku plan` says of a GPU's memory against whole runs on stand-ins for GPUs that have just so much: with sample prompts, validation,
verification, checkpoints and a resume; and the words of a run that does not fit.

    gpu_memory_test.py KESSOKU WORK_FOLDER
"""
import json
import os
import re
import shutil
import unittest
from pathlib import Path

import harness
from harness import WORK, kessoku, losses_of, make_inputs, set_all

ON_GPU = harness.ENVIRONMENT | {"KESSOKU_DEVICE": "cuda", "LD_LIBRARY_PATH": os.environ["KESSOKU_STAND_INS"]}
CLOSE = 0.9  # of what is planned, at least, is taken
SETTINGS = {
    "train.global_batch": 2, "train.micro_batch": 2, "train.steps": 4, "data.threads": 1, "communication.bucket_mb": 1, "ema.decay": 0.9,
    "train.precision": "bf16", "checkpoint.every_steps": 2, "verify.every_steps": 3, "verify.memory": "true", "validation.fraction": 0.2,
    "validation.every_steps": 2, "sample.every_steps": 2, "sample.prompts": '["an image"]', "sample.steps": 2, "sample.size": [64, 64],
}


def setUpModule():
    global RUN_FILE
    model, _, RUN_FILE = make_inputs()
    from diffusers import UNet2DConditionModel  # weights matter beside activations

    config = json.loads((model / "unet/config.json").read_text()) | {"block_out_channels": [128, 256]}
    shutil.rmtree(model / "unet")
    UNet2DConditionModel.from_config(config).save_pretrained(model / "unet")


class GpuMemory(unittest.TestCase):
    def plan(self, settings, ranks):
        harness.ENVIRONMENT = harness.ENVIRONMENT | {"KESSOKU_DEVICE": "cpu"}
        done = kessoku("plan", RUN_FILE, "--ranks", ranks, "--link", "1GB/s", "--compute", "1s", "--json", "--set=train.device=cuda", *set_all(settings))
        memory = json.loads(done.stdout)["scaling"]["rows"][0]["memory"]
        return memory["peak"] - memory["program"] - memory["fragmentation"]

    def train(self, name, settings, memory, ranks=1, expect=0):
        harness.ENVIRONMENT = ON_GPU | {"KESSOKU_STAND_IN_MEMORY": str(int(memory))}
        done = kessoku("train", RUN_FILE, "--out", WORK / name, *set_all(settings), ranks=ranks, expect=expect)
        return done.stderr

    def taken(self, errors):
        return 1e9 * float(re.search(r"tensors took ([\d.]+) GB at most", errors)[1])

    def test_runs_take_what_is_planned(self):
        for name, ranks, others in (("bf16", 1, {}), ("fp32", 1, {"train.precision": "fp32"}),
                                    ("accumulated", 1, {"train.micro_batch": 1}), ("lion", 1, {"optimizer.name": "lion", "ema.decay": 0}),
                                    ("sharded", 2, {"train.micro_batch": 1}), ("whole", 2, {"train.micro_batch": 1, "optimizer.shard": "false"})):
            with self.subTest(name):
                settings = SETTINGS | others
                planned = self.plan(settings, ranks)
                begun = self.taken(self.train(name, settings | {"train.steps": 2}, planned, ranks))
                ended = self.taken(self.train(name, settings, planned, ranks))
                print(f"{name}: {planned / 1e6:.0f} MB planned, {begun / 1e6:.0f} MB taken, {ended / 1e6:.0f} MB when resumed", flush=True)
                self.assertEqual(len(losses_of(WORK / name)), 4)
                self.assertTrue((WORK / name / "samples/step-00000004/grid.png").exists())
                for taken in (begun, ended):
                    self.assertLess(taken, planned + 1e6)
                    self.assertGreater(taken, CLOSE * planned)

    def test_what_does_not_fit_is_refused_before_the_first_step(self):
        planned = self.plan(SETTINGS, 1)
        errors = self.train("refused", SETTINGS, 0.98 * planned, expect=64)
        self.assertRegex(errors, r"this run needs [\d.]+ GB of a GPU's memory \([\w ]+\), but cuda:0 of rank 0 has [\d.]+ GB free: (set|take) ")
        self.assertEqual(list((WORK / "refused").glob("checkpoints/*")), [])
        self.assertFalse((WORK / "refused/log.jsonl").exists() and losses_of(WORK / "refused").size)


if __name__ == "__main__":
    harness.run_tests()
