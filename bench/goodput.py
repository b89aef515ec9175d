"""Goodput under failures: `kessoku launch` trains the demo's model while a process of it is killed again and again, and once undisturbed.

    goodput.py KESSOKU WORK_FOLDER [--every 15] [--seconds 1200] [--ranks 2] [--hosts 1] [--seed 1]
               [--run-file configs/demo.toml] [--from RUN] [--settings KEY=VALUE…] [--out RESULT.json]

Needs the run file's inputs (of the demo: demo/base, demo/store; scripts/demo.sh makes them). With `--from` all runs go on from a
copy of that run's folder. Every so many seconds a rank, mpirun or, with several hosts
(scripts/cluster_emulation.sh), a host, drawn at random (3 : 1 : 1), is killed with SIGKILL, until the run has all its steps; their number is
chosen so that this takes about as long as asked. A host loses what it holds in memory and is there again at once; the first one, where
`kessoku launch` runs, is spared. The undisturbed run has no copies in memory. Goodput is what the undisturbed run took for the same steps over what the disturbed one took, both from the start of
`kessoku launch` to its end. Both must end with the same bits: losses of all steps, and all files of the last checkpoint.
"""
import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("rank", "mpirun", "host")
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class Launch:
    """`kessoku launch` of the demo's run file, with the times of what it says."""

    def __init__(self, arguments, run, settings):
        shutil.rmtree(run, ignore_errors=True)
        if arguments.from_run:
            shutil.copytree(arguments.from_run, run, symlinks=True)
        self.run, self.said = run, []
        words = [word for setting in settings for word in ("--set", setting)]
        where, cluster = ["-n", str(arguments.ranks)], []
        if arguments.hosts > 1:
            slots = arguments.ranks // arguments.hosts
            cluster = [ROOT / "scripts/cluster_emulation.sh", "--hosts", str(arguments.hosts), "bash", "-c",
                       f'exec "$@" --hosts "${{KESSOKU_CLUSTER_HOSTS//,/:{slots},}}:{slots}" --agent "$KESSOKU_CLUSTER_AGENT"', "bash"]
        self.began = time.time()
        self.process = subprocess.Popen(
            [*cluster, arguments.kessoku, "launch", *where, arguments.run_file, "--out", run, "--patience", "5",
             "--set", "metrics.port=-1", "--set", "sample.every_steps=0", *words],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=ENVIRONMENT, cwd=ROOT)
        self.reader = threading.Thread(target=self.listen)
        self.reader.start()

    def listen(self):
        for line in self.process.stderr:
            self.said.append((time.time(), line))

    def victims(self):
        """What may be killed, as lists of processes by kind: ranks, mpirun, and all that runs on a host but the first."""
        kinds, hosts = {"rank": [], "mpirun": [], "host": []}, {}
        for process in descendants(self.process.pid):
            words = command_of(process).split()
            name = Path(words[0]).name if words else ""
            if name == "mpirun":
                kinds["mpirun"].append([process])
            elif name == "kessoku" and words[1] == "train":
                kinds["rank"].append([process])
            hosts.setdefault(network_of(process), []).append(process)
        first = {network_of(process) for mpirun in kinds["mpirun"] for process in mpirun}
        ranks = {network_of(process) for rank in kinds["rank"] for process in rank}
        kinds["host"] = [hosts[host] for host in ranks - first]
        return kinds if kinds["rank"] and kinds["mpirun"] else {}

    def end(self):
        code = self.process.wait()
        self.reader.join()
        if code != 0:
            raise SystemExit(f"{self.run}: exit code {code}\n" + "".join(line for _, line in self.said[-30:]))
        return time.time() - self.began


def children(process):
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def descendants(process):
    found = [process]
    for one in found:
        found += children(one)
    return found[1:]


def network_of(process):
    """Its network namespace: of each host one."""
    try:
        return os.readlink(f"/proc/{process}/ns/net")
    except OSError:
        return ""


def kill(kind, processes):
    if kind == "host":
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        for process in processes:
            for copy in Path(f"/proc/{process}/root/dev/shm").glob("kessoku-*"):
                shutil.rmtree(copy)
    for process in processes:
        os.kill(process, signal.SIGKILL)


def command_of(process):
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def records_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def account_of(run):
    return json.loads((run / "account.jsonl").read_text().splitlines()[-1])["account"]


