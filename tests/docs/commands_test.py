"""The commands of README and docs/, run as they stand there, in the order of the pages.

    commands_test.py KESSOKU WORK_FOLDER [TESTS...]

The folder that they run in holds what the pages assume: `build/kessoku`, a model at `models/sd15`,
images at `my-images` and `kohya-images`, and a few files by name. Run files are the pages' own, with
fewer steps. Sizes are those of the small model.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

import numpy as np
from PIL import Image
from pages import PAGES, ROOT, blocks, name_of

PROGRAM, WORK = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
SECONDS = 120  # for one command
ENVIRONMENT = os.environ | {
    "PATH": f"{WORK}/build:{os.environ['PATH']}",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    # More ranks than cores are what a test machine has in place of a reader's.
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMP_NUM_THREADS": "1",
}

# Commands that cannot run here, as they stand on the pages without their comments, and why.
NOT_RUN = {
    "scripts/demo.sh": "takes 25 minutes; CI runs it apart",
    "scripts/setup.sh": "installs packages and builds",
    "scripts/test.sh": "runs this test",
    "ninja -C build": "builds",
    "cmake --install build --prefix /tmp/kessoku": "install_test does",
    "cd build && cpack": "install_test does",
    "python3 -m venv /opt/torch": "installs packages",
    "/opt/torch/bin/pip install --no-deps -r /tmp/kessoku/share/kessoku/requirements-libtorch.txt":
        "installs packages",
    "ln -s /opt/torch/lib/python3*/site-packages/torch /tmp/kessoku/lib/kessoku/torch":
        "install_test links it",
    "ctest --test-dir build -R plan_test --output-on-failure": "runs tests",
    ".venv/bin/python tests/distributed/train_test.py build/kessoku /tmp/work": "runs tests",
    "scripts/gpu_selftest.sh": "needs GPUs",
    "docker build -t kessoku .": "needs Docker",
    'docker build -t kessoku --build-arg SETUP="--gpu --cuda12" .': "needs Docker",
    "docker build -t kessoku --build-arg SETUP=--cpu .": "needs Docker",
    'docker run --rm --init --gpus all --shm-size 64g --ulimit memlock=-1 --user "$(id -u):$(id -g)" '
    '--env HOME=/data --volume "$PWD:/data" --workdir /data kessoku kessoku launch -n 4 my-run.toml':
        "needs Docker",
    "apptainer build kessoku.sif scripts/containers/kessoku.def": "needs Apptainer",
    "apptainer run --nv kessoku.sif launch -n 4 my-run.toml": "needs Apptainer",
    "kubectl apply -f scripts/kubernetes/mpijob.yaml": "needs Kubernetes",
    "kubectl logs -f job/kessoku-launcher": "needs Kubernetes",
    "scripts/bundle.sh": "bundle_test does",
    "tar xf kessoku-bundle.tar.xz": "bundle_test does",
    "cd kessoku-bundle": "bundle_test does",
    "scripts/from_bundle.sh": "builds; bundle_test configures",
    "scripts/gpu_selftest.sh --bundle": "needs a GPU",
    "export PATH=$PWD/bundle/root/usr/bin:$PATH": "needs a bundle",
    "mpirun -n 4 build/kessoku train my-run.toml": "needs a bundle",
    "mpirun -n 4 kessoku train my-run.toml": "needs four GPUs",
    "kessoku launch --hosts a:4,b:4 my-run.toml": "needs two hosts",
    "kessoku launch configs/cluster.toml --hosts node1:4,node2:4": "needs two hosts",
    "kessoku launch configs/cluster.toml --hostfile hosts": "needs two hosts",
    "sbatch --nodes 4 --ntasks-per-node 8 --gpus-per-node 8 scripts/slurm/train.sbatch my-run.toml "
    "--set metrics.address=0.0.0.0 --set metrics.file_sd=/shared/prometheus/my-run.json":
        "needs Slurm",
    "ssh -N -D 127.0.0.1:1080 login-node": "needs another host",
    "mpirun -n 8 kessoku train configs/reference.toml --set train.global_batch=8 "
    "--set train.micro_batch=1 --set train.steps=24000": "needs eight GPUs",
    "sbatch --nodes 4 --ntasks-per-node 8 --gpus-per-node 8 scripts/slurm/train.sbatch "
    "configs/reference.toml --set train.global_batch=32 --set train.micro_batch=1 "
    "--set train.steps=6000": "needs Slurm",
    ".venv/bin/python bench/reference_run.py prepare": "takes minutes",
    ".venv/bin/python bench/reference_run.py plan": "needs what it prepares",
    ".venv/bin/python bench/reference_run.py train": "takes hours",
    ".venv/bin/python bench/reference_run.py measure": "needs what it trains",
    ".venv/bin/python bench/full_size_step.py build/kessoku demo/full-size --precision fp32 "
    "--steps 20 --rounds 1 --resume-at 10 --images 512x512,640x384,384x640,576x448 "
    "--out bench/results/reference_full_size.json": "takes half an hour",
    "sbatch --nodes 2 --ntasks-per-node 4 --gpus-per-node 4 scripts/slurm/train.sbatch my-run.toml":
        "needs Slurm",
}

# Leaves of the tree that docs/reference-run.md begins with, of six images each.
REFERENCE_TREE = (
    "screenshots/1_character/gotoh_hitori/ep01",
    "screenshots/1_character/kita_ikuyo/ep01",
    "screenshots/2_characters/gotoh_hitori+kita_ikuyo/ep02",
    "fanart/1_character/ijichi_nijika/booru",
    "regularization/1_character/character_others/stage",
)

METADATA_CAPTION = "a caption of metadata.jsonl"

# A 64 px model stands in for Stable Diffusion.
SMALLER = {
    "--resolution 512 --dialect kohya": "--resolution 256 --dialect kohya",  # its buckets' least
    "--resolution 512": "--resolution 64",
    "train.steps=5000": "train.steps=4",
    "train.steps=24000": "train.steps=1",
}


def commands(page):
    """(line number, command) of the page's shell blocks, without comments, continued lines joined,
    and of its Python blocks."""
    for language, begin, text in blocks(page):
        if language == "python":
            yield begin, f"{shlex.quote(sys.executable)} -c {shlex.quote(text)}"
        if language != "sh":
            continue
        parts, first = [], begin
        for number, line in enumerate(text.splitlines(), begin):
            if not parts:
                first = number
            parts.append(line.removesuffix("\\").strip())
            if line.endswith("\\"):
                continue
            command = re.sub(r"\s+#.*", "", " ".join(parts))
            parts = []
            if command and not command.startswith("#"):
                yield first, command


def run_files(page):
    """(name, text) of the page's complete run files, which it names: "as `NAME.toml`"."""
    text = page.read_text()
    for match in re.finditer(r"as\s+`([\w-]+\.toml)`:\n\n```toml\n(.*?)```", text, re.DOTALL):
        yield match[1], match[2]


