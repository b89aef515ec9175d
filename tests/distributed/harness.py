"""What the tests that run the program share: inputs, a run file, mpirun, a seed, and what a run leaves.

The calling script is started as  SCRIPT KESSOKU WORK_FOLDER [TESTS...].

Environment:
    KESSOKU_TEST_INPUTS  a folder of inputs to copy, which CTest makes once for all tests
                         (make_inputs.py); without it each script makes its own
    KESSOKU_TEST_SEED    what is drawn by chance; without it the seed is random, and printed
"""
import json
import os
import random
import shutil
import subprocess
import sys
import time
import unittest
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
PROGRAM, WORK = Path(sys.argv[1]), Path(sys.argv[2])
INPUTS = os.environ.get("KESSOKU_TEST_INPUTS")
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
MOST_RANKS = int(os.environ.get("KESSOKU_MOST_RANKS", "64"))  # scripts/gpu_selftest.sh: one a GPU
DEADLINE = 300  # seconds, for anything that is waited for: only what will never happen takes as long, on the slowest machine too
RUN_FILE = """
name = "test"
[model]
path = "{model}"
[data]
store = "{store}"
caption_dropout = 0.2
[train]
steps = 6
global_batch = 8
micro_batch = 8
precision = "fp32"
threads = 1
[optimizer]
lr = 1e-3
grad_clip = 1.0
[ema]
decay = 0.9
[checkpoint]
every_steps = 3
weights_dtype = "fp32"
[metrics]
port = 0
"""


# All that has a state of its own, is drawn by chance, or treats parameters unequally, at once.
EVERYTHING = {
    "data.shuffle_tags": "true", "data.keep_tags": 1, "data.max_token_length": 150, "train.micro_batch": 2,
    "train.clip_skip": 1, "train.min_snr_gamma": 5, "train.noise_offset": 0.05, "train.pyramid_levels": 2, "train.timesteps": [20, 980],
    "optimizer.text_encoder_lr": 5e-4, "optimizer.no_decay": ["*.bias"], "optimizer.freeze": ["unet.conv_in.*"],
    "optimizer.lr_scale": [["unet.mid_block*", 0.5]], "optimizer.schedule": "'cosine'", "optimizer.warmup_steps": 5,
    "communication.wire": "'bf16'", "validation.fraction": 0.2, "validation.every_steps": 7,
}


def set_all(settings):
    """As arguments of the program."""
    return [f"--set={key}={value}" for key, value in settings.items()]


def run_tests():
    """The main function of a script (tests may be named after its two arguments); what it leaves are gigabytes, which only a failure is worth."""
    tests = unittest.main(module="__main__", argv=[sys.argv[0], *sys.argv[3:]], exit=False)
    if not tests.result.wasSuccessful():
        sys.exit(1)
    shutil.rmtree(WORK)


def make_dataset(folder, seed=0):
    """Three folders of plain images in two shapes, with captions and unequal weights."""
    generator = np.random.default_rng(seed)
    for name, count, size, multiply in (("a", 10, (96, 96), 1), ("b", 7, (128, 80), 2.5), ("c/d", 9, (96, 96), 0.5)):
        (folder / name).mkdir(parents=True)
        (folder / name / "multiply.txt").write_text(str(multiply))
        for i in range(count):
            color = tuple(int(v) for v in generator.integers(0, 255, 3))
            Image.new("RGB", size, color).save(folder / name / f"{i}.png")
            (folder / name / f"{i}.txt").write_text(f"image {i} of {name}")


def command(*arguments, ranks=0):
    if ranks > MOST_RANKS:
        raise unittest.SkipTest(f"{ranks} ranks, but only {MOST_RANKS} GPUs")
    mpirun = ["mpirun", "--bind-to", "none", "--oversubscribe", "-n", str(ranks)] if ranks else []
    return [*mpirun, str(PROGRAM), *map(str, arguments)]


def kessoku(*arguments, ranks=0, expect=0):
    done = subprocess.run(command(*arguments, ranks=ranks), capture_output=True, text=True, env=ENVIRONMENT, timeout=DEADLINE)
    if done.returncode != expect:
        raise AssertionError(f"{arguments}: exit code {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}")
    return done


def start(words, errors, environment={}):
    """A process that says what it says to the file `errors` (a pipe that nobody reads would stop it), and is asked to end when this one dies."""
    with open(errors, "w") as file:
        return subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *map(str, words)], stderr=file, env=ENVIRONMENT | environment)


def log_of(run):
    """Of a run that goes on, without the line that is just being written."""
    text = (run / "log.jsonl").read_text()
    return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]


def last_step(run):
    """Of the log; 0 before there is one."""
    try:
        return log_of(run)[-1]["step"]
    except (OSError, IndexError):
        return 0


def losses_of(run):
    return np.array([record["loss"] for record in log_of(run)])


def weights_of(run):
    """UNet and text encoder of the newest checkpoint."""
    latest = run / "checkpoints" / "latest"
    return {**load_file(latest / "unet/diffusion_pytorch_model.safetensors"),
            **load_file(latest / "text_encoder/model.safetensors")}


