"""Training over ranks whose GPUs and NCCL are stand-ins (tests/stand_ins): the same run as over MPI, and what happens when NCCL fails."""
import json
import os
import time
import unittest
from pathlib import Path

import numpy as np

import harness
from harness import WORK, kessoku, log_of, losses_of, make_inputs, require_same_weights, weights_of

ON_CPU = harness.ENVIRONMENT | {"KESSOKU_DEVICE": "cpu"}
ON_GPU = harness.ENVIRONMENT | {"KESSOKU_DEVICE": "cuda", "LD_LIBRARY_PATH": os.environ["KESSOKU_STAND_INS"]}


def setUpModule():
    global RUN_FILE
    harness.ENVIRONMENT = ON_CPU
    _, _, RUN_FILE = make_inputs()


def tearDownModule():
    for left in Path("/dev/shm").glob("kessoku-stand-in-*"):  # by ranks that were killed
        left.unlink()


def train(name, environment, *settings, ranks=0, expect=0):
    """The run's folder, and what the program wrote."""
    harness.ENVIRONMENT = environment
    settings = ["train.steps=4", "train.global_batch=4", "train.micro_batch=4", "checkpoint.every_steps=2", *settings]
    overrides = [word for setting in settings for word in ("--set", setting)]
    done = kessoku("train", RUN_FILE, "--out", WORK / name, *overrides, ranks=ranks, expect=expect)
    return WORK / name, done.stderr


