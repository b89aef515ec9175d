"""The reference run in full count with the demo's small model (docs/reference-run.md), stage by stage.

    reference_run.py prepare     dataset of 27,173 images, base model, store, prompts, classifier: in demo/reference
    reference_run.py plan        plans all 192,000 draws; writes bench/results/reference_plan.json
    reference_run.py memory      memory plan of configs/reference.toml at full size; writes bench/results/reference_memory.json
    reference_run.py shard       memory plan at full size of one, two and four ranks on this machine; writes bench/results/reference_shard.json
    reference_run.py train       48,000 steps over two ranks; the same command goes on where it was stopped
    reference_run.py measure     images of all checkpoints that were kept, and of the base; writes bench/results/reference_run.json
    reference_run.py inpaint     repaints one character of two; needs measure's classifier; writes bench/results/reference_inpaint.json
    reference_run.py nine        trains a UNet of nine channels from the newest checkpoint, for inpaint
    reference_run.py control     the steps after the rename once more without it; writes bench/results/reference_control.json
    reference_run.py words       two characters alone, under words that are alike and with a rename; writes bench/results/reference_words.json
    reference_run.py weights     the same steps with and without weights; writes bench/results/reference_weights.json
    reference_run.py report      docs/reference-report.html: `kessoku report` of the run

Each stage needs those before it. A stage that is there is not made again; remove its folder below demo/reference to begin anew.
scripts/update_reference_page.py puts the results into the page.
"""
import argparse
import csv
import json
import math
import os
import re
import shutil
import sys
from collections import Counter
from pathlib import PurePosixPath

from chart import line_chart
from reference_full_size import memory, shard
from reference_parts import (BUCKETS, KESSOKU, MEASURE, ROOT, RUN, RUN_FILE, WORDS, WORK, mpirun, records_of, renamed_at, renames_at, run,
                             sample, score, steps_of, stoppable, text_of, train_run, write)
from reference_words import control, draw_run, words, words_at


def prepare(args):
    WORK.mkdir(parents=True, exist_ok=True)
    if not (WORK / "data/dataset.json").exists():
        run(sys.executable, ROOT / "scripts/make_reference_data.py", WORK / "data")
    base = ROOT / "demo/base"
    if not (base / "tokenizer").exists():
        shutil.copytree(ROOT / "models/demo-base", base, dirs_exist_ok=True)
        shutil.copytree(ROOT / "models/clip-tokenizer", base / "tokenizer")
    run(*mpirun(KESSOKU, "prepare", WORK / "data", "--out", WORK / "store", "--model", base, "--dialect", "screenshot-pipeline",
                "--buckets", BUCKETS, "--keep", "moments,images"))
    run(sys.executable, MEASURE, "prompts", WORK / "data", WORK / "prompts")
    if not (WORK / "classifier.pt").exists():
        run(sys.executable, MEASURE, "train", base, "--out", WORK / "classifier.pt")