def require_same_weights(run, other):
    """Bit for bit."""
    ours, theirs = weights_of(run), weights_of(other)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


# A run that goes on until it is asked to stop: nothing that is done to it can come too late.
ENDLESS = ["--set", "train.steps=1000000"]


def require_equal(run, undisturbed, arguments, ranks=0):
    """Brings the run and one that was not disturbed to the same step, if they are not there yet: their losses and weights are equal bit for bit,
    and the log has neither gaps nor doubles."""
    steps = max(last_step(run), last_step(undisturbed))
    for folder in (run, undisturbed):
        if not (folder / f"checkpoints/step-{steps:08}").exists():
            kessoku("train", *arguments, "--out", folder, "--set", f"train.steps={steps}", ranks=ranks)
        np.testing.assert_array_equal([r["step"] for r in log_of(folder)], np.arange(1, steps + 1))
        assert (folder / "checkpoints/latest").readlink().name == f"step-{steps:08}"
    np.testing.assert_array_equal(losses_of(run), losses_of(undisturbed))
    require_same_weights(run, undisturbed)


def is_gone(process):
    """Also what only its parent has not asked for yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait_for(condition, what, pause=0.02):
    """Asks every `pause` seconds."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(pause)
    raise AssertionError(f"{what} did not happen in {DEADLINE} s")


def init(model, *arguments):
    """Makes a tiny model."""
    kessoku("init", "--preset", "tiny", model, "--tokenizer", ROOT / "models/clip-tokenizer", *arguments)
    return model


def write_inputs(folder):
    """A dataset, a tiny model, and a store of both, as data, model and store in a folder."""
    make_dataset(folder / "data")
    init(folder / "model")
    kessoku("prepare", folder / "data", "--out", folder / "store", "--model", folder / "model",
            "--resolution", 64, "--keep", "moments,images")


def empty_work_folder():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)


def make_model():
    """An empty work folder with a tiny model; its path."""
    empty_work_folder()
    if INPUTS:
        return Path(shutil.copytree(Path(INPUTS) / "model", WORK / "model"))
    return init(WORK / "model")


def make_inputs():
    """An empty work folder with data, a tiny model, a store and a run file; paths of the last three."""
    empty_work_folder()
    if INPUTS:
        shutil.copytree(INPUTS, WORK, dirs_exist_ok=True)
    else:
        write_inputs(WORK)
    model, store, run_file = WORK / "model", WORK / "store", WORK / "run.toml"
    run_file.write_text(RUN_FILE.format(model=model, store=store))
    return model, store, run_file


def chosen_seed():
    """KESSOKU_TEST_SEED, or one by chance; printed, so that a failure can be repeated."""
    seed = int(os.environ.get("KESSOKU_TEST_SEED", random.SystemRandom().randrange(1 << 30)))
    print(f"KESSOKU_TEST_SEED={seed}", flush=True)
    return seed


def processes_with(words):
    """Process numbers of those whose command line holds the words."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and words in (process / "cmdline").read_text().replace("\0", " "):
                found.append(int(process.name))
        except OSError:  # gone meanwhile
            pass
    return found


def mpirun_of(launch):
    """The process number of mpirun, which `kessoku launch` has started; none between two starts."""
    for child in Path(f"/proc/{launch}/task/{launch}/children").read_text().split():
        try:
            if "mpirun" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
        except OSError:
            pass
    return None


def ranks_of(mpirun):
    """Process numbers of the ranks that a started mpirun has, by rank."""
    found = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            variables = dict(v.split("=", 1) for v in (process / "environ").read_text().split("\0") if "=" in v)
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, UnicodeDecodeError):
            continue
        if parent == mpirun and "OMPI_COMM_WORLD_RANK" in variables:
            found[int(variables["OMPI_COMM_WORLD_RANK"])] = int(process.name)
    return found


def flip_bit(process, pattern):
    """In each copy of `pattern` in the process's own memory. Returns how many there were."""
    flipped = 0
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "r+b", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            begin, end = (int(place, 16) for place in span.split("-"))
            if rights[:2] != "rw" or end - begin > 1 << 32:
                continue
            try:
                memory.seek(begin)
                held = memory.read(end - begin)
            except OSError:
                continue
            place = held.find(pattern)
            while place >= 0:
                memory.seek(begin + place)
                memory.write(bytes([pattern[0] ^ 4]))
                flipped += 1
                place = held.find(pattern, place + 1)
    return flipped


def flip_untrained_bit(test, model, process):
    """In a weight that stays as it is with optimizer.freeze = ["unet.conv_in.*"]."""
    weight = load_file(model / "unet/diffusion_pytorch_model.safetensors")["conv_in.weight"].astype(np.float32)
    try:
        test.assertGreater(flip_bit(process, weight.tobytes()[:512]), 0)
    except PermissionError as error:
        test.skipTest(f"memory of other processes cannot be written: {error}")
