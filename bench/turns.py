"""What comparisons share: ways to do the same take turns, so that whatever else the machine does meets all of them; medians,
spreads, ratios of each round; and the command line of a comparison."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "build/kessoku"
PEERS = ROOT / "bench/peers"
DISTURBED = 0.7  # cores
ATTEMPTS = 3
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "HF_HUB_OFFLINE": "1"}


def run(*command, **options) -> subprocess.CompletedProcess:
    """Runs a command; one that fails ends the comparison with what it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=ENVIRONMENT, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done


def run_for_json(*command) -> dict:
    """What a peer says: the last line of its output is JSON."""
    return json.loads(run(*command).stdout.splitlines()[-1])


def python(script, *arguments) -> list:
    return [sys.executable, script, *arguments]


def mpirun(ranks: int) -> list:
    return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", ranks]


def torchrun(ranks: int) -> list:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks]


def undisturbed(work, threads: int = os.cpu_count()):
    """What `work` on so many threads returns. It is repeated where other programs used much of those cores meanwhile; after some
    repetitions it is taken as it is, and the result's cores_used_by_others tells."""
    for attempt in range(ATTEMPTS):
        others = machine.Others()
        result = work()
        if others.cores() <= os.cpu_count() - threads + DISTURBED or attempt == ATTEMPTS - 1:
            return result
        print(f"other programs used {others.cores()} cores meanwhile; {result} does not count", file=sys.stderr, flush=True)


def take_turns(ways: dict, rounds: int) -> dict:
    """Name → what the way returned in each round. The order is reversed in each second round."""
    results = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else reversed(ways):
            begun = time.perf_counter()
            results[name].append(undisturbed(ways[name]))
            print(f"round {number + 1} of {rounds}: {name}: {results[name][-1]} ({time.perf_counter() - begun:.0f} s in all)",
                  file=sys.stderr, flush=True)
    return results


def summary(values) -> dict:
    """Median and spread of one figure a round."""
    values = list(values)
    return {"median": float(f"{statistics.median(values):.5g}"), "low": float(f"{min(values):.5g}"),
            "high": float(f"{max(values):.5g}"), "rounds": len(values)}


def single(values, unit: str) -> dict:
    """A measure that has no peer."""
    return {"unit": unit, "value": summary(values)}


def side_by_side(ours, theirs, unit: str, less_is_better: bool = True) -> dict:
    """A measure of two programs. The ratio, of each round, says how many times better ours is."""
    ratios = [b / a if less_is_better else a / b for a, b in zip(ours, theirs, strict=True)]
    return {"unit": unit, "ours": summary(ours), "theirs": summary(theirs), "ratio": summary(ratios)}


def require(holds: bool, what: str) -> None:
    """A comparison of programs that compute different things is none."""
    if not holds:
        raise SystemExit(f"the two do not compute the same: {what}")


def require_close(ours: list, theirs: list, tolerance: float, what: str) -> str:
    """Returns what was checked, for the result."""
    worst = max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(ours, theirs, strict=True))
    require(worst <= tolerance, f"{what}: {ours} and {theirs}")
    return f"{what}: relative difference {worst:.1e} (at most {tolerance:.0e})"


def arguments(documentation: str, rounds: int, add=None) -> argparse.Namespace:
    """WORK_FOLDER, --rounds, --out, and what `add` adds."""
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--out", type=Path)
    if add:
        add(parser)
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    return options


def write(result: dict, out: Path | None) -> None:
    text = json.dumps({**machine.describe(), **result}, indent=1)
    print(text)
    if out:
        out.write_text(text + "\n")
