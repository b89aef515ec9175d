"""kessoku plan: a store of plain pictures, a mixture, and what the table, the JSON and the schedule say of it."""
import csv
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

assert json.loads(kessoku("plan", run_file, "--json", "--draws", 13))["draws"] == 13
table = kessoku("plan", run_file)
assert "screenshots/kita, ikuyo" in table and "18.75 %" in table, table
assert "warning: bucket" in table and "starves" in table, table
assert "did you mean" in kessoku("plan", run_file, "--set", 'mixture.fanarts=1', code=64)
assert "cannot write" in kessoku("plan", run_file, "--schedule", work / "no" / "such" / "folder.csv", code=64)
kessoku("plan", work / "missing.toml", code=64)
print("plan: all as it should be")