def shortened(run_file):
    """The same with two steps, and images of its prompts in two."""
    run_file, steps = re.subn(r"(?m)^steps = [\d_]+", "steps = 2", run_file)
    run_file, prompts = re.subn(r"(?m)^prompts = ", "steps = 2\nprompts = ", run_file)
    assert steps == 1 and prompts == 1, run_file
    return run_file


def draw_image(path, size, generator):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = generator.integers(0, 255, (size[1] // 16, size[0] // 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR).save(path)


def make_world():
    """What a reader of the pages has."""
    shutil.rmtree(WORK, ignore_errors=True)
    for folder in ("build", "models", "configs"):
        (WORK / folder).mkdir(parents=True)
    (WORK / "build/kessoku").symlink_to(PROGRAM)
    for path in ("models/clip-tokenizer", "scripts", ".venv"):
        (WORK / path).symlink_to(ROOT / path)
    reference = (ROOT / "configs/reference.toml").read_text()
    (WORK / "configs/reference.toml").write_text(shortened(reference))
    subprocess.run([PROGRAM, "init", "--preset", "tiny", "models/sd15"], cwd=WORK, check=True,
                   capture_output=True, timeout=SECONDS)
    generator = np.random.default_rng(0)
    for folder in ("my-images/screenshots", "my-images/fanart", "kohya-images/10_girl",
                   "kohya-images/3_stage"):
        for i in range(6):
            path = WORK / folder / f"{i:04}.png"
            draw_image(path, (96, 96) if i < 4 else (128, 80), generator)
            path.with_suffix(".txt").write_text(f"girl {i}, guitar, stage, {path.parent.name}\n")
    for folder in REFERENCE_TREE:
        for i in range(6):
            path = WORK / "training" / folder / f"{i:04}.png"
            draw_image(path, (96, 96), generator)
            word = "Bscreen" if folder.startswith("screenshots") else f"Bfan{i % 2 + 1}"
            path.with_suffix(".txt").write_text(f"{word} {folder.split('/')[2]}, guitar\n")
    draw_image(WORK / "a.png", (64, 64), generator)
    draw_image(WORK / "m.png", (64, 64), generator)
    (WORK / "captions.txt").write_text("two girls playing guitar\na stage\n")
    metadata = {"file_name": "fanart/0000.png", "text": METADATA_CAPTION}
    (WORK / "my-images/metadata.jsonl").write_text(json.dumps(metadata) + "\n")


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pages = {page: list(commands(page)) for page in PAGES}

    def test_commands_run(self):
        make_world()
        ran = 0
        # Whoever reads begins with the quick start.
        pages = sorted(PAGES, key=lambda page: page.name != "quick-start.md")
        for page in pages:
            for name, text in run_files(page):
                (WORK / name).write_text(shortened(text))
            for number, command in self.pages[page]:
                if command in NOT_RUN:
                    continue
                ran += 1
                with self.subTest(page=name_of(page), line=number, command=command):
                    self.run_command(command)
        self.assertGreater(ran, 40, "the commands are not found anymore")
        self.assertEqual((WORK / "my-images/fanart/0000.txt").read_text(), METADATA_CAPTION)

    def run_command(self, command):
        for words, others in SMALLER.items():
            command = command.replace(words, others)
        done = subprocess.run(["bash", "-euc", command], cwd=WORK, env=ENVIRONMENT, timeout=SECONDS,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f"\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def test_what_is_not_run_is_on_a_page(self):
        there = {command for found in self.pages.values() for _, command in found}
        self.assertEqual([command for command in NOT_RUN if command not in there], [])

    def test_parts_of_run_files_are_toml(self):
        for page in PAGES:
            for language, begin, text in blocks(page):
                if language == "toml":
                    with self.subTest(page=name_of(page), line=begin):
                        tomllib.loads(text)

    def test_files_of_the_project_that_commands_name_exist(self):
        """Also of what is not run."""
        for page, found in self.pages.items():
            for number, command in found:
                with self.subTest(page=name_of(page), line=number):
                    for word in shlex.split(command):
                        if word.startswith(("scripts/", "tests/", "configs/")):
                            self.assertTrue((ROOT / word).exists(), word)


if __name__ == "__main__":
    tests = unittest.main(argv=[sys.argv[0], *sys.argv[3:]], exit=False)
    if not tests.result.wasSuccessful():
        sys.exit(1)
    shutil.rmtree(WORK, ignore_errors=True)
