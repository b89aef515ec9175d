"""Copies of the training state in memory: what `kessoku launch` restarts from, to the same bits, also where ranks die more often than checkpoints
are written.

    memory_checkpoint_test.py KESSOKU WORK_FOLDER [TESTS...]

KESSOKU_TEST_SEED repeats a run of it.
"""
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import (DEADLINE, ENDLESS, EVERYTHING, PROGRAM, ROOT, WORK, chosen_seed, is_gone, kessoku, last_step, make_inputs, mpirun_of,
                     ranks_of, require_equal, run_tests, set_all, start, wait_for)

STEPS = 40
EMULATION = ROOT / "scripts/cluster_emulation.sh"
# Each host has a /dev/shm of its own. The second one's ranks are killed, and what it has in memory is removed, or the first one's memory gets full
# but for 40 MB.
HOSTS = """
{program} launch --hosts "$KESSOKU_CLUSTER_HOSTS" --agent "$KESSOKU_CLUSTER_AGENT" {arguments} &
launch=$!
until test -e {run}.kill; do kill -0 $launch 2> /dev/null || exit 99; sleep 0.02; done
ranks=$(ip netns pids node2 | xargs ps -o pid=,comm= | awk '$2 == "kessoku-core" {{ print $1 }}')
kill -STOP $ranks
[[ {lost} != *memory* ]] || $KESSOKU_CLUSTER_AGENT node2 'rm -r /dev/shm/kessoku-*'
[[ {lost} != *ranks* ]] || kill -9 $ranks
[[ {lost} != room ]] || {{ rm -r /dev/shm/kessoku-*; head -c $(($(df --output=avail -B1 /dev/shm | tail -n 1) - 40000000)) /dev/zero > /dev/shm/filler; }}
kill -CONT $ranks 2> /dev/null
wait $launch || exit
for host in node1 node2; do
  $KESSOKU_CLUSTER_AGENT $host 'ls -d /dev/shm/kessoku-* 2> /dev/null' >&2 || echo "$host: nothing is left" >&2
done
"""
MEMORY = WORK / "memory"


