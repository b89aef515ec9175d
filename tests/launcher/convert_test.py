"""kessoku convert and inspect of models, against torch, safetensors and diffusers: convert_test.py PROGRAM WORK_DIR"""
import filecmp
import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

PROGRAM, WORK = sys.argv[1], Path(sys.argv[2])
TOKENIZER = Path(__file__).parents[2] / "models/clip-tokenizer"


def run(*arguments, code=0):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.returncode, done.stderr)
    return done


def same_folders(a: Path, b: Path) -> bool:
    files = sorted(path.relative_to(a) for path in a.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(b) for path in b.rglob("*") if path.is_file())
    return all(filecmp.cmp(a / file, b / file, shallow=False) for file in files)


def same_weights(pipeline, expected) -> None:
    for part in ("unet", "vae", "text_encoder"):
        found, wanted = getattr(pipeline, part).state_dict(), getattr(expected, part).state_dict()
        assert found.keys() == wanted.keys() and all(torch.equal(found[k], wanted[k]) for k in wanted), part


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    model = WORK / "model"
    run("init", "--preset", "tiny", model, "--tokenizer", TOKENIZER)
    for name in ("x.safetensors", "x.ckpt", "bin"):
        run("convert", model, WORK / name, *(["--bin"] if name == "bin" else []))
        run("convert", WORK / name, WORK / f"{name}-back")
        assert same_folders(model, WORK / f"{name}-back"), name
    run("convert", WORK / "x.ckpt-back", WORK / "again.ckpt")
    assert filecmp.cmp(WORK / "x.ckpt", WORK / "again.ckpt", shallow=False)

    state = torch.load(WORK / "x.ckpt", weights_only=True)["state_dict"]
    ldm = load_file(WORK / "x.safetensors")
    assert state.keys() == ldm.keys() and all(torch.equal(state[k], ldm[k]) for k in ldm)
    expected = StableDiffusionPipeline.from_pretrained(model)
    same_weights(StableDiffusionPipeline.from_pretrained(WORK / "bin", use_safetensors=False), expected)
    for name in ("x.safetensors", "x.ckpt"):
        same_weights(StableDiffusionPipeline.from_single_file(WORK / name, config=str(model), local_files_only=True), expected)

    # Moving averages, trainers' extras and the legacy form: names as LDM's LitEma makes them.
    averaged = {k: v + 1 for k, v in state.items() if k.startswith("model.diffusion_model.")}
    ema = {"model_ema." + k.removeprefix("model.").replace(".", ""): v for k, v in averaged.items()}
    torch.save({"state_dict": state | ema, "epoch": 3, "callbacks": {Path: Path("x")}}, WORK / "ema.ckpt",
               _use_new_zipfile_serialization=False)
    assert json.loads(run("inspect", WORK / "ema.ckpt", "--config", model, "--json").stdout)["ema"]
    run("convert", WORK / "ema.ckpt", WORK / "plain.safetensors", "--config", model)
    run("convert", WORK / "ema.ckpt", WORK / "ema.safetensors", "--config", model, "--ema")
    assert all(torch.equal(v, ldm[k]) for k, v in load_file(WORK / "plain.safetensors").items())
    found = load_file(WORK / "ema.safetensors")
    assert all(torch.equal(found[k], averaged.get(k, ldm[k])) for k in ldm)

    run("convert", model, WORK / "vae.pt", "--part", "vae")
    run("convert", WORK / "vae.pt", WORK / "vae")
    assert same_folders(model / "vae", WORK / "vae")
    run("convert", model, WORK / "half.ckpt", "--dtype", "f16")
    half = torch.load(WORK / "half.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(half[k], v.half() if v.is_floating_point() else v) for k, v in ldm.items())

    for name in ("x.safetensors", "x.ckpt"):
        whole = (WORK / name).read_bytes()
        (WORK / f"cut-{name}").write_bytes(whole[: len(whole) // 2])
        for arguments in (("inspect", WORK / f"cut-{name}"), ("convert", WORK / f"cut-{name}", WORK / "none")):
            error = run(*arguments, code=65).stderr
            assert f"cut-{name}" in error and error.count("\n") == 1, error
    assert not (WORK / "none").exists() and not list(WORK.glob("*.tmp*"))
    run("convert", model, WORK / "x.ckpt", code=64)
    print("convert and inspect do what they should")


main()
