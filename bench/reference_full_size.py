"""Stages of reference_run.py at Stable Diffusion 1.5's size: `memory` (of a GPU's plan) and `shard` (of this machine's)."""
import json
import os

from reference_parts import KESSOKU, RUN_FILE, WORK, run, text_of, write

MODEL, STORE = WORK / "sd15", WORK / "sd15-store"
REFERENCE = RUN_FILE.with_name("reference.toml")


def prepare():
    """Random weights and four images."""
    from PIL import Image

    if not MODEL.exists():
        run(KESSOKU, "init", "--preset", "sd15", MODEL)
    if STORE.exists():
        return
    images = WORK / "sd15-images"
    for number, folder in enumerate(("screenshots/1_character/kita_ikuyo/ep01", "screenshots/1_character/gotoh_hitori/ep01",
                                     "fanart/1_character/gotoh_hitori/booru", "regularization/1_character/others/stage")):
        (images / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (512, 512), (60 * number, 90, 120)).save(images / folder / "0001.png")
        (images / folder / "0001.txt").write_text(folder.replace("/", ", ") + "\n")
    run(KESSOKU, "prepare", images, "--out", STORE, "--model", MODEL, "--dialect", "screenshot-pipeline", "--resolution", 512)


def overrides(*settings):
    return [word for setting in (f"model.path={MODEL}", f"data.store={STORE}", *settings) for word in ("--set", setting)]


def plan(ranks, *settings):
    """Ranks → terms of a rank's memory, in bytes. No step is taken."""
    done = text_of(KESSOKU, "plan", REFERENCE, *overrides(*settings), "--ranks", ranks, "--link", "25GB/s", "--compute", "0.5s", "--json")
    return {str(row["ranks"]): row["memory"] for row in json.loads(done.stdout)["scaling"]["rows"]}


def memory(args):
    prepare()
    averaged = ("ema.decay=0.9999", "validation.fraction=0.02")
    kinds = {"reference": (), "averaged": averaged, "stored": (*averaged, "train.gradient_checkpointing=false")}
    write("reference_memory", {"benchmark": "reference_memory",
                               "planned": {name: plan("1,2,4", "train.device=cuda", *settings) for name, settings in kinds.items()}})


def shard(args):
    """What one, two and four ranks would hold on this machine's CPUs, by the plan."""
    prepare()
    common = ("train.device=cpu", "sample.every_steps=0", "sample.prompts=[]", "checkpoint.background=false", "checkpoint.memory_share=0")
    parts = {"all": (), "unet": ('train.target=["unet"]',)}
    write("reference_shard", {
        "benchmark": "reference_shard", "machine_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "planned": {precision: {part: plan("1,2,4", *common, f"train.precision={precision}", *settings) for part, settings in parts.items()}
                    for precision in ("fp32", "bf16")}})
