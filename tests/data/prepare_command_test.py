"""kessoku prepare and inspect from outside: prepare_command_test.py PROGRAM WORK_DIR"""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import make_images

PROGRAM, WORK = Path(sys.argv[1]), Path(sys.argv[2])
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")


def run(*arguments, ranks=None, code=0):
    launcher = ["mpirun", "-n", str(ranks), "--oversubscribe"] if ranks else []
    done = subprocess.run([*launcher, PROGRAM, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True,
                          timeout=200)
    assert done.returncode == code, f"{arguments}: exit code {done.returncode}, not {code}\n{done.stderr}"
    return done


def fails(code, says, *arguments):
    stderr = run(*arguments, code=code).stderr
    assert says in stderr and len(stderr.strip().splitlines()) == 1, stderr


def make_dataset(root):
    pictures = WORK / "pictures"
    make_images.main(pictures)
    for name, folder in {"wide.jpg": "a", "turned.jpg": "a", "exact.png": "b/結束", "gray.png": "b", "cut.jpg": "b"}.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures / name, root / folder)
    (root / "a/multiply.txt").write_text("2.5")


def check_store(images, store):
    assert "nothing has changed" not in run("prepare", images, "--out", store, "--keep", "images", "--resolution", 64).stdout
    found = json.loads(run("inspect", store, "--json").stdout)
    assert set(found) == {"examples", "buckets", "categories", "skipped"}, found
    assert found["examples"] == 4 and found["buckets"] == {"48x80": 1, "64x64": 2, "80x48": 1}, found
    assert found["categories"] == [{"path": ".", "examples": 4, "multiply": 1.0},
                                   {"path": "a", "examples": 2, "multiply": 2.5},
                                   {"path": "b", "examples": 2, "multiply": 1.0},
                                   {"path": "b/結束", "examples": 1, "multiply": 1.0}], found
    assert [entry["source"] for entry in found["skipped"]] == ["b/cut.jpg"], found
    assert "nothing has changed" in run("prepare", images, "--out", store, "--keep", "images", "--resolution", 64).stdout
    return found


def check_ranks(images, found):
    store = WORK / "by-two"
    summary = json.loads(run("prepare", images, "--out", store, "--keep", "images", "--resolution", 64, "--json", ranks=2).stdout)
    assert summary["examples"] == summary["encoded"] == 4, summary
    assert json.loads(run("inspect", store, "--json").stdout) == found
    run("prepare", images, "--out", WORK / "strict", "--keep", "images", "--resolution", 64, "--strict", ranks=2, code=65)


def check_model(images):
    tokenizer = Path(__file__).parents[2] / "models/clip-tokenizer"
    run("init", "--preset", "tiny", WORK / "model", "--tokenizer", tokenizer)
    components = json.loads(run("inspect", WORK / "model", "--json").stdout)["components"]
    assert set(components) == {"unet", "text_encoder", "vae"} and all(c["parameters"] > 0 for c in components.values())
    weights = json.loads(run("inspect", WORK / "model/vae/diffusion_pytorch_model.safetensors", "--json").stdout)
    assert weights["parameters"] == components["vae"]["parameters"]
    run("prepare", images, "--out", WORK / "moments", "--model", WORK / "model", "--resolution", 64)
    manifest = json.loads((WORK / "moments/store.json").read_text())
    assert manifest["kept"] == ["moments"] and manifest["encoder"]["digest"], manifest
    (WORK / "model/vae/diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 20)
    run("inspect", WORK / "model", code=65)


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    images, store = WORK / "images", WORK / "store"
    make_dataset(images)
    found = check_store(images, store)
    check_ranks(images, found)
    check_model(images)
    fails(64, "--model", "prepare", images, "--out", WORK / "none")
    fails(64, "did you mean 'images'", "prepare", images, "--out", WORK / "none", "--keep", "imgaes")
    fails(64, "no such folder", "prepare", WORK / "nowhere", "--out", WORK / "none", "--keep", "images")
    fails(64, "multiple of 64", "prepare", images, "--out", WORK / "none", "--keep", "images", "--resolution", 500)
    fails(64, "holds other files", "prepare", images, "--out", images, "--keep", "images")
    fails(64, "no such file", "inspect", WORK / "nowhere")
    fails(64, "neither a store", "inspect", images)
    shard = store / "shard-00000.h5"
    shard.write_bytes(shard.read_bytes()[:-1000])
    fails(65, "cut short", "inspect", store)
    print("prepare and inspect do what they should")


if __name__ == "__main__":
    main()
