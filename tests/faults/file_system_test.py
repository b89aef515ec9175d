"""File systems as they are: without links, locks and flushes of folders; and runs that were copied to and from such.

    file_system_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import os
import shutil
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
import harness
from harness import ENVIRONMENT, WORK, kessoku, losses_of, make_inputs, run_tests, set_all
from safetensors.numpy import load_file

SHIM = os.environ.get("KESSOKU_PLAIN_FILE_SYSTEM") or harness.PROGRAM.parent / "tests/faults/libplain_file_system_shim.so"
UNET = "unet/diffusion_pytorch_model.safetensors"


def on_plain_file_system(*arguments, expect=0):
    ENVIRONMENT["LD_PRELOAD"] = str(SHIM)
    try:
        return kessoku(*arguments, expect=expect)
    finally:
        del ENVIRONMENT["LD_PRELOAD"]


class FileSystem(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.finished = WORK / "run"
        kessoku(*cls.train(cls.finished))

    @classmethod
    def train(cls, run, **settings):
        return ["train", cls.run_file, "--out", run, *set_all({"metrics.port": -1, "checkpoint.every_steps": 2, "checkpoint.background": "false"} | settings)]

    def copy(self, name, **options):
        return Path(shutil.copytree(self.finished, WORK / name, **options))

    def require_newest(self, run, step):
        """Readers of the run's model take that of `step`."""
        for place in (run, run / "checkpoints/latest"):
            converted = WORK / "converted"
            shutil.rmtree(converted, ignore_errors=True)
            kessoku("convert", place, converted, "--part", "unet")
            wanted = load_file(self.finished / f"checkpoints/step-{step:08}" / UNET)
            for name, values in load_file(converted / "diffusion_pytorch_model.safetensors").items():
                self.assertTrue((values == wanted[name]).all(), name)

    def require_resumed(self, run, step):
        told = kessoku(*self.train(run, **{"train.steps": 7})).stderr
        self.assertRegex(told, rf"at step {step} from \S*checkpoints/")
        return told

    def test_without_links_locks_and_flushes_nothing_is_lost(self):
        run = WORK / "plain"
        said = on_plain_file_system(*self.train(run)).stderr
        self.assertEqual(said.count("cannot create the link"), 1, said)
        self.assertRegex(said, "cannot be locked: No locks available; nothing keeps a second training out")
        self.assertEqual(sorted(path.name for path in (run / "checkpoints").iterdir()), ["step-00000002", "step-00000004", "step-00000006"])
        self.assertEqual(list(losses_of(run)), list(losses_of(self.finished)))
        self.require_newest(run, 6)
        on_plain_file_system("convert", run, WORK / "plain-model")
        on_plain_file_system("prepare", WORK / "data", "--out", WORK / "plain-store", "--keep", "images", "--resolution", 64)
        on_plain_file_system("sample", run, "--prompt", "x", "--steps", 1, "--out", WORK / "plain-images")
        self.assertTrue((WORK / "plain-images/00000.png").exists())
        self.require_resumed(run, 6)

    def test_a_copy_that_made_a_folder_of_the_link(self):
        run = self.copy("followed")  # as cp -rL
        self.assertFalse((run / "checkpoints/latest").is_symlink())
        self.require_newest(run, 6)
        said = self.require_resumed(run, 6)
        self.assertEqual(said.count("not a symbolic link (a copy turns it into a folder); not replaced"), 1, said)
        self.assertTrue((run / "checkpoints/latest" / UNET).exists())
        self.assertTrue((run / "checkpoints/step-00000007").exists())

    def test_a_link_that_is_out_of_date_missing_or_a_file(self):
        for name in ("stale", "missing", "file", "dangling", "stale-folder"):
            with self.subTest(name):
                run = self.copy(name, symlinks=True)
                latest = run / "checkpoints/latest"
                latest.unlink()
                if name == "stale":
                    latest.symlink_to("step-00000002")
                elif name == "file":
                    latest.write_text("step-00000006")
                elif name == "dangling":
                    latest.symlink_to("step-00000009")
                elif name == "stale-folder":
                    shutil.copytree(run / "checkpoints/step-00000004", latest)
                self.require_newest(run, 6)
                self.require_resumed(run, 6)

    def test_only_latest_was_copied(self):
        run = WORK / "alone"
        shutil.copytree(self.finished / "checkpoints/step-00000004", run / "checkpoints/latest")
        self.require_newest(run, 4)
        self.require_resumed(run, 4)

    def test_a_checkpoint_that_is_not_whole_is_passed_over(self):
        run = self.copy("torn", symlinks=True)
        os.truncate(run / "checkpoints/step-00000006" / UNET, 1000)
        self.require_newest(run, 4)
        self.assertIn("step-00000006", kessoku("convert", run, WORK / "torn-model").stderr)
        self.require_resumed(run, 4)

    def test_the_state_may_be_gone(self):
        run = self.copy("slim", symlinks=True)
        shutil.rmtree(run / "checkpoints/step-00000006/state")
        self.require_newest(run, 6)
        self.require_resumed(run, 4)


if __name__ == "__main__":
    run_tests()
