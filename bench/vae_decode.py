"""The VAE decoder of Stable Diffusion 1.5's size, 512 px, in fp32 and bf16: ours beside diffusers', in turns (a wrapper of modules.py).

    vae_decode.py WORK_FOLDER [--rounds 3] [--threads 2] [--out RESULT.json]

That both compute the same is checked first, on `kessoku forward` and a decoder with the same weights.
"""
import shutil

import modules
from bench_models import make_model
from turns import PROGRAM, ROOT, arguments, require, run, side_by_side, write

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
TOLERANCE = 2e-4


def check(work):
    """A small decoder: what differs in size alone computes the same."""
    import torch
    from diffusers import AutoencoderKL
    from safetensors.torch import load_file, save_file

    shutil.rmtree(work / "model", ignore_errors=True)
    make_model("tiny", work / "model")
    torch.manual_seed(0)
    latents = torch.randn(1, 4, 16, 16)
    save_file({"latent_sample": latents}, work / "in.safetensors")
    run(PROGRAM, "forward", "vae_decoder", work / "model", work / "in.safetensors", work / "out.safetensors")
    with torch.no_grad():
        expected = AutoencoderKL.from_pretrained(work / "model/vae").decode(latents).sample
    off = (load_file(work / "out.safetensors")["sample"] - expected).abs().max().item()
    require(off <= TOLERANCE, f"decoded images differ by {off}")
    return f"a small decoder's output: largest difference {off:.1e} (at most {TOLERANCE:.0e})"


def main():
    options = arguments(__doc__, 3, lambda parser: parser.add_argument("--threads", type=int, default=2))
    checked = check(options.work)
    ours, theirs = modules.Kessoku(ROOT / "build/bench/module_speed", options.threads), modules.DiffusersProcess(options.threads)
    config = modules.json.loads(ours.ask("config", "sd15", "vae_decoder"))
    measures = {}
    for precision, dtype in PRECISIONS.items():
        ours.ask("load", "sd15", "vae_decoder", dtype, 1, 64)
        theirs.ask({"load": {"config": config, "network": "vae_decoder", "dtype": dtype, "batch": 1, "side": 64}})
        turns = modules.turns(ours, theirs, "forward", options.rounds)
        measures[precision] = side_by_side(turns["kessoku"], turns["diffusers"], "s")
    ours.close()
    theirs.close()
    write({"benchmark": "vae_decode", "threads": options.threads, "size": 512, "checked": checked, "measures": measures}, options.out)


if __name__ == "__main__":
    main()
