"""What `kessoku init` writes opens in diffusers as a pipeline, and `kessoku forward` computes what it computes.

Usage: program_parity.py KESSOKU FOLDER
"""

import pathlib
import shutil
import subprocess
import sys

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

TOLERANCE = 2e-4
SOURCE = pathlib.Path(__file__).parents[2]


def run(program: str, *arguments, expect: int = 0) -> str:
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == expect, f"{arguments}: exit code {done.returncode}\n{done.stderr}"
    return done.stderr


def run_pipeline(pipeline, inputs: dict) -> dict:
    """What each module makes of its inputs: {module: (name of the output, tensor)}."""
    with torch.no_grad():
        moments = pipeline.vae.encode(inputs["vae_encoder"]["sample"]).latent_dist
        return {
            "unet": ("sample", pipeline.unet(**inputs["unet"]).sample),
            "text_encoder": ("last_hidden_state", pipeline.text_encoder(**inputs["text_encoder"]).last_hidden_state),
            "vae_encoder": ("moments", torch.cat([moments.mean, moments.logvar], 1)),
            "vae_decoder": ("sample", pipeline.vae.decode(inputs["vae_decoder"]["latent_sample"]).sample),
        }


def compare_forward(program: str, model: pathlib.Path, folder: pathlib.Path, pipeline) -> None:
    sample = torch.randn(2, 16, 8, 8)
    inputs = {
        "unet": {"sample": sample, "timestep": torch.tensor([3, 800]), "encoder_hidden_states": torch.randn(2, 77, 64)},
        "text_encoder": {"input_ids": torch.randint(0, 49408, (2, 77))},
        "vae_encoder": {"sample": torch.rand(2, 3, 64, 48) * 2 - 1},
        "vae_decoder": {"latent_sample": torch.randn(2, 16, 8, 6)},
    }
    exact = run_pipeline(pipeline, inputs)
    rounded = run_pipeline(pipeline.to(torch.bfloat16), {
        module: {name: t.bfloat16() if t.is_floating_point() else t for name, t in tensors.items()}
        for module, tensors in inputs.items()})
    for module, tensors in inputs.items():
        save_file(tensors, folder / "in.safetensors")
        output, expected = exact[module]
        run(program, "forward", module, model, folder / "in.safetensors", folder / "out.safetensors")
        difference = (load_file(folder / "out.safetensors")[output] - expected).abs().max().item()
        run(program, "forward", module, model, folder / "in.safetensors", folder / "out.safetensors", "--dtype", "bf16")
        found = load_file(folder / "out.safetensors")[output]
        assert found.dtype == torch.bfloat16, module
        error, their_error = (torch.linalg.norm(t.float() - expected).item() for t in (found, rounded[module][1]))
        print(f"{module}: {tuple(found.shape)}, largest difference {difference:.1e}; bf16 is {error:.2e} off, "
              f"diffusers {their_error:.2e}")
        assert difference <= TOLERANCE, module
        assert error <= 1.25 * their_error, module

    save_file({"sample": sample}, folder / "in.safetensors")
    error = run(program, "forward", "unet", model, folder / "in.safetensors", folder / "out.safetensors", expect=65)
    assert "encoder_hidden_states" in error and error.count("\n") == 1, error
    save_file({"input_ids": torch.tensor([[49408]])}, folder / "in.safetensors")
    error = run(program, "forward", "text_encoder", model, folder / "in.safetensors", folder / "out.safetensors", expect=65)
    assert "49408" in error, error
    save_file({"sample": torch.zeros(1, 3, 7, 64)}, folder / "in.safetensors")
    error = run(program, "forward", "vae_encoder", model, folder / "in.safetensors", folder / "out.safetensors", expect=65)
    assert "at least 8" in error and error.count("\n") == 1, error


def main() -> None:
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer = SOURCE / "models/clip-tokenizer"
    model = folder / "model"
    run(program, "init", "--preset", "tiny", model, "--tokenizer", tokenizer, "--seed", 5)
    torch.manual_seed(1)

    pipeline = StableDiffusionPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a cat", num_inference_steps=2, guidance_scale=4).images[0]
    assert image.size == (64, 64), image.size
    compare_forward(program, model, folder, pipeline)

    run(program, "init", "--preset", "tiny", model, "--tokenizer", tokenizer, expect=64)
    run(program, "init", "--preset", "sdxl", folder / "other", "--tokenizer", tokenizer, expect=64)
    error = run(program, "forward", "unet", folder / "none", "in", "out", expect=64)
    assert error.count("\n") == 1, error
    run(program, "init", "--preset", "tiny", folder / "again", "--tokenizer", tokenizer, "--seed", 5)
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert (model / weights).read_bytes() == (folder / "again" / weights).read_bytes()
    shutil.rmtree(folder)


main()
