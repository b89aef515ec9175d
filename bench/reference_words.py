"""Stages of reference_run.py about trigger words that tokenize alike: `control`, and `words` with two characters alone."""
import json

from chart import line_chart
from reference_parts import (KESSOKU, ROOT, RUN, WORDS, WORK, fork, renamed_at, result_of, sample, score, steps_of, text_of, train_run,
                             write)

# Digits that are in no caption of the base model, so that its text encoder has not learned to tell them apart.
ALIKE, RENAMED = ("Bemo5", "Bemo6"), ("Bemo5", "toire")
QUIET = ("sample.every_steps=0", "sample.prompts=[]")


def word_prompts(count):
    """So many for each of the two words, on grounds on which both characters can be seen."""
    about = json.loads((WORK / "data/dataset.json").read_text())["characters"]
    first, second = ({g for g in c["backgrounds"]} for c in about if c["name"] in WORDS)
    grounds = sorted(first & second)
    return [{"prompt": f"{word}, screenshot, {grounds[i % len(grounds)]} background", "characters": [word], "seen": True,
             "settings": {"size": [64, 64]}} for word in WORDS for i in range(count)]


def compared(model, words):
    pair = json.loads(text_of(KESSOKU, "tokens", model, "--compare", *words, "--json").stdout)["pairs"][0]
    return {"similarity": round(pair["similarity"], 4), "collides": pair["collides"]}


def words_at(model, folder, words, count=16):
    """How far two words are apart, under which the characters of WORDS go: by what is drawn for each, and by the text encoder.
    `confused` is the share of the other's character among images that show either."""
    from reference_measure import rate  # needs PyTorch

    sample(model, word_prompts(count), folder, {old: new for old, new in zip(WORDS, words) if old != new})
    seen = score(folder)["seen"]
    of_each = [seen[:count], seen[count:]]
    right = [sum(who in found for found in part) for who, part in zip(WORDS, of_each)]
    mixed_up = [sum(who in found for found in part) for who, part in zip(reversed(WORDS), of_each)]
    confused = rate(sum(mixed_up), sum(right) + sum(mixed_up))
    return {"right": sum(right), "mixed_up": sum(mixed_up), "of": 2 * count, "right_of_each": right, "mixed_up_of_each": mixed_up,
            "confused": confused, **compared(model, words)}


def draw_run():
    """Of the run, and of the control if it was made."""
    run_result, kept_result = result_of("reference_run"), result_of("reference_control")

    def series(words, note, dashed):
        kinds = (("right one", "right"), ("the other one", "mixed_up"), ("similarity", "similarity"))
        return [{"name": name + note, "points": [(int(step), w[key] if key == "similarity" else w[key] / w["of"]) for step, w in words.items()],
                 "marks": True, "color": i, "dashed": dashed} for i, (name, key) in enumerate(kinds)]

    lines = series(run_result["words"], "", False)
    if kept_result:
        lines += series(kept_result["words"], ", not renamed", True)
    line_chart(ROOT / "docs/images/reference-words.svg", f"Bemo1 and the other word, renamed after step {run_result['renamed_after_step']}",
               "step", "share", lines)


def control(args):
    """From the checkpoint at the rename on, without it."""
    rename_step, _ = renamed_at(RUN)
    folder = WORK / "control"
    fork(RUN, rename_step, folder)
    train_run(folder, args.steps, None, *QUIET)
    words = {}
    for step, model in sorted(steps_of(folder).items()):
        if step % args.every == 0:
            words[step] = words_at(model, WORK / f"measured/control-{step:08}/words", WORDS)
            print(f"step {step}: {words[step]}", flush=True)
    write("reference_control", {"benchmark": "reference_control", "from_step": rename_step, "words": words})
    draw_run()


def of_two_characters():
    """Settings by which only the two characters are drawn, alone in an image, beside the regularization images of one."""
    weights = {"screenshots": 0.30, "fanart": 0.25, "regularization": 0.45}
    weights |= {f"*/{number}_characters": 0 for number in (2, 3, 4)}
    for category in "screenshots", "fanart":
        weights |= {f"{category}/1_character/*": 0, **{f"{category}/1_character/{word}": 1 for word in WORDS}}
    return [f"mixture.{folder}={weight}" for folder, weight in weights.items()]


def words(args):
    """The same images and noise under two words that tokenize alike, and with one of them renamed in the middle. The text encoder
    learns at the rate of configs/reference.toml, which hardly moves it."""
    settings = [*of_two_characters(), *QUIET, "mixture.pass_draws=32000", "train.global_batch=8", "train.micro_batch=4",
                "optimizer.lr=6e-4", "optimizer.text_encoder_lr=1e-6", "ema.decay=0.995", f"checkpoint.every_steps={args.every}",
                "checkpoint.keep=0", "checkpoint.keep_every_steps=0"]
    middle, place = args.rename_at, WORK / "words"

    def go_on(name, words):
        train_run(place / name, args.steps, None, *settings, f"data.caption_rename={json.dumps([*map(list, zip(WORDS, words))])}")

    go_on("alike", ALIKE)
    fork(place / "alike", middle, place / "renamed")
    go_on("renamed", RENAMED)
    result = {"before": {"alike": compared(ROOT / "demo/base", ALIKE), "renamed": compared(ROOT / "demo/base", RENAMED)}}
    for name in "alike", "renamed":
        result[name] = {}
        for step, model in sorted(steps_of(place / name).items()):
            if name == "renamed" and step <= middle or step > args.steps or step % args.every:
                continue
            folder = WORK / f"measured/words-{name}-{step:08}"
            result[name][step] = words_at(model, folder, ALIKE if name == "alike" else RENAMED, args.count)
            print(f"{name}, step {step}: {result[name][step]}", flush=True)
    write("reference_words", {"benchmark": "reference_words", "words": {"alike": ALIKE, "renamed": RENAMED}, "characters": WORDS,
                              "steps": args.steps, "renamed_after_step": middle, "images_of_each": args.count, "result": result})
    draw_words()


def draw_words():
    found = result_of("reference_words")
    middle, arms = found["renamed_after_step"], found["result"]
    arms["renamed"] = {str(middle): arms["alike"][str(middle)], **arms["renamed"]}
    names = {"alike": "both words kept", "renamed": "one renamed"}
    lines = [{"name": f"{what}: {names[arm]}", "points": [(int(step), 100 * at[key] / at["of"]) for step, at in arms[arm].items()], "marks": True,
              "color": i, "dashed": key == "mixed_up"}
             for i, arm in enumerate(names) for key, what in (("right", "right"), ("mixed_up", "the other"))]
    first, second = found["words"]["alike"]
    line_chart(ROOT / "docs/images/reference-blur.svg", f"{first} and {second}, and {second} renamed after step {middle:,}", "step",
               "% of the images", lines, y_from=0)
