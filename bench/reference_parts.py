"""What the stages of reference_run.py have in common: where things are, training, sampling and scoring."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import machine
from turns import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
KESSOKU = ROOT / "build/kessoku"
WORK = ROOT / "demo/reference"
RUN_FILE = ROOT / "configs/reference-rehearsal.toml"
RESULTS = ROOT / "bench/results"
MEASURE = ROOT / "scripts/reference_measure.py"
RUN = WORK / "run"
BUCKETS = "64x64,112x64,64x112"
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "HF_HUB_OFFLINE": "1"}
WORDS = ["Bemo1", "Bemo2"]
STOPPED = 75  # exit code of a training that was asked to stop


def run(*command, allow=(0,), **options):
    done = subprocess.run([str(word) for word in command], env=ENVIRONMENT, cwd=ROOT, text=True, **options)
    if done.returncode not in allow:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{(done.stderr or '')[-3000:]}")
    return done


def text_of(*command):
    return run(*command, capture_output=True)


def mpirun(*command):
    return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", 2, *command]


def result_of(name):
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def write(name, result):
    """Of bench/results."""
    text = json.dumps({**machine.describe(), **result}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


def steps_of(run_folder):
    """Step → folder of each checkpoint."""
    return {int(f.name.removeprefix("step-")): f for f in (run_folder / "checkpoints").glob("step-*")} if run_folder.exists() else {}


def records_of(run_folder):
    return [json.loads(line) for line in (run_folder / "log.jsonl").read_text().splitlines()]


def stoppable(command):
    """The command's exit code. Ctrl-C and SIGTERM reach it as SIGUSR1, which leaves the ranks the time for a checkpoint."""
    process = subprocess.Popen([str(word) for word in command], env=ENVIRONMENT, cwd=ROOT, start_new_session=True)
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, lambda *_: process.send_signal(signal.SIGUSR1))
    return process.wait()


def train_run(run_folder, steps, rename, *settings):
    """Goes on to `steps`: up to rename[0] with both words, then with rename[1] in place of the second one. `rename` None: with both."""
    while (reached := max(steps_of(run_folder), default=0)) < steps:
        renamed = rename is not None and reached >= rename[0]
        end = steps if rename is None or renamed else min(rename[0], steps)
        now = [f"train.steps={end}", *settings, *([f"data.caption_rename={json.dumps([[WORDS[1], rename[1]]])}"] if renamed else [])]
        print(f"reference_run: from step {reached}, {', '.join(now)}", flush=True)
        code = stoppable(mpirun(KESSOKU, "train", RUN_FILE, "--out", run_folder, *(w for s in now for w in ("--set", s))))
        if code != 0:
            raise SystemExit(code)


def renamed_at(run_folder):
    """The step after which the second word is another one, and that word; (None, None) before."""
    for record in records_of(run_folder):
        for change in record.get("changes", []):
            if change["key"] == "data.caption_rename":
                return record["step"] - 1, json.loads(change["after"].replace("'", '"'))[0][1]
    return None, None


def renames_at(step):
    """Word → what it is called in the run's captions at that step."""
    rename_step, word = renamed_at(RUN)
    return {WORDS[1]: word} if rename_step is not None and step > rename_step else {}


def fork(run_folder, step, into):
    """A run that goes on from that checkpoint of another one."""
    if into.exists():
        return
    place = into / "checkpoints" / f"step-{step:08}"
    shutil.copytree(steps_of(run_folder)[step], place)
    (into / "checkpoints/latest").symlink_to(place.name)
    for name in "config.toml", "mixture.json":
        shutil.copy(run_folder / name, into)
    lines = (run_folder / "log.jsonl").read_text().splitlines(keepends=True)
    (into / "log.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= step))


def sample(model, prompts, out, renames, *options):
    """Images of the prompts (a list of records), words renamed as told, into a folder that then holds prompts.json."""
    if (out / "prompts.json").exists():
        return
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)

    def shown(text):
        return re.sub(r"\b(" + "|".join(renames) + r")\b", lambda match: renames[match[0]], text) if renames else text

    (out / "prompts.txt").write_text("".join(json.dumps(p["settings"] | {"prompt": shown(p["prompt"])}) + "\n" if "settings" in p
                                             else shown(p["prompt"]) + "\n" for p in prompts))
    run(KESSOKU, "sample", model, "--prompts", out / "prompts.txt", "--out", out, "--cfg", 4, "--steps", 15, "--seed", 1000,
        *options, stdout=subprocess.DEVNULL)
    (out / "prompts.json").write_text(json.dumps(prompts))


def score(folder):
    if not (folder / "score.json").exists():
        run(sys.executable, MEASURE, "score", WORK / "classifier.pt", folder / "prompts.json", folder, "--out", folder / "score.json")
    return json.loads((folder / "score.json").read_text())
