"""kessoku prepare and inspect from outside: prepare_command_test.py PROGRAM WORK_DIR"""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))
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
    images = WORK / "pictures"
    make_images.main(images)
    for name, folder in {"wide.jpg": "a", "turned.jpg": "a", "exact.png": "b/結束", "gray.png": "b", "cut.jpg": "b"}.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(images / name, root / folder)
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
    shutil.copy(images / "b/cut.jpg", images / "a/結束 2.jpg")
    for ranks in (None, 2):
        stderr = run("prepare", images, "--out", WORK / "strict", "--keep", "images", "--resolution", 64, "--strict", ranks=ranks, code=65).stderr
        listed = [line.split(": ")[0].strip() for line in stderr.splitlines() if line.startswith("  ") and ".jpg: " in line]
        assert listed == ["a/結束 2.jpg", "b/cut.jpg"] and "2 images cannot be used" in stderr, stderr
    (images / "a/結束 2.jpg").unlink()


def check_model(images):
    tokenizer = Path(__file__).parents[3] / "models/clip-tokenizer"
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


def content(store):
    """Groups of the only shard, as arrays."""
    shards = json.loads((store / "store.json").read_text())["shards"]
    with h5py.File(store / shards[0]["file"]) as file:
        return {bucket: {name: group[name][...] for name in group} for bucket, group in file.items()}


def check_options():
    """Variants, buckets, background and the pixel limit."""
    root = WORK / "options"
    root.mkdir()
    pixels = np.random.default_rng(1).integers(0, 255, (100, 160, 3), np.uint8)
    Image.fromarray(pixels).save(root / "wide.png")
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(root / "clear.png")
    Image.new("1", (3000, 2000)).save(root / "bomb.png")
    (WORK / "sizes.txt").write_text("96x64\n64x64\n")
    common = ("prepare", root, "--keep", "images", "--resolution", 64, "--json", "--background", "#ff8000", "--variants", 4,
              "--max-pixels", 5_000_000)
    for buckets in ("96x64,64x64", WORK / "sizes.txt"):
        store = WORK / "options-store"
        shutil.rmtree(store, ignore_errors=True)
        summary = json.loads(run(*common, "--out", store, "--buckets", buckets).stdout)
        assert summary["examples"] == 2 and summary["skipped"][0]["source"] == "bomb.png", summary
        assert "3000x2000 pixels" in summary["skipped"][0]["reason"], summary
        groups = content(store)
        assert set(groups) == {"96x64", "64x64"}
        wide = groups["96x64"]
        rows = wide["images"][0]
        assert rows.shape == (4, 3, 64, 96) and wide["row_checksum"].shape == (1, 4)
        assert (rows[1] == rows[0][..., ::-1]).all() and (rows[3] == rows[2][..., ::-1]).all() and (rows[2] != rows[0]).any()
        assert wide["variant_flip"].tolist() == [[0, 1, 0, 1]]
        assert wide["crop"][0].tolist() == wide["variant_crop"][0, 0].tolist() == [5, 0, 155, 100], wide["crop"]
        assert (wide["variant_crop"][0, 2] == wide["variant_crop"][0, 3]).all()
        assert (groups["64x64"]["images"] == np.array([255, 128, 0]).reshape(1, 1, 3, 1, 1)).all()
    assert json.loads(run(*common, "--out", store, "--buckets", "96x64,64x64").stdout)["unchanged"]
    other = json.loads(run(*common[:-4], "--out", store, "--buckets", "96x64,64x64").stdout)
    assert other["encoded"] == 3 and content(store)["96x64"]["images"].shape[1] == 1, other
    run("inspect", store, "--verify")
    for resolution in (320, 1088):
        for table in ("everydream", "kohya"):
            store = WORK / f"{table}-{resolution}"
            run("prepare", root, "--out", store, "--keep", "images", "--resolution", resolution, "--buckets", table)
            sides = [int(side) for bucket in content(store) for side in bucket.split("x")]
            assert all(side % 64 == 0 for side in sides), sides
    fails(64, "no color", *common[:-6], "--out", WORK / "none", "--background", "mauve")
    fails(64, "no size", *common, "--out", WORK / "none", "--buckets", "64x")


def check_versions(images, store):
    """Newer or damaged stores are refused, by readers and, if newer, by prepare."""
    text = (store / "store.json").read_text()
    for changed, says in ((text.replace('"version": 2', '"version": 3'), "newer kessoku"),
                          (text.replace('"multiply": 2.5', '"multiply": 3.5'), "checksum does not hold"),
                          (text[:len(text) // 2], "not valid JSON"), (text.replace('"version": 2', '"version": 1'), "prepare it again")):
        assert changed != text
        (store / "store.json").write_text(changed)
        fails(65, says, "inspect", store)
        fails(65, says, "prepare", images, "--out", store, "--keep", "images", "--captions-only")
        if "newer" in says:
            fails(65, says, "prepare", images, "--out", store, "--keep", "images", "--resolution", 64)
            assert (store / "store.json").read_text() == changed
    (store / "store.json").write_text(text)
    shard = store / json.loads(text)["shards"][0]["file"]
    with h5py.File(shard, "r+") as file:
        assert file.attrs["kessoku_store_version"] == 2
        file.attrs.modify("kessoku_store_version", 3)
    fails(65, "newer kessoku", "inspect", store)
    with h5py.File(shard, "r+") as file:
        file.attrs.modify("kessoku_store_version", 2)
    run("inspect", store)


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    images, store = WORK / "images", WORK / "store"
    make_dataset(images)
    found = check_store(images, store)
    check_ranks(images, found)
    check_model(images)
    check_options()
    check_versions(images, store)
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
