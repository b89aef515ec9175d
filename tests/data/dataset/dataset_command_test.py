"""kessoku prepare and inspect on datasets of all dialects, from outside: dataset_command_test.py PROGRAM WORK_DIR"""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

PROGRAM, WORK = Path(sys.argv[1]), Path(sys.argv[2])
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1")
color = 0


def image(path):
    global color
    color += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (color, 0, 0)).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(*arguments, code=0):
    done = subprocess.run([PROGRAM, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    assert done.returncode == code, f"{arguments}: exit code {done.returncode}, not {code}\n{done.stderr}"
    return done


def prepare(dataset, *more):
    shutil.rmtree(WORK / "store", ignore_errors=True)
    summary = json.loads(run("prepare", dataset, "--out", WORK / "store", "--keep", "images", "--resolution", 64, "--json", *more).stdout)
    categories = {entry.pop("path"): entry for entry in json.loads(run("inspect", WORK / "store", "--json").stdout)["categories"]}
    return summary, categories


def refused(code, says, dataset, *more):
    stderr = run("prepare", dataset, "--out", WORK / "refused", "--keep", "images", *more, code=code).stderr
    assert says in stderr and len(stderr.strip().splitlines()) == 1, stderr


def test_everydream2():
    root = WORK / "everydream2"
    image(root / "a/1.png")
    image(root / "a/b/2.png")
    write(root / "a/multiply.txt", "0.5")
    write(root / "a/global.yaml", "cond_dropout: 0.25\nbatch_id: night\n")
    summary, categories = prepare(root)
    assert summary["examples"] == 2 and summary["warnings"] == [], summary
    assert categories["a"] == {"examples": 2, "multiply": 0.5, "settings": [
        {"multiply": 0.5, "loss_scale": 1.0, "caption_dropout": 0.25, "batch_id": "night"}]}, categories
    assert 'batch_id "night"' in run("inspect", WORK / "store").stdout
    summary, categories = prepare(root, "--dialect", "everydream1")
    assert categories["a"] == {"examples": 2, "multiply": 0.0}, categories
    assert any("cut to 0" in warning for warning in summary["warnings"]), summary
    write(root / "a/local.yaml", "multiply: 1\n  tags: [")
    refused(65, "a/local.yaml:2: not YAML", root)
    write(root / "list.json", '[{"image": "a/1.png",\n "multiply": -1}]')
    refused(65, "list.json:2: multiply", root / "list.json")
    write(root / "list.json", '[{"image": "a/1.png", "main_prompt": "x"}, {"image": "gone.png"}]')
    summary, categories = prepare(root / "list.json")
    assert summary["examples"] == 1 and [entry["source"] for entry in summary["skipped"]] == ["gone.png"], summary


def test_screenshot_pipeline():
    root = WORK / "pipeline"
    for name in ("1_character/class1", "1_character/class2", "others/class1", "others/class3"):
        image(root / name / "1.png")
    write(WORK / "weights.csv", "1_character,3\nclass1, 4\n*class2,6\n")
    arguments = ("--dialect", "screenshot-pipeline", "--weights", WORK / "weights.csv")
    _, categories = prepare(root, *arguments)
    assert {path: entry["weight"] for path, entry in categories.items()} == {
        ".": 1, "1_character": 3, "1_character/class1": 4, "1_character/class2": 6, "others": 1, "others/class1": 4, "others/class3": 1}
    write(WORK / "weights.csv", "1_character,3\nclass1\n")
    refused(65, "weights.csv:2: 1 columns", root, *arguments)
    refused(64, "none.csv", root, "--dialect", "screenshot-pipeline", "--weights", WORK / "none.csv")


def test_kohya():
    root = WORK / "kohya"
    image(root / "10_bocchi/1.png")
    image(root / "other/2.png")
    summary, categories = prepare(root, "--dialect", "kohya")
    assert categories == {".": {"examples": 1, "multiply": 1.0}, "10_bocchi": {"examples": 1, "multiply": 10.0}}, categories
    assert len(summary["warnings"]) == 1 and "other" in summary["warnings"][0], summary
    write(root / "meta.jsonl", '{"image_path": "other/2.png", "caption": "two"}\n{"image_path": ')
    refused(65, "meta.jsonl:2: not JSON", root / "meta.jsonl", "--dialect", "kohya")
    refused(64, "10_name", root / "other", "--dialect", "kohya")
    refused(64, "did you mean 'kohya'", root, "--dialect", "koya")


if __name__ == "__main__":
    shutil.rmtree(WORK, ignore_errors=True)
    test_everydream2()
    test_screenshot_pipeline()
    test_kohya()
