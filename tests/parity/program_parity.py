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


def compare_forward(program: str, model: pathlib.Path, folder: pathlib.Path, pipeline) -> None:
    sample, context = torch.randn(2, 16, 8, 8), torch.randn(2, 77, 64)
    timestep, ids = torch.tensor([3, 800]), torch.randint(0, 49408, (2, 77))
    images, latents = torch.rand(2, 3, 64, 48) * 2 - 1, torch.randn(2, 16, 8, 6)
    with torch.no_grad():
        moments = pipeline.vae.encode(images).latent_dist
        cases = {
            "unet": ({"sample": sample, "timestep": timestep, "encoder_hidden_states": context}, "sample",
                     pipeline.unet(sample, timestep, context).sample),
            "text_encoder": ({"input_ids": ids}, "last_hidden_state", pipeline.text_encoder(ids).last_hidden_state),
            "vae_encoder": ({"sample": images}, "moments", torch.cat([moments.mean, moments.logvar], 1)),
            "vae_decoder": ({"latent_sample": latents}, "sample", pipeline.vae.decode(latents).sample),
        }
    for module, (inputs, output, expected) in cases.items():
        save_file(inputs, folder / "in.safetensors")
        run(program, "forward", module, model, folder / "in.safetensors", folder / "out.safetensors")
        found = load_file(folder / "out.safetensors")[output]
        difference = (found - expected).abs().max().item()
        print(f"{module}: {tuple(found.shape)}, largest difference {difference:.1e}")
        assert difference <= TOLERANCE, module

    chunks = torch.randint(0, 49408, (2, 154))
    save_file({"input_ids": chunks}, folder / "in.safetensors")
    run(program, "forward", "text_encoder", model, folder / "in.safetensors", folder / "out.safetensors", "--clip-skip", 1)
    with torch.no_grad():
        encoder = pipeline.text_encoder
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        expected = torch.cat([norm(encoder(ids, output_hidden_states=True).hidden_states[-2]) for ids in chunks.split(77, 1)], 1)
    difference = (load_file(folder / "out.safetensors")["last_hidden_state"] - expected).abs().max().item()
    assert difference <= TOLERANCE, difference

    save_file({"sample": sample}, folder / "in.safetensors")
    error = run(program, "forward", "unet", model, folder / "in.safetensors", folder / "out.safetensors", expect=65)
    assert "encoder_hidden_states" in error and error.count("\n") == 1, error
    save_file({"input_ids": torch.tensor([[49408]])}, folder / "in.safetensors")
    error = run(program, "forward", "text_encoder", model, folder / "in.safetensors", folder / "out.safetensors", expect=65)
    assert "49408" in error, error


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
    picture = pipeline("a cat", num_inference_steps=2, guidance_scale=4).images[0]
    assert picture.size == (64, 64), picture.size
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
