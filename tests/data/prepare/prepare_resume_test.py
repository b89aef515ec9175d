"""kessoku prepare killed at random moments goes on where it was: prepare_resume_test.py PROGRAM WORK_DIR [SEED]

Also under mpirun, and with another number of ranks. Two at once; captions only; a store that was damaged.
"""
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

PROGRAM, WORK = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(1 << 30)
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")
IMAGES = 60


def command(images, store, *more, ranks=None, threads=1):
    launcher = ["mpirun", "-n", ranks, "--oversubscribe"] if ranks else []
    return list(map(str, [*launcher, PROGRAM, "prepare", images, "--out", store, "--keep", "images,moments", "--model",
                          WORK / "model", "--resolution", 64, "--threads", threads, "--json", *more]))


def prepare(images, store, *more, ranks=None, threads=1, code=0):
    done = subprocess.run(command(images, store, *more, ranks=ranks, threads=threads), env=ENVIRONMENT, capture_output=True, text=True,
                          timeout=200)
    assert done.returncode == code, f"exit code {done.returncode}, not {code}\n{done.stderr}"
    return json.loads(done.stdout) if code == 0 else done.stderr


def journalled(store):
    """Bytes of the journals: they grow with each row that is done."""
    sizes = []
    for path in store.glob("*.journal"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            pass
    return sum(sizes)


def kill_all(session):
    """Ends all processes of a session, mpirun's ranks too (each is a group of its own), and waits until they are gone."""
    while True:
        alive = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(its_session) == session and state != "Z":
                alive.append(int(stat.parent.name))
        if not alive:
            return
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)