def plan(args):
    """What was asked for is worked out here, from the folders and the shares of make_reference_data.py; what is got is counted
    from the schedule of all draws."""
    from make_reference_data import CATEGORY_SHARES, NUMBER_SHARES

    schedule = WORK / "schedule.csv"
    planned = json.loads(text_of(KESSOKU, "plan", RUN_FILE, "--json", "--schedule", schedule).stdout)
    with open(schedule, newline="") as file:
        draws = list(csv.DictReader(file))
    by_image = Counter(draw["source"] for draw in draws)
    images = [str(p.relative_to(WORK / "data")) for p in (WORK / "data").rglob("*") if p.suffix in (".jpg", ".png")]

    # A folder's share is its children's sum; the folders of characters share their parent's equally, a folder of sources by images.
    characters_of = {image: PurePosixPath(image).parents[1] for image in images}
    members, numbers = Counter(characters_of.values()), {}
    for folder in members:
        numbers.setdefault(folder.parent, []).append(folder)
    in_category = Counter(image.split("/")[0] for image in images)

    def share(image):
        category, number = image.split("/")[:2]
        if category == "regularization":
            return CATEGORY_SHARES[category] / in_category[category]
        folder = characters_of[image]
        return CATEGORY_SHARES[category] * NUMBER_SHARES[category][int(number[0])] / len(numbers[folder.parent]) / members[folder]

    shares = {image: share(image) for image in images}
    folders = {}  # path → [images, share, draws]
    furthest = 0.0  # draws between what an image got and what it was due
    for image in images:
        expected = shares[image] * len(draws)
        furthest = max(furthest, abs(by_image[image] - expected))
        for folder in [*map(str, PurePosixPath(image).parents)]:
            entry = folders.setdefault(folder, [0, 0.0, 0])
            entry[0], entry[1], entry[2] = entry[0] + 1, entry[1] + shares[image], entry[2] + by_image[image]

    # The law (docs/mixture.md): in each pass an image of multiplier w is drawn ⌊w⌋ or ⌈w⌉ times. The run is one pass, but for the
    # ends of its buckets: steps are whole, so a bucket's stream ends some draws before the end of the pass or in the next one.
    bucket_of, drawn_in_bucket, in_pass, last_pass = {}, Counter(), Counter(), {}
    for draw in draws:
        bucket_of[draw["source"]] = draw["bucket"]
        drawn_in_bucket[draw["bucket"]] += 1
        in_pass[draw["source"], int(draw["pass"])] += 1
        last_pass[draw["bucket"]] = max(last_pass.get(draw["bucket"], 0), int(draw["pass"]))
    bounds = {image: (math.floor(w + 1e-6), math.ceil(w - 1e-6)) for image in images for w in [shares[image] * planned["pass_draws"]]}
    beyond = sum(count > bounds[image][1] for (image, _), count in in_pass.items())
    beyond += sum(in_pass[image, number] < bounds[image][0] for image in bucket_of for number in range(last_pass[bucket_of[image]]))
    at_ends = [by_image[image] - w for image in images for w in [shares[image] * len(draws)]
               if not bounds[image][0] <= by_image[image] <= bounds[image][1]]
    counts = [by_image[image] for image in images]
    mixed = sum(len({d["bucket"] for d in draws[i:i + 4]}) > 1 for i in range(0, len(draws), 4))

    rows = [{"folder": f, "images": n, "asked": round(s, 6), "expected": round(s * len(draws), 2), "draws": d,
             "off": round(d - s * len(draws), 2)} for f, (n, s, d) in folders.items()]
    worst = max(rows, key=lambda row: abs(row["off"]))
    write("reference_plan", {
        "benchmark": "reference_plan", "images": len(images), "draws": len(draws), "folders": len(rows), "pass_draws": planned["pass_draws"],
        "largest_error": worst, "images_drawn": len(by_image), "fewest_draws": min(counts), "most_draws": max(counts),
        "furthest_image": round(furthest, 2), "images_beyond_the_law": beyond, "images_at_ends_of_buckets": len(at_ends),
        "steps_of_several_buckets": mixed,
        "buckets": [{"bucket": b, "images": planned["buckets"][b]["examples"], "share": round(planned["buckets"][b]["share"], 6),
                     "draws": n, "passes": last_pass[b] + 1} for b, n in sorted(drawn_in_bucket.items())],
        "rows": sorted((row for row in rows if row["folder"] == "." or row["folder"].count("/") <= 1), key=lambda row: row["folder"])})


def train(args):
    """The rename comes as for a user who sees the warning late."""
    train_run(RUN, args.steps, (args.rename_at, args.rename_to))