class MemoryCheckpoints(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.chance = random.Random(chosen_seed())
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.settings = set_all(EVERYTHING | {
            "train.steps": STEPS, "train.micro_batch": 1, "communication.wire": "'fp32'", "optimizer.schedule": "'constant'", "checkpoint.every_steps": 1000, "metrics.port": -1, "metrics.ledger": "true",
            "checkpoint.memory_share": 1, "checkpoint.memory_folder": f"'{MEMORY}'"})

    def setUp(self):
        MEMORY.mkdir(exist_ok=True)

    def launch(self, name, *arguments, ranks=2):
        process = start([PROGRAM, "launch", "-n", ranks, self.run_file, "--out", WORK / name, *self.settings, *arguments], WORK / f"{name}.err")
        self.addCleanup(process.kill)
        return WORK / name, process

    def said(self, run):
        return (WORK / f"{run.name}.err").read_text()

    def wait_for_step(self, run, process, step):
        def reached():
            self.assertIsNone(process.poll(), self.said(run))
            return last_step(run) >= step
        wait_for(reached, f"step {step}")

    def kill_a_rank(self, process):
        mpirun = mpirun_of(process.pid)
        os.kill(self.chance.choice(sorted(ranks_of(mpirun).values())), signal.SIGKILL)

    def kill_all(self, process):
        """As a power cut would, but for the memory."""
        mpirun = mpirun_of(process.pid)
        processes = [process.pid, mpirun, *ranks_of(mpirun).values()]
        for one in processes:
            os.kill(one, signal.SIGKILL)
        process.wait()
        wait_for(lambda: all(map(is_gone, processes)), "the end of all processes")

    def resumed_at(self, run):
        return [(int(step), source) for step, source in re.findall(r"resuming     at step (\d+) from (\S+)", self.said(run))]

    def copies(self):
        return sorted(path.name for path in MEMORY.glob("kessoku-*/step-*"))

    def require_equal(self, run):
        undisturbed = WORK / f"undisturbed-{run.name}"
        require_equal(run, undisturbed, [self.run_file, *self.settings])
        ledger, expected = (max((folder / "ledger").iterdir()) for folder in (run, undisturbed))
        self.assertEqual(ledger.name, expected.name)
        self.assertEqual(ledger.read_bytes(), expected.read_bytes())

    def test_kills_that_come_more_often_than_checkpoints(self):
        run, process = self.launch("often")
        kills, reached = 0, 0
        while reached + 8 < STEPS:
            reached = last_step(run) + 4
            self.wait_for_step(run, process, reached)
            time.sleep(self.chance.uniform(0, 0.3))
            if process.poll() is None and last_step(run) < STEPS:
                self.kill_a_rank(process)
                kills += 1
                wait_for(lambda: self.said(run).count("launch: ended") == kills, "the end of the ranks")
        self.assertEqual(process.wait(DEADLINE), 0, self.said(run))
        self.assertEqual(last_step(run), STEPS)
        resumed = self.resumed_at(run)
        self.assertEqual(len(resumed), kills, self.said(run))
        self.assertTrue(all(source.startswith(str(MEMORY)) for step, source in resumed), resumed)
        self.assertEqual(self.copies(), [], "the memory is freed")
        self.require_equal(run)
        starts = [entry for entry in map(json.loads, (run / "account.jsonl").read_text().splitlines()) if entry["event"] == "start"]
        for entry in starts:
            self.assertEqual(list(entry["startup"]), ["program", "inputs", "ranks", "checkpoint", "trainer", "state"])
            self.assertTrue(all(0 <= seconds < DEADLINE for seconds in entry["startup"].values()), entry["startup"])

    def test_another_launch_on_other_ranks_if_asked_to(self):
        run, process = self.launch("other", *ENDLESS)
        self.wait_for_step(run, process, 5)
        self.kill_all(process)
        reached = last_step(run)
        run, process = self.launch("other", "--resume", "memory", "--set", f"train.steps={reached + 4}", ranks=4)
        self.assertEqual(process.wait(DEADLINE), 0, self.said(run))
        [(step, _)] = self.resumed_at(run)
        self.assertIn(step, (reached - 1, reached, reached + 1))
        self.assertEqual(self.copies(), [])
        self.require_equal(run)

    def test_otherwise_a_new_launch_goes_by_what_is_on_disk(self):
        run, process = self.launch("disk", *ENDLESS)
        self.wait_for_step(run, process, 4)
        self.kill_all(process)
        self.assertNotEqual(self.copies(), [])
        run, process = self.launch("disk", "--set", "train.steps=1")
        self.assertEqual(process.wait(DEADLINE), 0, self.said(run))
        self.assertEqual(self.resumed_at(run), [])
        self.assertEqual(self.copies(), [])

    def test_a_damaged_copy_is_not_used(self):
        run, process = self.launch("damaged", "--set", "checkpoint.every_steps=3", *ENDLESS)
        self.wait_for_step(run, process, 6)
        wait_for(lambda: (run / "checkpoints/latest").exists(), "a checkpoint")
        self.kill_all(process)
        for shard in MEMORY.glob("kessoku-*/step-*/state/shard-00001*"):
            with open(shard, "r+b") as file:
                file.seek(-5, os.SEEK_END)
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 1]))
        run, process = self.launch("damaged", "--resume", "memory", "--set", "train.steps=9")
        self.assertEqual(process.wait(DEADLINE), 0, self.said(run))
        self.assertRegex(self.said(run), r"shard-00001\S+: does not have the checksum .*; a checkpoint on disk is used instead")
        [(_, source)] = self.resumed_at(run)
        self.assertTrue(source.startswith(str(run)), source)

    def lose(self, name, lost, step, *settings, hosts=2, before=""):
        """A run on emulated hosts, which lose something after `step`; waits for its end."""
        possible = subprocess.run([EMULATION, "--check"], capture_output=True, text=True)
        if possible.returncode == 69:
            self.skipTest(possible.stderr.strip())
        run = WORK / name
        words = shlex.join(map(str, [self.run_file, "--out", run, *self.settings, "--set", "checkpoint.memory_folder='/dev/shm'", *settings]))
        script = before + HOSTS.format(program=PROGRAM, arguments=words, run=run, lost=lost)
        process = start([EMULATION, "--hosts", hosts, "bash", "-c", script], WORK / f"{name}.err")
        self.addCleanup(process.terminate)
        self.wait_for_step(run, process, step)
        if settings:
            wait_for(lambda: (run / "checkpoints/latest").exists(), "a checkpoint")
        Path(f"{run}.kill").touch()
        self.assertEqual(process.wait(DEADLINE), 0, self.said(run))
        return run

    def test_hosts_give_each_other_what_they_lack(self):
        run = self.lose("hosts", "ranks", 5)
        [(step, source)] = self.resumed_at(run)
        self.assertGreaterEqual(step, 4)
        self.assertTrue(source.startswith("/dev/shm/kessoku-"), source)
        self.assertIn("node1: nothing is left\nnode2: nothing is left\n", self.said(run))
        self.require_equal(run)

    def test_a_host_is_lost_with_its_memory(self):
        run = self.lose("lost", "ranks-and-memory", 5)
        [(step, source)] = self.resumed_at(run)
        self.assertGreaterEqual(step, 4)
        self.assertTrue(source.startswith("/dev/shm/kessoku-"), source)
        self.require_equal(run)

    def test_a_rank_without_room_for_anothers_part_ends_the_copies_but_not_the_run(self):
        run = self.lose("full", "room", 5, before="mount -t tmpfs -o size=140m none /dev/shm\n")
        self.assertEqual(self.resumed_at(run), [])
        self.assertIn(": no more checkpoints in memory", self.said(run))
        self.require_equal(run)

    def test_a_host_without_room_for_all_parts_resumes_from_disk(self):
        # Two of a rank's parts take 57 MB, all parts of a copy 114 MB.
        run = self.lose("small", "ranks", 7, "--set", "checkpoint.every_steps=3", hosts=4, before="mount -t tmpfs -o size=100m none /dev/shm\n")
        self.assertRegex(self.said(run), r"No space left on device; a checkpoint on disk is used instead")
        [(_, source)] = self.resumed_at(run)
        self.assertTrue(source.startswith(str(run)), source)
        self.require_equal(run)

    def test_without_room_there_are_none(self):
        run, process = self.launch("no-room", "--set", f"checkpoint.memory_folder='{WORK}/nowhere'", "--set", "train.steps=4")
        self.assertEqual(process.wait(DEADLINE), 0, self.said(run))
        self.assertEqual(self.said(run).count("no checkpoints in memory: two take"), 1, self.said(run))

    def test_a_training_that_is_not_supervised_has_none(self):
        kessoku("train", self.run_file, "--out", WORK / "alone", *self.settings, "--set", "train.steps=4")
        self.assertEqual(self.copies(), [])


if __name__ == "__main__":
    run_tests()
