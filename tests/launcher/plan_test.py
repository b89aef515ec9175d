"""kessoku plan: a store of plain images, a mixture, and what the table, the JSON and the schedule say of it."""
import csv
import io
import json
import math
import pathlib
import shutil
import subprocess
import sys
from collections import Counter, defaultdict

from PIL import Image

program, work = sys.argv[1], pathlib.Path(sys.argv[2])
shutil.rmtree(work, ignore_errors=True)
FOLDERS = {"fanart": (5, (64, 64)), "screenshots": (1, (64, 64)), "screenshots/kita, ikuyo": (8, (96, 48)),
           "screenshots/two": (4, (48, 96))}
STEPS, G = 60, 8


def kessoku(*arguments, code=0):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.returncode, done.stderr)
    return done.stdout if code == 0 else done.stderr


for folder, (count, size) in FOLDERS.items():
    (work / "set" / folder).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("RGB", size, (i * 20, 10, 99)).save(work / "set" / folder / f"{i}.png")
kessoku("prepare", work / "set", "--out", work / "store", "--keep", "images", "--resolution", 64)
run_file = work / "run.toml"
run_file.write_text(f"""
[model]
path = "{work}"
[data]
store = "{work}/store"
[mixture]
"fanart" = 0.25
"screenshots" = 0.75
"screenshots/two" = 2.0
[train]
target = ["vae"]
steps = {STEPS}
global_batch = {G}
micro_batch = {G}
""")

plan = json.loads(kessoku("plan", run_file, "--json", "--schedule", work / "schedule.csv"))
assert (plan["examples"], plan["global_batch"], plan["steps"], plan["draws"]) == (18, G, STEPS, STEPS * G)
shares = {c["path"]: c["share"] for c in plan["categories"]}
expected = {".": 1, "fanart": 0.25, "screenshots": 0.75, "screenshots/kita, ikuyo": 0.1875, "screenshots/two": 0.375}
assert shares.keys() == expected.keys(), shares
for path, share in expected.items():
    assert math.isclose(shares[path], share, rel_tol=1e-12), (path, shares[path])
for category in plan["categories"]:
    assert math.isclose(category["draws_expected"], category["share"] * STEPS * G)
assert sum(b["examples"] for b in plan["buckets"].values()) == 18
assert math.isclose(sum(b["share"] for b in plan["buckets"].values()), 1)

with open(work / "schedule.csv", newline="") as file:
    draws = list(csv.DictReader(file))
assert list(draws[0]) == ["draw", "step", "pass", "bucket", "category", "source"]
assert [int(d["draw"]) for d in draws] == list(range(STEPS * G))
assert all(int(d["step"]) == int(d["draw"]) // G for d in draws)
assert all((work / "set" / d["source"]).is_file() for d in draws)
assert all(str(pathlib.PurePosixPath(d["source"]).parent) == d["category"] for d in draws)
buckets = defaultdict(set)
for d in draws:
    buckets[d["step"]].add(d["bucket"])
assert all(len(b) == 1 for b in buckets.values()), "a step holds two buckets"
counts = Counter()
for d in draws:
    for path in expected:
        if path == "." or d["category"] == path or d["category"].startswith(path + "/"):
            counts[path] += 1
assert counts == {c["path"]: c["draws_planned"] for c in plan["categories"]}
pass_draws = plan["pass_draws"]
first_pass = Counter(d["category"] for d in draws if d["pass"] == "0")
for path, own in {"fanart": 0.25, "screenshots": 0.1875, "screenshots/kita, ikuyo": 0.1875, "screenshots/two": 0.375}.items():
    assert abs(first_pass[path] - own * pass_draws) < 1, (path, first_pass[path], own * pass_draws)

views = Counter(d["source"] for d in draws)
for category in plan["categories"]:
    path = category["path"]
    own = [views[str(s.relative_to(work / "set"))] for s in (work / "set" / path).glob("*.png")]
    if own:
        assert category["own_examples"] == len(own) and category["own_draws_planned"] == sum(own), category
        assert (category["own_fewest_views"], category["own_most_views"]) == (min(own), max(own)), category
assert plan["categories"][0]["never_drawn"] == 0 and plan["examples_drawn"] == 18

table = kessoku("plan", run_file)
assert "  kita, ikuyo" in table and "18.750 %" in table and "(own images)" in table, table
assert "warning: bucket" in table and "starves" in table, table

table = list(csv.DictReader(io.StringIO(kessoku("plan", run_file, "--csv"))))
assert [row["path"] for row in table] == [c["path"] for c in plan["categories"]]
for row, category in zip(table, plan["categories"]):
    assert all(float(row[key]) == category[key] for key in row if key != "path"), (row, category)

# Half of each folder is kept for validation: the same images whatever the seed, and the shares stay.
held = {}
for seed in (1, 2):
    settings = ["--set", "validation.fraction=0.5", "--set", f"seed={seed}"]
    half = json.loads(kessoku("plan", run_file, "--json", "--schedule", work / "half.csv", *settings))
    with open(work / "half.csv", newline="") as file:
        held[seed] = {d["source"] for d in draws} - {d["source"] for d in csv.DictReader(file)}
    assert half["categories"][0]["held_out"] == len(held[seed]) > 0
    assert {c["path"]: c["share"] for c in half["categories"]} == shares
assert held[1] == held[2]

# multiply.txt of whole numbers, one of them 0, and a folder that the run is too short for.
for folder, multiply in ("fanart", 1), ("screenshots", 0), ("screenshots/two", 3), ("screenshots/kita, ikuyo", 40):
    (work / "set" / folder / "multiply.txt").write_text(str(multiply))
kessoku("prepare", work / "set", "--out", work / "store", "--keep", "images", "--resolution", 64)
natural = work / "natural.toml"
natural.write_text("".join(line for line in run_file.read_text().splitlines(True) if not line.startswith('"')))
warnings = "\n".join(json.loads(kessoku("plan", natural, "--json", "--draws", 16))["warnings"])
for text in ("whole numbers", "multiply 0 for 1 of its 1 images", "never drawn within the run", "starves"):
    assert text in warnings, (text, warnings)
assert 'folder "fanart" has weight 0' in kessoku("plan", run_file, "--set", "mixture.fanart=0")

assert json.loads(kessoku("plan", run_file, "--json", "--draws", 13))["draws"] == 13
assert "did you mean" in kessoku("plan", run_file, "--set", 'mixture.fanarts=1', code=64)
assert "cannot write" in kessoku("plan", run_file, "--schedule", work / "no" / "such" / "folder.csv", code=64)
kessoku("plan", work / "missing.toml", code=64)
print("plan: all as it should be")
