"""What `kessoku plan --ranks` says of a rank's memory is what training over those ranks takes: in fp32 and bf16, with and without
sharding and averages, on a model that is large enough for its weights to matter.

    memory_plan_test.py KESSOKU WORK_FOLDER

The measure is the most that was resident of rank 0 (getrusage), the formula docs/scaling.md's.
"""
import json
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import ENVIRONMENT, PROGRAM, WORK, kessoku, make_inputs, run_tests

TOLERANCE = 0.10  # what malloc holds back, and libraries take
RUN_FILE = """
name = "memory"
[model]
path = "{model}"
[data]
store = "{store}"
[train]
target = ["unet"]
steps = 3
global_batch = 2
micro_batch = 1
threads = 1
[optimizer]
lr = 1e-5
[checkpoint]
every_steps = 2
keep = 1
[metrics]
port = -1
"""
# Starts a rank, and says what the most was that was resident of it.
MEASURE = """
import os, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1] + os.environ.get("OMPI_COMM_WORLD_RANK", "0"), "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
sys.exit(code)
"""


def enlarge(model):
    """The tiny preset with seven times the weights in its UNet."""
    from diffusers import UNet2DConditionModel

    config = json.loads((model / "unet/config.json").read_text()) | {"block_out_channels": [256, 512]}
    shutil.rmtree(model / "unet")
    UNet2DConditionModel.from_config(config).save_pretrained(model / "unet")


class MemoryPlan(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        model, _, cls.run_file = make_inputs()
        enlarge(model)
        store = WORK / "moments"
        kessoku("prepare", WORK / "data", "--out", store, "--model", model, "--resolution", 64, "--keep", "moments")
        cls.run_file.write_text(RUN_FILE.format(model=model, store=store))

    def measured(self, ranks, settings):
        mpirun = ["mpirun", "--bind-to", "none", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
        subprocess.run([*mpirun, sys.executable, "-c", MEASURE, WORK / "peak-", PROGRAM, "train", self.run_file,
                        "--out", WORK / "run", "--resume", "never", *settings],
                       env=ENVIRONMENT, check=True, capture_output=True, timeout=200)
        shutil.rmtree(WORK / "run")
        return int((WORK / "peak-0").read_text())

    def test_the_program_is_what_there_is_without_networks(self):
        rows = json.loads(kessoku("plan", self.run_file, "--ranks", "1", "--compute", "1s", "--json").stdout)["scaling"]["rows"]
        memory = rows[0]["memory"]
        self.assertGreater(memory["program"], 5e7)
        self.assertLess(memory["program"], memory["weights"])

    def test_peak(self):
        for ranks, shard, precision, decay, optimizer in (
                (1, True, "fp32", 0, "adamw"), (1, True, "bf16", 0.9, "adamw"), (1, True, "fp32", 0, "lion"), (2, True, "fp32", 0, "adamw"),
                (2, False, "fp32", 0.9, "adamw"), (2, True, "bf16", 0.9, "adamw"), (2, False, "bf16", 0, "adamw")):
            settings = [f"--set=optimizer.shard={str(shard).lower()}", f"--set=train.precision={precision}", f"--set=ema.decay={decay}",
                        f"--set=optimizer.name={optimizer}"]
            with self.subTest(f"{ranks} ranks", shard=shard, precision=precision, ema=decay, optimizer=optimizer):
                plan = json.loads(kessoku("plan", self.run_file, "--ranks", ranks, "--link", "1GB/s", "--json", *settings).stdout)
                peak, seen = plan["scaling"]["rows"][0]["memory"]["peak"], self.measured(ranks, settings)
                print(f"{ranks} ranks, {optimizer}, {precision}, shard {shard}, ema {decay}: {peak / 1e6:.0f} MB planned, "
                      f"{seen / 1e6:.0f} MB taken ({peak / seen - 1:+.1%})", flush=True)
                self.assertLess(abs(peak / seen - 1), TOLERANCE)


if __name__ == "__main__":
    run_tests()
