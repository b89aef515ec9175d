#!/usr/bin/env python3
"""Writes the results of bench/reference_run.py (bench/results/reference_*.json) into docs/reference-run.md and README.md.

    scripts/update_reference_page.py [--check]

Each block stands between `<!-- reference: NAME -->` and `<!-- end of reference -->`. With --check nothing is written;
exit code 1 says that one of them is stale.
"""

import json
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs/reference-run.md", ROOT / "README.md")
RESULTS = ROOT / "bench/results"


def paragraph(text):
    return textwrap.fill(" ".join(text.split()), 100, break_on_hyphens=False, break_long_words=False) + "\n"


def table(head, rows):
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def gigabytes(count):
    return f"{count / 1e9:.2f} GB"


def plan(result):
    worst = result["largest_error"]
    rows = [[f"`{row['folder']}`", f"{row['images']:,}", f"{100 * row['asked']:.2f} %", f"{row['expected']:,.1f}",
             f"{row['draws']:,}", f"{row['off']:+.1f}"] for row in result["rows"]]
    buckets = [[b["bucket"], f"{b['images']:,}", f"{100 * b['share']:.2f} %", f"{b['draws']:,}",
                f"{b['draws'] - b['share'] * result['draws']:+.1f}"] for b in result["buckets"]]
    law = paragraph(f"""{result['folders']:,} folders hold {result['images']:,} images. Of {result['draws']:,} draws, the folder
        that is furthest from its share (`{worst['folder']}`) got {abs(worst['off']):.0f} {'more' if worst['off'] > 0 else 'fewer'} than
        the {worst['expected']:,.1f} that it was due. Images drawn more or less often in a pass than [the
        law](mixture.md#passes) allows: {result['images_beyond_the_law'] or 'none'}. Over the run
        {result['images_at_ends_of_buckets']} images were drawn once more or less than rounding explains, because a bucket's last step
        ends a few draws before or behind the pass; no image is {math_ceil(result['furthest_image'])} draws from what it was
        due. An image is drawn {result['fewest_draws']} to {result['most_draws']} times, by its weight;
        {result['images'] - result['images_drawn']:,}, all of them due less than once, are never drawn. Steps that hold images of
        several buckets: {result['steps_of_several_buckets'] or 'none'}.""")
    return (law + "\n" + table(["folder", "images", "asked for", "draws due", "drawn", "off by"], rows) + "\n" +
            table(["bucket", "images", "share", "draws", "off by"], buckets))


def memory(result):
    terms = ("program", "weights", "frozen", "gradients", "moments", "master", "ema", "activations", "sampling", "fragmentation", "peak")
    plans, card = result["planned"], 24 * 2**30
    columns = [plans["reference"]["1"], plans["averaged"]["1"], plans["stored"]["1"], plans["averaged"]["2"], plans["averaged"]["4"]]
    rows = [[term, *(gigabytes(column[term]) for column in columns)] for term in terms]
    text = paragraph(f"""The plan, with the shapes of Stable Diffusion 1.5, for each card
        ([terms](scaling.md#memory-of-a-rank)): the run file as it is takes {gigabytes(columns[0]['peak'])} of the {gigabytes(card)} of a 24 GB
        card. With averages (`ema.decay = 0.9999`) and validation it is {gigabytes(columns[1]['peak'])}, without gradient checkpointing, too,
        {gigabytes(columns[2]['peak'])}. The tensors are counted by a trace of all allocations; what CUDA, its libraries and fragmentation
        take is estimated, for none of this was run on a GPU yet. A run says at its end how much it took.""")
    return text + "\n" + table(["", "1 rank", "with averages", "activations stored", "2 ranks, averages", "4 ranks, averages"], rows)


