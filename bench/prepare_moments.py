"""From JPEGs of 512 x 512 pixels to moments by the autoencoder of Stable Diffusion 1.5's size: `kessoku prepare` beside Pillow and diffusers'
autoencoder, in turns, on two cores each (ours an image a core, the peer both cores for each image).

    prepare_moments.py WORK_FOLDER [--rounds 3] [--count 6] [--out RESULT.json]

Weights are random. Both read the model and write the moments (fp16) of all images, which must agree; the start of the processes does not count.
"""
import json
import shutil

from bench_models import DOWNSCALE, make_sd15
from turns import PEERS, PROGRAM, arguments, python, require, run, run_for_json, side_by_side, take_turns, write

SIDE, THREADS = 512, 2
TOLERANCE = 2e-2  # fp16 keeps three digits


def largest_difference(store, theirs):
    import h5py
    import numpy as np
    from safetensors.numpy import load_file

    expected, worst, found = load_file(theirs), 0.0, 0
    for shard in store.glob("*.h5"):
        with h5py.File(shard) as file:
            group = file[f"{SIDE}x{SIDE}"]
            names, ends = bytes(group["source_bytes"][:]), group["source_offsets"][:].astype(int)
            for row, moments in enumerate(group["moments"][:, 0]):
                name = names[ends[row]:ends[row + 1]].decode()
                worst = max(worst, float(np.abs(moments.astype(np.float32) - expected[name].astype(np.float32)).max()))
                found += 1
    require(found == len(expected), f"{found} and {len(expected)} images")
    return worst


def main():
    options = arguments(__doc__, 3, lambda parser: parser.add_argument("--count", type=int, default=6))
    work = options.work
    model = make_sd15(work / "model")
    photos, store, moments = work / "photos", work / "photos-store", work / "moments.safetensors"
    shutil.rmtree(photos, ignore_errors=True)
    run(*python(PEERS / "photos.py", photos, "--count", options.count, "--size", f"{SIDE}x{SIDE}"))

    def ours():
        shutil.rmtree(store, ignore_errors=True)
        done = run(PROGRAM, "prepare", photos, "--out", store, "--model", model, "--resolution", SIDE, "--keep", "moments", "--threads", THREADS,
                   "--json")
        return options.count / json.loads(done.stdout)["seconds"]

    def theirs():
        return options.count / run_for_json(*python(PEERS / "encode_diffusers.py", model, photos, moments, "--threads", THREADS))["seconds"]

    rates = take_turns({"kessoku": ours, "diffusers": theirs}, options.rounds)
    off = largest_difference(store, moments)
    require(off <= TOLERANCE, f"moments differ by {off}")
    write({"benchmark": "prepare_moments", "images": options.count, "size": SIDE, "threads": THREADS,
           "checked": f"moments of {options.count} images of {SIDE // DOWNSCALE} x {SIDE // DOWNSCALE}: largest difference {off:.1e} "
                      f"(at most {TOLERANCE:.0e})",
           "measures": {"images": side_by_side(rates["kessoku"], rates["diffusers"], "images/s", less_is_better=False)}}, options.out)


if __name__ == "__main__":
    main()