def kill_when(moment, images, store, ranks=None):
    """Kills it when `moment()` holds. Returns whether it was still at work."""
    process = subprocess.Popen(command(images, store, ranks=ranks), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not moment():
        time.sleep(0.001)
    at_work = process.poll() is None
    kill_all(process.pid)
    process.wait()
    return at_work


def content(store):
    """By source: caption, category, rows."""
    manifest = json.loads((store / "store.json").read_text())
    rows = {}
    for shard in manifest["shards"]:
        with h5py.File(store / shard["file"]) as file:
            for bucket, group in file.items():
                texts = {}
                for name in ("caption", "source"):
                    blob, at = bytes(group[name + "_bytes"][...]), group[name + "_offsets"][...]
                    texts[name] = [blob[a:b].decode() for a, b in zip(at, at[1:])]
                for i, source in enumerate(texts["source"]):
                    rows[source] = (texts["caption"][i], manifest["categories"][group["category"][i]]["path"],
                                    group["images"][i].tobytes(), group["moments"][i].tobytes())
    return rows


def make_dataset(root):
    generator = np.random.default_rng(0)
    for i in range(IMAGES):
        folder = root / ("a" if i % 3 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        size = (500, 300 + i) if i % 2 else (300, 300)
        Image.fromarray(generator.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(folder / f"{i:03}.png")
        (folder / f"{i:03}.txt").write_text(f"image {i}")


def check_kills(images, expected, draw, ranks_of):
    """Killed at random moments, of time and of work done, until it is left alone."""
    store = WORK / "killed"
    shutil.rmtree(store, ignore_errors=True)
    kills = too_late = 0
    while kills < 6:
        if kills == 2:
            end = time.monotonic() + draw.uniform(0, 1)
            killed = kill_when(lambda: time.monotonic() > end, images, store, ranks_of(kills))
        else:
            # The last time some rows are done for sure: journals begin with less than 1,000 bytes.
            more = 3000 if kills == 5 else journalled(store) + draw.randrange(1, 20 * IMAGES)
            killed = kill_when(lambda: journalled(store) > more, images, store, ranks_of(kills))
        kills += killed
        if not killed:  # it was done before
            too_late += 1
            assert too_late < 50, "it is always done before it can be killed"
            shutil.rmtree(store)
    summary = prepare(images, store, ranks=ranks_of(6))
    print(f"ranks {[ranks_of(k) for k in range(7)]}: {kills} kills, {too_late} too late; {summary['encoded']} of {IMAGES} encoded at last, "
          f"{summary['reused']} reused")
    assert summary["examples"] == IMAGES, summary
    assert content(store) == expected
    assert not list(store.glob("*.journal")) and not list(store.glob("*.part")) and not (store / "prepare.lock").exists()
    again = prepare(images, store)
    assert again["unchanged"] and again["reused"] == IMAGES, again
    assert summary["reused"] > 0, "nothing was kept by any of the kills"


def check_captions_only(images, store, expected):
    rows_before = {p.stat().st_ino for p in store.glob("shard-*")}
    (images / "a/001.txt").write_text("another caption")
    (images / "b/multiply.txt").write_text("2.5")
    shutil.copy(images / "a/001.png", images / "a/new.png")
    (images / "a/002.png").rename(WORK / "002.png")
    summary = prepare(images, store, "--captions-only")
    assert summary["refreshed"] == 1 + len(list((images / "b").glob("*.png"))) and summary["encoded"] == 0, summary
    assert "1 image of the store" in summary["warnings"][0] and "1 image of the dataset" in summary["warnings"][1], summary
    wanted = dict(expected)
    wanted["a/001.png"] = ("another caption", *expected["a/001.png"][1:])
    assert content(store) == wanted
    assert json.loads((store / "store.json").read_text())["categories"][2]["multiply"] == 2.5
    assert {p.stat().st_ino for p in store.glob("rows-*")} == rows_before
    dumped = subprocess.run(["h5dump", "-H", next(store.glob("shard-*"))], capture_output=True, text=True)
    assert dumped.returncode == 0 and "caption_bytes" in dumped.stdout, dumped.stderr
    assert not prepare(images, store, "--captions-only")["refreshed"]
    (images / "a/new.png").unlink()
    (WORK / "002.png").rename(images / "a/002.png")
    assert prepare(images, store)["unchanged"]
    (images / "a/001.txt").write_text("a third one")
    assert prepare(images, store)["refreshed"] == 1
    assert content(store)["a/001.png"][0] == "a third one"


def check_two_at_once(images):
    store = WORK / "two"
    store.mkdir()
    with open(store / "prepare.lock", "w") as held:  # as the other one does
        held.write("process 1 on elsewhere")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        for ranks in (None, 2):
            stderr = prepare(images, store, ranks=ranks, code=64)
            assert "another kessoku prepare (process 1 on elsewhere) is writing this store" in stderr, stderr
    assert prepare(images, store)["encoded"] == IMAGES


def check_repair(images, store):
    """Damaged rows are named, each, and made again."""
    expected = content(store)
    shard = next(store.glob("shard-*"))
    verify = [PROGRAM, "inspect", store, "--verify"]
    assert f"sound, {IMAGES} examples" in subprocess.run(verify, capture_output=True, text=True, check=True).stdout
    with h5py.File(shard, "r+") as file:
        bucket = next(iter(file.values()))
        names = bytes(bucket["source_bytes"][...])
        at = bucket["source_offsets"][...]
        damaged = [names[at[i]:at[i + 1]].decode() for i in (0, 3)]
        bucket["images"][0, 0, 1, 2, 3] ^= 1
        bucket["moments"][3, 0, 1, 2, 3] += 1
    manifest = json.loads((store / "store.json").read_text())
    assert manifest["shards"][0]["bytes"] == shard.stat().st_size
    found = subprocess.run(verify, capture_output=True, text=True)
    assert found.returncode == 65 and all(f"({name}) is damaged" in found.stdout for name in damaged), found
    assert len(found.stdout.strip().splitlines()) == 2 and "2 damaged" in found.stderr, found
    summary = prepare(images, store)
    assert summary["encoded"] == 2 and summary["reused"] == IMAGES - 2, summary
    assert content(store) == expected


def main():
    print(f"seed {SEED}")
    draw = random.Random(SEED)
    shutil.rmtree(WORK, ignore_errors=True)
    images = WORK / "images"
    make_dataset(images)
    tokenizer = Path(__file__).parents[3] / "models/clip-tokenizer"
    subprocess.run([PROGRAM, "init", "--preset", "tiny", WORK / "model", "--tokenizer", tokenizer], check=True)
    assert prepare(images, WORK / "whole")["encoded"] == IMAGES
    expected = content(WORK / "whole")
    assert len(expected) == IMAGES
    prepare(images, WORK / "by-threads", threads=2)
    assert content(WORK / "by-threads") == expected
    for ranks_of in (lambda k: None, lambda k: 2, lambda k: 2 + k % 2):
        check_kills(images, expected, draw, ranks_of)
    check_two_at_once(images)
    check_repair(images, WORK / "whole")
    check_captions_only(images, WORK / "whole", expected)
    print("interrupted work goes on")


if __name__ == "__main__":
    main()