def math_ceil(value):
    return int(-(-value // 1))


AIMS = {"1": 95, "2": 85, "3": 65, "4": 50}  # percent, of recall
NUMBERS = {"1": "one character", "2": "two", "3": "three", "4": "four"}


def percent(share):
    low, high = share["interval"]
    return f"{share['percent']:.1f} % ({low:.0f}–{high:.0f})"


def run(result):
    renamed = result["renamed_after_step"]
    text = paragraph(f"""{result['steps']:,} of {result['of']:,} steps ({result['draws']:,} draws) over {result['ranks']} ranks took
        {result['hours']} hours of steps in {result['starts']} parts, at a median of {result['median_step_seconds']:.2f} s a step, since other
        work used the same two cores; the fastest tenth of the steps took at most {result['fast_step_seconds']:.2f} s. """ + (f"""After step {renamed:,} the run was resumed with
        `{result['renamed'][0]}` renamed to `{result['renamed'][1]}`, the first of the words that `kessoku tokens --compare` proposed.
        """ if renamed else "The rename has not been reached. ") + """The grids show the sample prompts before the run, in its middle,
        and at the newest of its steps.""")
    return text + "\n![the sample prompts before, in the middle and after](images/reference-grids.png)\n\n![loss](images/reference-loss.svg)\n"


def recall(result):
    at = {int(step): scores["groups"] for step, scores in result["recall"].items()}
    newest = max(at)
    training = result["training_images"]["by the autoencoder"]
    held_back = result["training_images"]["classifier"]["held_back"]
    rows = []
    for key, label in NUMBERS.items():
        for group, name in (key, label), (f"{key} seen", f"{label}, combination seen"), (f"{key} unseen", f"{label}, not seen"):
            if group in at[newest]:
                scores, whole = at[newest][group], group in NUMBERS
                rows.append([name, scores["images"], percent(scores["recall"]), f"{AIMS[key]} %" if whole else "",
                             percent(scores["all_named"]), f"{scores['not_named']['percent']:.1f} %",
                             percent(training[key]["recall"]) if whole else "",
                             percent(training[key]["all_named"]) if whole else ""])
    reached = [NUMBERS[key] for key, aim in AIMS.items() if at[newest][key]["recall"]["percent"] >= aim]
    missed = [NUMBERS[key] for key in AIMS if NUMBERS[key] not in reached]
    text = paragraph(f"""`scripts/reference_measure.py` trains a small classifier on scenes that are in no dataset, and asks it which of the
        twelve characters an image shows. On further scenes it finds {percent(held_back['recall'])} of the characters that are there, and
        {held_back['false']['percent']:.1f} % of those that are not. Below, at step {newest:,}: recall is the share of named characters
        that are recognized, beside what the same classifier recognizes in training images as the autoencoder renders them. Intervals
        are Wilson's, of 95 %, and take characters as independent. {'All aims are reached.' if not missed else
        f"Aims reached: {', '.join(reached) or 'none'}; not reached: {', '.join(missed)}."} The run has had
        {100 * result['draws'] / 172_800:.0f} % of the demo's draws.""")
    return text + "\n" + table(["named", "images", "recall", "aim", "all of them", "others seen", "training images: recall",
                               "training images: all"], rows)


def blur(result):
    """Of two words that are alike, and of the same with one renamed on the way."""
    found, pairs, middle = result["result"], result["words"], result["renamed_after_step"]
    alike, renamed = ({int(step): at for step, at in found[arm].items()} for arm in ("alike", "renamed"))

    def cells(at):
        if at is None:
            return [""] * 4
        return [at["right"], at["mixed_up"], percent(at["confused"]), f"{at['similarity']:.3f}"]

    rows = [[f"{step:,}", *cells(alike.get(step)), *cells(renamed.get(step))] for step in sorted({*alike, *renamed})]
    blurred = [step for step, at in alike.items() if at["confused"]["of"] >= 20 and at["confused"]["interval"][1] >= 50]
    last = max({*alike} & {*renamed})
    kept, after, before = alike[last]["confused"], renamed[last]["confused"], found["before"]["alike"]
    first, second = (f"`{word}`" for word in pairs["alike"])
    chance = (f"At steps {', '.join(f'{step:,}' for step in blurred)} the interval of this share includes 50 %, as if a coin were tossed: "
              "the words blur." if blurred else "The words do not blur: the share is below half of them, beyond its interval.")
    separate = ("the intervals are apart, so the words separate" if after["interval"][1] < kept["interval"][0]
                else "the intervals overlap, so it is not sure that the words separate")
    text = paragraph(f"""{first} and {second} share two of three tokens. `kessoku tokens demo/base --compare {' '.join(pairs['alike'])}`
        {'warns of them' if before['collides'] else 'does NOT warn of them'}. To the text encoder of the demo's base model, in whose captions there is
        no 5 and no 6, their similarity is {before['similarity']:.3f}. The characters {' and '.join(f'`{who}`' for who in result['characters'])} were trained
        from that base model under these words, alone in their images and beside the regularization images of one, in steps of 8
        images. As in the reference run the text encoder learns at 1e-6, which hardly moves it; the UNet's rate is 6e-4. From step {middle:,}
        on a second run has {second} renamed to `{pairs['renamed'][1]}`, over the same images, timesteps and noise. Of
        {2 * result['images_of_each']} images, {result['images_of_each']} a word, the table says how many show the right character and how many the
        other word's, and the share of the other among those that show either.""")
    verdict = paragraph(f"""{chance} At step {last:,} it is {percent(kept)} with both words and {percent(after)} where one was renamed
        {last - middle:,} steps before: {separate}.""")
    head = ["step", "right", "the other one", "share", "similarity", "renamed: right", "the other one", "share", "similarity"]
    return text + "\n" + verdict + "\n" + table(head, rows) + "\n![the words over steps](images/reference-blur.svg)\n"


def words(result, control):
    old, new = result["renamed"]
    rename = result["renamed_after_step"]
    rows = []
    for step, at in result["words"].items():
        number = int(step)
        kept = control["words"].get(step)
        rows.append([f"{number:,}", f"`Bemo1`, `{new if new and number > rename else old}`", f"{at['right']} of {at['of']}",
                     f"{at['mixed_up']} of {at['of']}", f"{at['similarity']:.3f}", "yes" if at["collides"] else "no",
                     *((f"{kept['right']} of {kept['of']}", f"{kept['mixed_up']} of {kept['of']}", f"{kept['similarity']:.3f}") if kept
                       else ("", "", ""))])
    last = max(control["words"], key=int)
    kept, renamed = control["words"][last], result["words"][last]
    blurred = 100 * kept["mixed_up"] / kept["of"]
    text = paragraph(f"""`kessoku tokens demo/base --compare Bemo1 Bemo2` warns that the words share 2 of 3 tokens. Sixteen images were
        made for each word: who is recognized, how often it is the other word's character, and how similar the two words are to the
        text encoder (cosine, 1 = the same). The last columns are of a control: the same steps after step {rename:,}, to step {int(last):,},
        without the rename. There the control drew the other word's character in {blurred:.0f} % of the images and the right one in
        {100 * kept['right'] / kept['of']:.0f} %; the renamed run in {100 * renamed['mixed_up'] / renamed['of']:.0f} and
        {100 * renamed['right'] / renamed['of']:.0f} %. """ + (f"""So here the words are not mixed up even where they stay alike to the encoder
        ({kept['similarity']:.2f} in place of {renamed['similarity']:.2f}); the pair [below](#alone-and-nearly-the-same) is nearer.""" if blurred < 5 else ""))
    return (text + "\n" + table(["step", "words", "right", "the other one", "similarity", "warned of", "not renamed: right",
                                 "the other one", "similarity"], rows) + "\n![the two words over steps](images/reference-words.svg)\n")


def inpaint(result):
    result = result["result"]
    rows = [[name, percent(r["named_seen"]), percent(r["old_seen"]), f"{r['outside_mean_error']:.2f}", f"{r['beyond_the_feather']:.2f}"]
            for name, r in result.items() if isinstance(r, dict) and "named_seen" in r]
    nine = f"The UNet of nine channels was trained for {result['nine_steps']:,} steps from there. " if result["nine_steps"] else ""
    text = paragraph(f"""{result['scenes']} scenes of two characters that are in no dataset; the half of one of the two is masked, and the
        prompt names another one. The model is that of step {result['step']:,}. {nine}Inside the mask the classifier
        looks for the new character and for the old one (which it finds in {percent(result['seen_before'])} of the scenes before).
        Outside, the error is the mean difference from the original in levels of 0 to 255, also without the eight pixels beside
        the mask over which `--keep-original` fades. Without that option the whole picture goes through the autoencoder.""")
    return (text + "\n" + table(["UNet", "new one recognized", "old one still recognized", "error outside", "beyond the edge"], rows) +
            "\n![scenes and what became of them](images/reference-inpaint.png)\n")


def weights(result):
    groups = {name: r["groups"] for name, r in result["result"].items()}
    per = {name: r["per_character"] for name, r in result["result"].items()}
    rows = [[NUMBERS[key], *(percent(groups[name][key]["recall"]) for name in ("weights", "equal"))] for key in NUMBERS]
    characters = [[f"`{who}`", *(percent(per[name][who]) for name in ("weights", "equal"))] for who in per["weights"]]
    pays = [row[0] for row, key in zip(rows, NUMBERS)
            if groups["weights"][key]["recall"]["interval"][0] > groups["equal"][key]["recall"]["interval"][1]]
    text = paragraph(f"""Twice {result['steps']:,} steps from the same base model, with the rename after step {result['renamed_after_step']:,}: with
        the weights above, and with equal weights for all images, so that a folder's share is that of its images. Recall by number of
        characters, and by character, from the one with the most images to the one with the fewest. Weights raised recall by more than
        the intervals are wide for: {', '.join(pays) or 'no number of characters'}.""")
    head = ["named", "with weights", "without"]
    return text + "\n" + table(head, rows) + "\n" + table(["character", *head[1:]], characters)


def full_size(result):
    ours, theirs = result["fp32"]["kessoku"][0], result["fp32"]["pytorch"][0]
    resumed, ratio = result["fp32 resumed"], result["measures"]["fp32"]["ratio"]["median"]

    def median(values):
        return sorted(values)[len(values) // 2]

    rows = [["seconds a step (median)", f"{median(ours['step_seconds'][1:]):.1f}", f"{median(theirs['step_seconds'][1:]):.1f}"],
            ["of these, waiting for data", f"{median(ours['data_seconds'][1:]):.3f}", ""],
            ["peak memory", f"{ours['peak_gb']:.1f} GB", f"{theirs['peak_gb']:.1f} GB"],
            ["loss of the last step", f"{ours['losses'][-1]:.6f}", f"{theirs['losses'][-1]:.6f}"]]
    return paragraph(f"""{result['steps']} steps of Stable Diffusion 1.5's shapes with random weights in fp32, UNet and text encoder, one draw
        a step, images of {len(set(result['images'].split(',')))} bucket sizes ({', '.join(dict.fromkeys(result['images'].split(',')))}), on
        {result['threads']} cores ({', '.join(result['instruction_sets'])}), and the same draws in PyTorch (diffusers, gradient
        checkpointing, fused AdamW), which gave the same losses, gradient norms and weights; Kessoku ran at {ratio:.2f} × its speed. A
        second training stopped with a checkpoint after step {resumed['at']} and resumed: all losses
        {'equal' if resumed['equal_losses'] else 'DIFFER'}, and so {'are' if resumed['equal_checkpoints'] else 'are NOT'} the
        {resumed['files']} files of the last checkpoint, bit for bit.""") + "\n" + table(["", "Kessoku", "PyTorch"], rows)


def shard(result, full_size):
    """What the machine's memory allows: the plan's tensors, and what the run of one rank took beside them."""
    terms, room = ("weights", "frozen", "gradients", "moments", "master"), result["machine_bytes"]
    rows, least = [], {}  # ranks → bytes
    taken = full_size["fp32"]["kessoku"][0]["peak_gb"] * 1e9
    beside = taken - sum(result["planned"]["fp32"]["all"]["1"][term] for term in terms)
    for precision, parts in result["planned"].items():
        for part, plans in parts.items():
            for ranks, plan in plans.items():
                held = int(ranks) * (plan["peak"] - plan["program"])
                name = f"{'UNet and text encoder' if part == 'all' else 'UNet alone'}, {precision}"
                rows.append([name, ranks, *(gigabytes(plan[term]) for term in terms), gigabytes(held)])
                need = held + int(ranks) * beside
                least[int(ranks)] = min(need, least.get(int(ranks), need))
    fits = max((ranks for ranks, need in least.items() if need < 0.95 * room), default=0)
    return paragraph(f"""How many sharded ranks a machine's memory allows, `kessoku plan` says: the table has what each of 1, 2 and 4 ranks holds with
        `optimizer.shard`, and the most that all of them hold together, at the start or later, without a step's activations. Ranks share
        moments and master weights; weights and gradients each has for itself. Activations and the program took {gigabytes(beside)} besides
        in the run of one rank above. So two ranks take at least {gigabytes(least[2])}, four {gigabytes(least[4])}. This machine has
        {gigabytes(room)}, of which the system, too, needs a part: it holds {fits or 'no'} rank{'' if fits == 1 else 's'} of this
        size{', and sharding was not run at it' if fits == 1 else ''}.""") + "\n" + table(
            ["trained", "ranks", *terms, "all ranks"], rows)


def summary(run, plan, weights):
    groups = run["recall"][max(run["recall"], key=int)]["groups"]
    kills = json.loads((RESULTS / "goodput_long.json").read_text())
    one = {name: r["groups"]["1"]["recall"]["percent"] for name, r in weights["result"].items()}
    shares = [f"{groups[key]['recall']['percent']:.0f}" for key in NUMBERS]
    return paragraph(f"""The same in full count, with the demo's model: {plan['images']:,} images in {plan['folders']:,} folders,
        {run['steps']:,} steps of four images, a trigger word renamed on the way. Of {plan['draws']:,} draws no folder got
        {math_ceil(abs(plan['largest_error']['off']) + 1)} more or fewer than it was due. {kills['kills']} kills in its middle changed no bit of it.
        Of the characters that a prompt names, {', '.join(shares[:-1])} and {shares[-1]} % are recognized in the image, with one, two,
        three and four names, half of them in combinations that are in no training image. After {weights['steps']:,} steps
        {one['weights']:.0f} % of characters named alone were recognized, and {one['equal']:.0f} % where all images had equal weights.
        [How it was done](docs/reference-run.md), and how to do it with Stable Diffusion.""")


# Block -> what writes it, and the results that it takes.
BLOCKS = {"summary": (summary, "run", "plan", "weights"), "plan": (plan, "plan"), "memory": (memory, "memory"), "run": (run, "run"),
          "recall": (recall, "run"), "words": (words, "run", "control"),
          "blur": (blur, "words"), "inpaint": (inpaint, "inpaint"), "weights": (weights, "weights"), "full_size": (full_size, "full_size"), "shard": (shard, "shard", "full_size")}


def updated(page):
    """What the page should hold. A block whose results are not there says so."""
    def block(match):
        writer, *names = BLOCKS[match[1]]
        files = [RESULTS / f"reference_{name}.json" for name in names]
        there = all(file.exists() for file in files)
        body = writer(*(json.loads(file.read_text()) for file in files)) if there else "Not measured yet.\n"
        return f"<!-- reference: {match[1]} -->\n{body}<!-- end of reference -->"

    return re.sub(r"<!-- reference: (\w+) -->\n.*?<!-- end of reference -->", block, page.read_text(), flags=re.DOTALL)


def main():
    if sys.argv[1:] == ["--check"]:
        stale = [str(page) for page in PAGES if updated(page) != page.read_text()]
        sys.exit(f"{', '.join(stale)}: stale; run scripts/update_reference_page.py" if stale else 0)
    for page in PAGES:
        page.write_text(updated(page))


if __name__ == "__main__":
    main()