def measure(args):
    rename_step, word = renamed_at(RUN)
    kept = {**{int(f.name[5:]): f for f in WORK.glob("step-*")}, **steps_of(RUN)}
    newest = args.at or max(kept)
    prompts = json.loads((WORK / "prompts/prompts.json").read_text())
    of_words, recall = {}, {}
    for step in sorted(s for s in kept if s <= newest and s % args.every == 0 or s in (newest, rename_step)):
        folder, renames = WORK / f"measured/{step:08}", renames_at(step)
        of_words[step] = words_at(kept[step], folder / "words", [renames.get(word, word) for word in WORDS])
        print(f"step {step}: {of_words[step]}", flush=True)
        if step == newest or step in args.recall:
            sample(kept[step], prompts, folder / "all", renames)
            recall[step] = {key: value for key, value in score(folder / "all").items() if key != "seen"}
    if not (WORK / "training_images.json").exists():
        run(sys.executable, MEASURE, "dataset", WORK / "classifier.pt", WORK / "data", ROOT / "demo/base", "--out", WORK / "training_images.json")
    records = [record for record in records_of(RUN) if record["step"] <= newest]
    losses, seconds = [record["loss"] for record in records], sorted(record["seconds"] for record in records)
    part = max(1, len(losses) // 60)
    events = [json.loads(line) for line in (RUN / "account.jsonl").read_text().splitlines()]
    make_grids(newest // 2, newest)
    curve = [[i + part // 2, round(sum(losses[i:i + part]) / part, 5)] for i in range(0, len(losses) - part + 1, part)]
    line_chart(ROOT / "docs/images/reference-loss.svg", "The reference run, rehearsed", "step", f"loss (mean of {part} steps)",
               [{"name": "training", "points": curve}])
    write("reference_run", {
        "benchmark": "reference_run", "steps": len(records), "of": 48_000, "draws": records[-1]["draws"], "ranks": 2,
        "starts": sum(event["event"] == "start" and event["account"]["furthest"] < newest for event in events), "hours": round(sum(r["seconds"] for r in records) / 3600, 2),
        "median_step_seconds": seconds[len(seconds) // 2], "fast_step_seconds": seconds[len(seconds) // 10],
        "renamed_after_step": rename_step, "renamed": [WORDS[1], word], "words": of_words, "recall": recall,
        "training_images": json.loads((WORK / "training_images.json").read_text()),
        "losses": curve})
    draw_run()


def report(args):
    """Its pictures in fewer colors: they are most of the page."""
    import base64
    import io

    from PIL import Image

    def smaller(match):
        image = Image.open(io.BytesIO(base64.b64decode(match[1]))).convert("RGB").quantize(64, dither=Image.Dither.NONE)
        image.save(packed := io.BytesIO(), "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()

    run(KESSOKU, "report", RUN)
    page = re.sub(r"data:image/png;base64,([A-Za-z0-9+/=]+)", smaller, (RUN / "report.html").read_text())
    (ROOT / "docs/reference-report.html").write_text(page)


def make_grids(middle, newest):
    """The sample prompts before, in the middle and at the newest step that has them, one above the other."""
    from PIL import Image

    there = {int(f.parent.name[5:]): f for f in (RUN / "samples").glob("step-*/grid.png")}
    steps = {0, *(max(s for s in there if s <= limit) for limit in (middle, newest))}
    grids = [Image.open(there[s]).convert("RGB") for s in sorted(steps)]
    sheet = Image.new("RGB", (max(g.width for g in grids), sum(g.height for g in grids) + 12 * (len(grids) - 1)), "white")
    top = 0
    for grid in grids:
        sheet.paste(grid, (0, top))
        top += grid.height + 12
    sheet.quantize(256).save(ROOT / "docs/images/reference-grids.png", optimize=True)


def make_inpainting_scenes(folder, count):
    """Scenes of two that are in no dataset; one of the two is to become somebody else."""
    import random

    from make_demo_data import scene
    from make_reference_data import load_cast
    from PIL import Image

    cast, _ = load_cast()
    rng, names, records = random.Random(30_000), list(cast), []
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    while len(records) < count:
        who = rng.sample(names, 3)
        image, caption = scene(rng, [cast[n] for n in who[:2]])
        if image.width == image.height:
            continue
        i, place = len(records), rng.choice([0, 1])
        image.resize((112, 64), Image.Resampling.LANCZOS).save(folder / f"init-{i:03}.png")
        mask = Image.new("L", (112, 64), 0)
        mask.paste(255, (56 * place, 0, 56 * place + 56, 64))
        mask.save(folder / f"mask-{i:03}.png")
        left_right = [who[0], who[1]]
        left_right[place] = who[2]
        records.append({"prompt": " and ".join(left_right) + caption[caption.index(","):], "characters": [who[2]], "stays": who[1 - place],
                        "was": who[place], "place": place,
                        "settings": {"init": str(folder / f"init-{i:03}.png"), "mask": str(folder / f"mask-{i:03}.png")}})
    (folder / "scenes.json").write_text(json.dumps(records))
    return records


def inpaint(args):
    import numpy as np
    import torch
    from PIL import Image
    from reference_measure import FOUND, load_classifier, probabilities, rate

    kept = steps_of(RUN)
    newest = args.at or max(kept)
    folder = WORK / f"inpaint-{newest:08}"
    scenes = json.loads((folder / "scenes.json").read_text()) if (folder / "scenes.json").exists() else make_inpainting_scenes(folder, args.count)
    classifier, names, about = load_classifier(WORK / "classifier.pt")
    models = {"ordinary": kept[newest]}
    if nine := steps_of(WORK / "nine"):
        models["nine channels"] = nine[max(nine)]
    result = {"step": newest, "scenes": len(scenes), "nine_steps": max(nine, default=0)}

    def seen_in(file, place):
        image = torch.from_numpy(np.asarray(Image.open(file).convert("RGB").crop((56 * place, 0, 56 * place + 56, 64))).copy())
        row = probabilities(classifier, image.permute(2, 0, 1)[None])[0] >= FOUND
        return {name for name, there in zip(names, row.tolist()) if there}

    of_originals = sum(scene["was"] in seen_in(scene["settings"]["init"], scene["place"]) for scene in scenes)
    result["seen_before"] = rate(of_originals, len(scenes))
    for name, model in models.items():
        for kept_pixels in False, True:
            out = folder / (name.replace(" ", "-") + ("-kept" if kept_pixels else ""))
            sample(model, scenes, out, renames_at(newest),
                   *(["--keep-original"] if kept_pixels else []))
            found, left, errors, beyond, largest = 0, 0, [], [], 0.0  # beyond the eight pixels of the feather
            for i, scene in enumerate(scenes):
                seen = seen_in(out / f"{i:05}.png", scene["place"])
                found, left = found + (scene["characters"][0] in seen), left + (scene["was"] in seen)
                pixels = [np.asarray(Image.open(f).convert("RGB"), dtype=float) for f in (scene["settings"]["init"], out / f"{i:05}.png")]
                other = slice(0, 56) if scene["place"] else slice(56, 112)
                off = np.abs(pixels[0][:, other] - pixels[1][:, other])
                errors.append(off.mean())
                beyond.append((off[:, :48] if scene["place"] else off[:, 8:]).mean())
                largest = max(largest, float(off.max()))
            result[name + (", original kept" if kept_pixels else "")] = {
                "named_seen": rate(found, len(scenes)), "old_seen": rate(left, len(scenes)),
                "outside_mean_error": round(float(np.mean(errors)), 2), "beyond_the_feather": round(float(np.mean(beyond)), 3),
                "outside_largest_error": largest}
    write("reference_inpaint", {"benchmark": "reference_inpaint", "result": result})
    sheet = Image.new("RGB", (6 * 116, 2 * 68 + 4), "white")
    last = folder / (list(models)[-1].replace(" ", "-") + "-kept")
    for i in range(6):
        sheet.paste(Image.open(folder / f"init-{i:03}.png"), (i * 116, 0))
        sheet.paste(Image.open(last / f"{i:05}.png"), (i * 116, 68))
    sheet.save(ROOT / "docs/images/reference-inpaint.png", optimize=True)


def nine(args):
    _, word = renamed_at(RUN)
    kept = steps_of(RUN)
    settings = [f"model.path={kept[max(kept)]}", "train.inpainting=true", f"train.steps={args.steps}", "sample.every_steps=0",
                "sample.prompts=[]", "mixture.pass_draws=0"]
    settings += [f"data.caption_rename={json.dumps([[WORDS[1], word]])}"] if word else []
    raise SystemExit(stoppable(mpirun(KESSOKU, "train", RUN_FILE, "--out", WORK / "nine", *(w for s in settings for w in ("--set", s)))))


def weights(args):
    """The run's first steps once more, with the same images at equal weights."""
    kept = {**{int(f.name[5:]): f for f in WORK.glob("step-*")}, **steps_of(RUN)}
    rename_step, word = rename = renamed_at(RUN)
    flat, store = WORK / "equal", WORK / "equal-store"
    if not store.exists():
        shutil.copytree(WORK / "data", flat, copy_function=os.link, ignore=shutil.ignore_patterns("multiply.txt"))
        shutil.copytree(WORK / "store", store)
        run(KESSOKU, "prepare", flat, "--out", store, "--captions-only", "--dialect", "screenshot-pipeline")
    run_folder = WORK / "equal-run"
    train_run(run_folder, args.steps, rename if word else None, f"data.store={store}", "sample.every_steps=0", "sample.prompts=[]")
    prompts, result = json.loads((WORK / "prompts/prompts.json").read_text()), {}
    for name, model in ("weights", kept[args.steps]), ("equal", steps_of(run_folder)[args.steps]):
        folder = WORK / f"measured/{args.steps:08}" / ("all" if name == "weights" else "equal")
        sample(model, prompts, folder, renames_at(args.steps))
        result[name] = {key: value for key, value in score(folder).items() if key in ("groups", "per_character")}
    write("reference_weights", {"benchmark": "reference_weights", "steps": args.steps, "renamed_after_step": rename_step, "result": result})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(required=True)
    stages.add_parser("prepare").set_defaults(run=prepare)
    stages.add_parser("plan").set_defaults(run=plan)
    stages.add_parser("memory").set_defaults(run=memory)
    stages.add_parser("shard").set_defaults(run=shard)
    trains = stages.add_parser("train")
    trains.add_argument("--steps", type=int, default=48_000)
    trains.add_argument("--rename-at", type=int, default=24_000)
    trains.add_argument("--rename-to", default="toire")
    trains.set_defaults(run=train)
    measures = stages.add_parser("measure")
    measures.add_argument("--every", type=int, default=2000, help="steps between the checkpoints that are looked at (default %(default)s)")
    measures.add_argument("--at", type=int, help="step of a checkpoint (default: the newest)")
    measures.add_argument("--recall", type=int, nargs="*", default=[], help="also all prompts at these steps")
    measures.set_defaults(run=measure)
    inpaints = stages.add_parser("inpaint")
    inpaints.add_argument("--count", type=int, default=48, help="scenes (default %(default)s)")
    inpaints.add_argument("--at", type=int, help="step of a checkpoint (default: the newest)")
    inpaints.set_defaults(run=inpaint)
    nines = stages.add_parser("nine")
    nines.add_argument("--steps", type=int, default=2000)
    nines.set_defaults(run=nine)
    controls = stages.add_parser("control")
    controls.add_argument("--steps", type=int, default=16_000)
    controls.add_argument("--every", type=int, default=4000, help="steps between the checkpoints that are looked at (default %(default)s)")
    controls.set_defaults(run=control)
    alike = stages.add_parser("words")
    alike.add_argument("--steps", type=int, default=3000)
    alike.add_argument("--rename-at", type=int, default=2000)
    alike.add_argument("--every", type=int, default=500, help="steps between the checkpoints that are looked at (default %(default)s)")
    alike.add_argument("--count", type=int, default=64, help="images of each word (default %(default)s)")
    alike.set_defaults(run=words)
    weighted = stages.add_parser("weights")
    weighted.add_argument("--steps", type=int, default=16_000)
    weighted.set_defaults(run=weights)
    stages.add_parser("report").set_defaults(run=report)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
