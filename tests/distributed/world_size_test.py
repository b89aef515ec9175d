"""Law 2: the same run for every world size. The global batch is 12; ranks x micro-batches x accumulation split it in all ways that
matter, for each thing that can be trained, and losses and weights are those of one rank that holds the whole batch: with micro-batches
of the same size to the bit, else up to rounding.

    world_size_test.py KESSOKU WORK_FOLDER [TESTS...]

With micro-batches of another size, weights may differ by a hundredth of the summed learning rates. Where a gradient is but rounding error, Adam steps by the
learning rate in a direction that the order of the sum decides: such weights are counted, and bounded in number and size.
"""
import sys
import unittest

import numpy as np
from harness import MOST_RANKS, WORK, kessoku, log_of, make_inputs, run_tests
from safetensors.numpy import load_file

STEPS = 20
# The autoencoder's absolute error has a gradient that jumps at 0: what rounding decides there grows from step to step, the less so
# the smaller the steps.
LEARNING_RATES = {"unet": 1e-4, "text_encoder": 1e-4, "vae": 1e-5}
SPLITS = ((0, 3), (1, 4), (2, 6), (2, 2), (3, 4), (3, 1), (4, 3), (4, 1), (6, 2), (6, 1))  # ranks (0: no mpirun), micro-batch
FILES = {"unet": "unet/diffusion_pytorch_model.safetensors", "text_encoder": "text_encoder/model.safetensors",
         "vae": "vae/diffusion_pytorch_model.safetensors"}


def weights_of(run, target):
    latest = run / "checkpoints/latest"
    return np.concatenate([w.ravel() for part in target for _, w in sorted(load_file(latest / FILES[part]).items())])


class WorldSize(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()

    def train(self, target, ranks, micro):
        run = WORK / f"{'-'.join(target)}-{ranks}x{micro}"
        settings = {"train.target": list(target), "train.steps": STEPS, "train.global_batch": 12, "train.micro_batch": micro,
                    "optimizer.lr": LEARNING_RATES[target[0]], "ema.decay": 0, "checkpoint.every_steps": 0, "metrics.port": -1}
        kessoku("train", self.run_file, "--out", run, *(a for k, v in settings.items() for a in ("--set", f"{k}={v}")), ranks=ranks)
        return run

    def compare_all(self, *target):
        whole = self.train(target, 0, 12)
        losses, weights = [np.array([r["loss"] for r in log_of(whole)]), weights_of(whole, target)]
        lr_sum = sum(record["lr"] for record in log_of(whole))
        self.assertEqual(len(losses), STEPS)
        by_micro = {12: (losses, weights)}
        for ranks, micro in SPLITS:
            if ranks > MOST_RANKS:
                continue
            run = self.train(target, ranks, micro)
            got, own = np.array([r["loss"] for r in log_of(run)]), weights_of(run, target)
            off = np.abs(own - weights)
            same_losses, same_weights = by_micro.setdefault(micro, (got, own))
            with self.subTest(run.name, bits="the same"):
                np.testing.assert_array_equal(got, same_losses)
                np.testing.assert_array_equal(own, same_weights)
            far = int((off > lr_sum / 100).sum())
            print(f"{run.name}: losses off by at most {np.max(np.abs(got / losses - 1)):.1e}; {far} of {len(off)} weights off by "
                  f"more than a hundredth of the summed learning rates, at most by {off.max() / lr_sum:.3f} of them", flush=True)
            with self.subTest(run.name):
                self.assertEqual([r["categories"] for r in log_of(run)], [r["categories"] for r in log_of(whole)])
                np.testing.assert_allclose(got, losses, rtol=1e-5)
                self.assertLess(off.max(), 2 * lr_sum)
                self.assertLess(far, len(off) / 1000)

    def test_unet(self):
        self.compare_all("unet")

    def test_unet_and_text_encoder(self):
        self.compare_all("unet", "text_encoder")

    def test_text_encoder(self):
        self.compare_all("text_encoder")

    def test_vae(self):
        self.compare_all("vae")


if __name__ == "__main__":
    run_tests()