class Nccl(unittest.TestCase):
    def assert_same_run(self, run, other, steps=4):
        self.assertEqual(len(losses_of(run)), steps)
        np.testing.assert_allclose(losses_of(run), losses_of(other), rtol=1e-5)
        ours = weights_of(run)
        for name, weights in weights_of(other).items():
            # Where a gradient is at rounding level Adam makes it a full step either way.
            far = np.abs(ours[name] - weights) > 0.01 * steps * 1e-3
            self.assertLess(far.sum(), 1e-4 * far.size + 1, name)

    def test_trains_as_over_mpi(self):
        one, _ = train("cpu", ON_CPU)
        for name, ranks in (("one", 0), ("alone_under_mpirun", 1), ("four", 4)):
            with self.subTest(name):
                run, _ = train(name, ON_GPU, ranks=ranks)
                self.assert_same_run(run, one)

    def test_bf16_on_the_wire_sums_as_over_mpi(self):
        settings = ["communication.wire=bf16"]
        on_cpus, _ = train("wire_cpu", ON_CPU, *settings, ranks=4)
        for hosts in ("4", "2", "3,1"):
            run, _ = train(f"wire_gpu_{hosts}", ON_GPU | {"KESSOKU_RANKS_PER_HOST": hosts}, *settings, ranks=4)
            # Other kernels give gradients other last bits, and a few of them are then rounded the other way, by 2^-8.
            np.testing.assert_allclose(losses_of(run)[0], losses_of(on_cpus)[0], rtol=1e-6)
            np.testing.assert_allclose(losses_of(run), losses_of(on_cpus), rtol=2e-4)

    def test_resumes_bit_equal_and_on_cpus(self):
        whole, _ = train("whole_run", ON_GPU, ranks=2)
        half, _ = train("halves", ON_GPU, "train.steps=2", ranks=2)
        train("halves", ON_GPU, ranks=2)
        self.assertEqual(losses_of(half).tolist(), losses_of(whole).tolist())
        require_same_weights(half, whole)
        other, _ = train("then_cpu", ON_GPU, "train.steps=2", ranks=2)
        train("then_cpu", ON_CPU)
        self.assert_same_run(other, whole)

    def test_everything_at_once(self):
        settings = ["train.precision=bf16", "train.gradient_checkpointing=true", "train.micro_batch=1", "validation.fraction=0.2",
                    "validation.every_steps=2", "sample.every_steps=4", 'sample.prompts=["an image"]', "sample.steps=2", "sample.size=[64, 64]",
                    "audit.batches=1", "checkpoint.background=true", 'optimizer.freeze=["unet.conv_in*"]']
        run, _ = train("everything", ON_GPU, *settings, ranks=2)
        other, _ = train("everything_cpu", ON_CPU, *settings, ranks=2)
        np.testing.assert_allclose(losses_of(run), losses_of(other), rtol=2e-2)  # bf16
        self.assertTrue((run / "samples/step-00000004/grid.png").exists())
        self.assertTrue((run / "audit/step-00000001.safetensors").exists())

    def test_inpainting_models_train_too_and_without_shards(self):
        run, _ = train("inpainting", ON_GPU, "train.inpainting=true", "optimizer.shard=false", "communication.overlap=false", ranks=2)
        other, _ = train("inpainting_cpu", ON_CPU, "train.inpainting=true")
        np.testing.assert_allclose(losses_of(run), losses_of(other), rtol=1e-5)

    def assert_fails(self, fault, code, words, *settings):
        run, errors = train("fault-" + fault.replace(":", "-"), ON_GPU | {"KESSOKU_STAND_IN_FAULT": fault}, *settings, ranks=2, expect=code)
        self.assertIn(words, errors)
        return run, errors

    def test_ranks_that_never_meet(self):
        self.assert_fails("init@1", 76, "did not connect the GPUs of 2 ranks in 3 s", "communication.timeout_seconds=3")

    def test_ranks_that_share_a_gpu(self):
        self.assert_fails("share", 64, "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000; start one rank a GPU")

    def test_a_rank_that_does_not_part(self):
        train("stays", ON_GPU | {"KESSOKU_STAND_IN_FAULT": "stay@1", "KESSOKU_STAND_IN_LOG": str(WORK / "calls")}, "communication.timeout_seconds=5",
              ranks=2)
        for rank, end in enumerate(("destroy", "abort")):
            self.assertEqual((WORK / f"calls.{rank}").read_text().splitlines()[-1], end)

    def test_a_gpu_that_breaks(self):
        _, errors = train("broken", ON_GPU | {"KESSOKU_STAND_IN_BROKEN": "3000"}, expect=76)
        self.assertIn("CUDA error: uncorrectable ECC error encountered", errors.splitlines()[-1])

    def test_a_gpu_that_breaks_while_others_wait_for_it(self):
        """Whichever thread meets it first: the one that watches the streams too."""
        for count in (2500, 3000, 3500):
            _, errors = train(f"broken-{count}", ON_GPU | {"KESSOKU_STAND_IN_BROKEN": str(count)}, ranks=2, expect=76)
            self.assertIn("CUDA error: uncorrectable ECC error encountered", errors)

    def test_a_call_that_fails(self):
        self.assert_fails("refuse:5@1", 76, "by NCCL failed: unhandled system error (the stand-in refuses this call)")

    def test_a_connection_that_is_lost(self):
        self.assert_fails("lose:7@1", 76, "NCCL lost another rank")

    def test_a_connection_between_hosts_that_is_lost(self):
        for fault in ("lose:1@0", "lose:7@1"):
            start = time.monotonic()
            _, errors = train(f"hosts-{fault.replace(':', '-')}", ON_GPU | {"KESSOKU_STAND_IN_FAULT": fault, "KESSOKU_RANKS_PER_HOST": "2"}, ranks=4,
                              expect=76)
            self.assertIn("NCCL lost another rank", errors)
            self.assertLess(time.monotonic() - start, 40)

    def test_a_call_that_never_ends(self):
        run, errors = self.assert_fails("hang:9", 76, "an exchange has taken over", "communication.timeout_seconds=10")
        report = json.loads((run / "watchdog/rank-00001.json").read_text())
        stuck = [o for o in report["operations"] if "done" not in o]
        self.assertIn("begun", stuck[0])
        self.assertIn(stuck[0]["name"], ("reduce-scatter", "all-gather"))

    def test_more_ranks_than_gpus(self):
        _, errors = train("many", ON_GPU | {"KESSOKU_STAND_IN_GPUS": "2"}, ranks=4, expect=64)
        self.assertIn("4 ranks on a host with 2 GPUs", errors)

    def test_how_often_the_host_waits(self):
        """Once in a step that is not verified, for its losses and the norm of its gradients, however many micro-batches it has."""
        for micro, ranks in ((4, 0), (2, 0), (1, 2)):
            counts = []
            for steps in (2, 5):
                file = WORK / f"host-waits-{micro}-{ranks}-{steps}"
                train(f"waits-{micro}-{ranks}-{steps}", ON_GPU | {"KESSOKU_STAND_IN_WAITS": str(file)}, f"train.steps={steps}",
                      f"train.micro_batch={micro}", "train.precision=bf16", "checkpoint.every_steps=0", "communication.bucket_mb=1", ranks=ranks)
                counts.append([int(Path(f"{file}.{rank}").read_text()) for rank in range(max(ranks, 1))])
            self.assertEqual([(late - early) / 3 for early, late in zip(*counts)], [1] * max(ranks, 1))

    def test_other_bits_in_every_run_are_asked_for_and_said(self):
        for deterministic, said in (("true", "the same on"), ("false", "GPUs compute with other bits in every run (train.deterministic is false)")):
            run, errors = train(f"deterministic-{deterministic}", ON_GPU, f"train.deterministic={deterministic}", "train.micro_batch=1", ranks=2)
            self.assertIn(said, errors)
            self.assertEqual(len(losses_of(run)), 4)

    def test_tf32_is_of_gpus(self):
        rounded, exact = train("tf32", ON_GPU, "train.precision=tf32")[0], train("fp32", ON_GPU)[0]
        self.assertEqual(losses_of(rounded).tolist(), losses_of(exact).tolist())  # the stand-in computes in fp32 either way
        errors = train("tf32-cpu", ON_CPU, "train.precision=tf32", expect=64)[1]
        self.assertIn('train.precision = "tf32" needs a GPU: on a CPU choose "fp32"', errors)

    def test_the_precision_suits_the_device_and_stays_when_resumed(self):
        for name, begun_on, resumed_on, precision in (("auto-gpu", ON_GPU, ON_CPU, "bf16"), ("auto-cpu", ON_CPU, ON_GPU, "fp32")):
            for device, steps in ((begun_on, 2), (resumed_on, 4)):
                run, said = train(name, device, "train.precision=auto", f"train.steps={steps}")
                self.assertRegex(said, rf"global batch .* in {precision} on ")
                self.assertIn(f"precision = '{precision}'", (run / "config.toml").read_text())

    def test_phases_are_timed_by_the_gpu(self):
        for record in log_of(train("phases", ON_GPU, "train.steps=4", ranks=2)[0]):
            own = sum(record["phases"][phase] for phase in ("data", "forward", "backward"))
            self.assertAlmostEqual(own, record["rank_seconds"][0], delta=0.1 * own)
            self.assertLess(sum(record["phases"].values()), 1.5 * record["seconds"])
            self.assertGreater(record["phases"]["backward"], 0)

    def test_no_gpu(self):
        _, errors = train("none", ON_GPU | {"KESSOKU_STAND_IN_GPUS": "0"}, expect=64)
        self.assertIn("shows no GPU", errors)

    def test_memory_that_is_full(self):
        _, errors = train("full", ON_GPU | {"KESSOKU_STAND_IN_OPERATORS": "3000"}, expect=64)
        self.assertRegex(errors.splitlines()[-1], r"^kessoku: memory is not enough \(CUDA out of memory. Tried to allocate 2.00 GiB.\): lower train.micro_batch")

    def test_prepares_and_samples_there(self):
        harness.ENVIRONMENT = ON_GPU
        kessoku("prepare", WORK / "data", "--out", WORK / "store_gpu", "--model", WORK / "model", "--resolution", 64)
        kessoku("inspect", WORK / "store_gpu", "--verify")
        kessoku("sample", WORK / "model", "--prompt", "a red hat", "--steps", 2, "--size", "64x64", "--out", WORK / "gpu_images")
        harness.ENVIRONMENT = ON_CPU
        kessoku("sample", WORK / "model", "--prompt", "a red hat", "--steps", 2, "--size", "64x64", "--out", WORK / "cpu_images")
        from PIL import Image
        images = [np.asarray(Image.open(WORK / name / "00000.png"), dtype=int) for name in ("gpu_images", "cpu_images")]
        self.assertLessEqual(np.abs(images[0] - images[1]).max(), 1)


if __name__ == "__main__":
    harness.run_tests()
