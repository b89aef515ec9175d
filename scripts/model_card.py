#!/usr/bin/env python3
"""Writes a model card: what a run trained, on what, how, and what was changed on the way.

    scripts/model_card.py RUN_FOLDER [--license ID] [--base NAME] [--out README.md]

Everything comes from the run folder (config.toml, mixture.json, log.jsonl). The first lines are the metadata that
Hugging Face's hub reads. Add what only you know: where the images come from, and what the model should not be used for.
"""

import argparse
import json
import sys
import tomllib
from collections import Counter
from pathlib import Path


def read(run):
    try:
        settings = tomllib.loads((run / "config.toml").read_text())
        mixture = json.loads((run / "mixture.json").read_text())["categories"]
        with open(run / "log.jsonl", encoding="utf-8") as log:
            records = [json.loads(line) for line in log if line.endswith("\n")]
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"model_card: {run}: not a complete run folder: {error}")
    if not records:
        sys.exit(f"model_card: {run}: no step has been trained yet")
    return settings, mixture, records


def card(settings, mixture, records, license_id, base):
    train, optimizer, data = settings["train"], settings["optimizer"], settings["data"]
    last, drawn = records[-1], sum((Counter(record["categories"]) for record in records), Counter())
    text_encoder_lr = optimizer["text_encoder_lr"] if optimizer["text_encoder_lr"] >= 0 else optimizer["lr"]
    lines = ["---", f"license: {license_id}", f"base_model: {base}", "library_name: diffusers",
             "pipeline_tag: text-to-image", "tags:", "- stable-diffusion", "- kessoku", "---", "",
             f"# {settings['name']}", "",
             f"Fine-tuned from `{base}` by Kessoku: {last['step']:,} steps of {train['global_batch']} images, "
             f"{last['draws']:,} draws from {mixture[0]['examples']:,} images.", "",
             "## Training", "", "| | |", "|---|---|",
             f"| networks | {', '.join(train['target'])} |",
             f"| steps | {last['step']:,} of {train['steps']:,} |",
             f"| global batch | {train['global_batch']} |",
             f"| optimizer | {optimizer['name']}, {optimizer['schedule']} schedule |",
             f"| learning rate | {optimizer['lr']:g}; text encoder {text_encoder_lr:g} |",
             f"| precision | {train['precision']} |",
             f"| caption dropout | {100 * data['caption_dropout']:g} % |",
             f"| averaged weights | {settings['ema']['decay'] or 'no'} |",
             f"| seed | {settings['seed']} |"]
    changes = [(record["step"], change) for record in records for change in record.get("changes", [])]
    lines += ["", "## Changes during the run", ""] if changes else []
    lines += [f"- before step {step}: `{change['key']}`, `{change['before']}` → `{change['after']}`"
              for step, change in changes]
    renamed = data["caption_rename"]
    lines += ["", "## Words in prompts", ""] if renamed else []
    lines += [f"- `{new}`; it was `{old}` at first" for old, new in renamed]
    lines += ["", "## Images", "", "| folder | images | share of the draws asked for | drawn |", "|---|---|---|---|"]
    for folder in mixture:
        if "/" not in (path := folder["path"]) and path != ".":
            lines.append(f"| `{path}` | {folder['examples']:,} | {100 * folder['share']:.2f} % | "
                         f"{drawn[path]:,} ({100 * drawn[path] / last['draws']:.2f} %) |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--license", default="creativeml-openrail-m",
                        help="an identifier of the hub (default %(default)s, that of Stable Diffusion 1.x)")
    parser.add_argument("--base", help="the model that was fine-tuned (default: the run's model.path)")
    parser.add_argument("--out", type=Path, help="file to write (default: print it)")
    args = parser.parse_args()
    settings, mixture, records = read(args.run)
    text = card(settings, mixture, records, args.license, args.base or settings["model"]["path"])
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