class Log(threading.Thread):
    """When each record of a run was written; those of steps that are taken again too, which the log itself drops."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.file, self.times, self.over = run / "log.jsonl", [], False

    def run(self):
        size = 0
        while not self.over:
            now = self.file.stat().st_size if self.file.exists() else 0
            if now > size:
                self.times.append(time.time())
            size = now
            time.sleep(0.01)


def disturb(arguments, run, settings):
    """Returns the seconds it took, and of each kill what was killed, and the seconds to the end of launch's mpirun, its next start and the next step."""
    chance, launch = random.Random(arguments.seed), Launch(arguments, run, settings)
    log = Log(run)
    log.start()
    kills, due = [], time.time() + arguments.every
    while launch.process.poll() is None:
        time.sleep(0.02)
        if time.time() < due:
            continue
        victims = launch.victims()
        if not victims or (arguments.hosts > 1 and not victims["host"]):
            continue
        kind = chance.choices(KINDS, (3, 1, 1 if arguments.hosts > 1 else 0))[0]
        try:
            kill(kind, chance.choice(victims[kind]))
        except ProcessLookupError:
            continue
        kills.append({"what": kind, "time": time.time()})
        due = time.time() + arguments.every
    took = launch.end()
    log.over = True
    log.join()
    for one in kills:
        def after(times):
            return next((round(moment - one["time"], 3) for moment in times if moment > one["time"]), None)
        one["noticed"] = after(moment for moment, line in launch.said if line.startswith("launch: ended"))
        one["restarted"] = after(moment for moment, line in launch.said if "launch: mpirun" in line)
        one["announced"] = after(moment for moment, line in launch.said if line.startswith("name = "))
        one["next_step"] = after(log.times)
        del one["time"]
    return took, [one for one in kills if one["next_step"] is not None]


def digest_of(run):
    """Of the newest checkpoint, but for times and what only describes it."""
    folder, sum_ = (run / "checkpoints/latest").resolve(), hashlib.sha256()
    for file in sorted(folder.rglob("*.safetensors")):
        sum_.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return sum_.hexdigest()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("kessoku", type=Path)
    p.add_argument("work", type=Path)
    p.add_argument("--every", type=float, default=15)
    p.add_argument("--seconds", type=float, default=1200)
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--hosts", type=int, default=1)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--run-file", type=Path, default=ROOT / "configs/demo.toml")
    p.add_argument("--from", dest="from_run", type=Path)
    p.add_argument("--settings", nargs="*", default=["checkpoint.memory_share=0.04"])
    p.add_argument("--out", type=Path)
    a = p.parse_args()
    a.kessoku, a.work = a.kessoku.resolve(), a.work.resolve()
    a.work.mkdir(parents=True, exist_ok=True)

    none = [*(s for s in a.settings if not s.startswith("checkpoint.memory_")), "checkpoint.memory_share=0"]
    before = len(records_of(a.from_run)) if a.from_run else 0
    Launch(a, a.work / "trial", [*none, f"train.steps={before + 100}"]).end()
    rate = 1 / statistics.mean(record["seconds"] for record in records_of(a.work / "trial")[before + 5:])
    steps = before + int(0.9 * rate * a.seconds)
    took, kills = disturb(a, a.work / "disturbed", [*a.settings, f"train.steps={steps}"])
    undisturbed = Launch(a, a.work / "undisturbed", [*none, f"train.steps={steps}"]).end()

    runs = {name: records_of(a.work / name) for name in ("disturbed", "undisturbed")}
    account, earlier = account_of(a.work / "disturbed"), account_of(a.from_run) if a.from_run else None
    result = {
        "machine": machine.describe(), "every_seconds": a.every, "ranks": a.ranks, "hosts": a.hosts, "seed": a.seed, "settings": a.settings,
        "run_file": a.run_file.name, "from_step": before, "steps": steps - before,
        "kills": len(kills), "kills_by_kind": {kind: sum(one["what"] == kind for one in kills) for kind in KINDS},
        "seconds": {"disturbed": round(took, 1), "undisturbed": round(undisturbed, 1)},
        "goodput": round(undisturbed / took, 4),
        "step_seconds": {name: round(statistics.median(record["seconds"] for record in records[before:]), 4) for name, records in runs.items()},
        "seconds_from_kill": {
            kind: {point: {"median": round(statistics.median(times), 3), "longest": max(times)}
                   for point in ("noticed", "restarted", "announced", "next_step")
                   if (times := [one[point] for one in kills if one["what"] == kind and one[point] is not None])}
            for kind in KINDS if any(one["what"] == kind for one in kills)},
        "redone_steps": account["redone"] - (earlier["redone"] if earlier else 0),
        "account_seconds": {cause: round(value - (earlier["seconds"][cause] if earlier else 0), 1) for cause, value in account["seconds"].items()},
        "equal_losses": [r["loss"] for r in runs["disturbed"]] == [r["loss"] for r in runs["undisturbed"]],
        "equal_checkpoints": digest_of(a.work / "disturbed") == digest_of(a.work / "undisturbed"),
    }
    print(json.dumps(result, indent=1))
    if a.out:
        a.out.write_text(json.dumps(result, indent=1) + "\n")
    if not (result["equal_losses"] and result["equal_checkpoints"]):
        raise SystemExit("the disturbed run ended with other bits")


if __name__ == "__main__":
    main()
