"""`kessoku launch`: what was killed or hangs goes on by itself, and ends as if nothing had happened.

    launch_test.py KESSOKU WORK_FOLDER [TESTS...]

KESSOKU_KILLS=N random kills (default 6) are survived in test_random_kills; KESSOKU_TEST_SEED repeats a run of it.
"""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import (DEADLINE, ENDLESS, ENVIRONMENT, EVERYTHING, PROGRAM, WORK, chosen_seed, is_gone, kessoku, last_step, make_inputs, mpirun_of,
                     ranks_of, require_equal, run_tests, set_all, start, wait_for)

KILLS = int(os.environ.get("KESSOKU_KILLS", "6"))
STEPS = 40


class Launch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.settings = ["--set", f"train.steps={STEPS}", "--set", "checkpoint.every_steps=4", "--set", "metrics.port=-1",
                        "--set", "train.micro_batch=2", "--set", "data.shuffle_tags=true"]
        kessoku("train", cls.run_file, "--out", WORK / "undisturbed", *cls.settings, ranks=2)

    def launch(self, name, *arguments):
        """What is set twice is as in `arguments`."""
        process = start([PROGRAM, "launch", "-n", "2", self.run_file, "--out", WORK / name, *self.settings, "--backoff", "0.1", *arguments],
                        WORK / f"{name}.err")
        self.addCleanup(process.kill)
        return WORK / name, process

    def said(self, run):
        """Since the last `launch` of it."""
        return (WORK / f"{run.name}.err").read_text()

    def require_end(self, run, process, code):
        self.assertEqual(process.wait(DEADLINE), code, self.said(run))

    def wait_for_step(self, run, process, step):
        def reached():
            self.assertIsNone(process.poll(), self.said(run))
            return last_step(run) >= step
        wait_for(reached, f"step {step}")

    def require_equal(self, run, *settings, undisturbed="undisturbed"):
        require_equal(run, WORK / undisturbed, [self.run_file, *self.settings, *settings], ranks=2)

    def test_random_kills(self):
        """Of a rank, of mpirun, of the supervisor: at random moments, until there were enough. Every other run has everything on, in bf16."""
        seed = chosen_seed()
        chance, kills, runs = random.Random(seed), {"rank": 0, "mpirun": 0, "supervisor": 0}, 0
        while sum(kills.values()) < KILLS:
            runs += 1
            everything = set_all(EVERYTHING | {"train.precision": "'bf16'"}) if (seed + runs) % 2 else []
            undisturbed = "undisturbed-everything" if everything else "undisturbed"
            if not (WORK / undisturbed).exists():
                kessoku("train", self.run_file, "--out", WORK / undisturbed, *self.settings, *everything, ranks=2)
            run, process = self.launch(f"killed-{runs}", "--patience", "50", *everything)
            while process.poll() is None and sum(kills.values()) < KILLS:
                time.sleep(chance.uniform(0.2, 5))
                what = chance.choices(["rank", "mpirun", "supervisor"], [6, 2, 1])[0]
                mpirun = mpirun_of(process.pid) if process.poll() is None else None
                ranks = ranks_of(mpirun) if mpirun else {}
                if not ranks:
                    continue
                victim = {"rank": chance.choice(sorted(ranks.values())), "mpirun": mpirun, "supervisor": process.pid}[what]
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                kills[what] += 1
                if what == "supervisor":
                    process.wait()
                    wait_for(lambda: all(map(is_gone, [mpirun, *ranks.values()])), "the end of mpirun and its ranks")
                    run, process = self.launch(run.name, "--patience", "50", *everything)
            self.require_end(run, process, 0)
            self.assertEqual(last_step(run), STEPS)
            self.require_equal(run, *everything, undisturbed=undisturbed)
            shutil.rmtree(run)
        print(f"survived with equal bits: {kills} in {runs} runs", flush=True)

    def test_a_request_to_stop_leaves_a_checkpoint_and_75(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            run, process = self.launch("stopped", *ENDLESS)
            self.wait_for_step(run, process, last_step(run) + 2)
            process.send_signal(number)
            self.require_end(run, process, 75)
            self.assertEqual((run / "checkpoints/latest").readlink().name, f"step-{last_step(run):08}")
        run, process = self.launch("stopped", "--set", f"train.steps={last_step(run) + 3}")
        self.require_end(run, process, 0)
        self.require_equal(run)

    def test_asked_twice_it_ends_at_once_and_goes_on_later(self):
        run, process = self.launch("twice", *ENDLESS)
        wait_for(lambda: (run / "checkpoints/latest").exists(), "a checkpoint")
        ranks = ranks_of(mpirun_of(process.pid)).values()
        for rank in ranks:  # so that it cannot stop in order
            os.kill(rank, signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        wait_for(lambda: "asking the ranks to stop with a checkpoint" in self.said(run), "that the first request is heard")
        process.send_signal(signal.SIGINT)
        self.require_end(run, process, 75)
        self.assertTrue(all(map(is_gone, ranks)))
        self.require_equal(run)

    def test_what_would_fail_again_is_not_started_again(self):
        for settings, code in ((["--set", "optimizer.lr=1e30"], 64), (["--set", "model.path=nowhere"], 64)):
            run, process = self.launch(f"wrong-{code}-{settings[1][:5]}", *settings)
            self.require_end(run, process, code)
            self.assertEqual(self.said(run).count("launch: mpirun"), 1, self.said(run))

    def test_gives_up_when_a_restart_gains_nothing(self):
        # Something that dies at the same step each time, and something that never begins.
        failing = WORK / "failing.sh"
        failing.write_text("#!/bin/sh\nexit 137\n")
        failing.chmod(0o755)
        run, process = self.launch("never", "--mpirun", failing)
        self.require_end(run, process, 137)
        self.assertEqual(self.said(run).count("failing.sh"), 2, self.said(run))
        self.assertIn("giving up", self.said(run))

    def test_a_run_without_a_sign_of_life_is_started_again(self):
        # A start that takes longer than the heartbeat is but one more restart.
        run, process = self.launch("silent", "--heartbeat", "15", "--patience", "50", *ENDLESS)
        self.wait_for_step(run, process, 5)
        stopped = ranks_of(mpirun_of(process.pid)).values()
        for rank in stopped:
            os.kill(rank, signal.SIGSTOP)
        wait_for(lambda: all(map(is_gone, stopped)), "the end of the stopped ranks")
        self.wait_for_step(run, process, last_step(run) + 1)
        self.assertIn("no progress in 15 s", self.said(run))
        process.send_signal(signal.SIGUSR1)
        self.require_end(run, process, 75)
        self.require_equal(run)

    def test_hosts_that_do_not_answer_are_left_out(self):
        # Two more "hosts" on this machine; the agent runs what it is given, and refuses for a host that is down.
        agent, down = WORK / "agent.sh", WORK / "down"
        agent.write_text(f'#!/bin/sh\nhost=$1; shift\n[ -e {down}-$host ] && exit 255\nexec sh -c "$*"\n')
        agent.chmod(0o755)
        (WORK / "down-kessoku-b").touch()
        command = [PROGRAM, "launch", "--hosts", "localhost:2,kessoku-b:2", "--agent", agent, self.run_file, "--out", WORK / "hosts",
                   *self.settings]
        done = subprocess.run([str(w) for w in command], capture_output=True, text=True, env=ENVIRONMENT, timeout=DEADLINE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("kessoku-b does not answer", done.stderr)
        self.assertIn("2 ranks instead of 4", done.stderr)
        self.require_equal(WORK / "hosts")
        (WORK / "down-localhost").touch()  # is not asked: this machine always answers
        for hosts, ranks in (("localhost:2", 2), ("localhost:2,kessoku-b:2", 4)):
            said = subprocess.run([str(w) for w in [*command, "--dry-run"]], capture_output=True, text=True, env=ENVIRONMENT).stderr
            self.assertIn(f"--host {hosts} ", said)
            self.assertIn(f"-n {ranks} ", said)
            (WORK / "down-kessoku-b").unlink(missing_ok=True)

    def test_ranks_are_spread_over_numa_nodes_in_order(self):
        """What it would start on a machine of two nodes, looked at by mpirun with a made-up topology."""
        nodes = WORK / "nodes"
        for name in ("node0", "node1"):
            (nodes / name).mkdir(parents=True)
        dry = f"mount --bind {nodes} /sys/devices/system/node && exec {PROGRAM} launch -n 5 {self.run_file} --out {WORK}/x --dry-run --set train.global_batch=5"
        done = subprocess.run(["unshare", "--mount", "--user", "--map-root-user", "sh", "-c", dry], capture_output=True, text=True,
                              env=ENVIRONMENT)
        if "Operation not permitted" in done.stderr or "permission denied" in done.stderr:
            self.skipTest(done.stderr.strip())
        words = done.stderr.removeprefix("launch: ").split(f" {PROGRAM.resolve()} train ")[0].split()
        shown = subprocess.run([*words, "--display-map", "--do-not-launch", "true"], capture_output=True, text=True,
                               env=ENVIRONMENT | {"HWLOC_SYNTHETIC": "pack:2 [numa] core:4 pu:1"})
        nodes_of_ranks = dict(re.findall(r"Process rank: (\d+) Bound: socket (\d)", shown.stdout))
        self.assertEqual([nodes_of_ranks.get(str(rank)) for rank in range(5)], ["0", "0", "0", "1", "1"], shown.stdout + shown.stderr)

    def test_wrong_use_is_64(self):
        for arguments, words in ((["--hosts", "a:0"], "slots"), (["--hosts", "-oProxyCommand=x"], "no host's name"),
                                 (["--hostfile", "nowhere"], "nowhere"), (["--hosts", "a", "--hostfile", "b"], "one of them"),
                                 (["--mpirun", "no-such-mpirun"], "no-such-mpirun"), (["--set", "train.stepz=1"], "train.steps"),
                                 (["--dry-run", "-n", "3"], "use -n 2"), (["--dry-run", "--set", "sample.steps=-3"], "sample.steps"),
                                 (["--dry-run", "--allow-change", "nonsense"], "nonsense is not a key"),
                                 (["--dry-run", "--hosts", "a.invalid", "--agent", "false"], "answers to")):
            with self.subTest(arguments):
                done = subprocess.run([str(PROGRAM), "launch", str(self.run_file), "--out", str(WORK / "x"), *arguments],
                                      capture_output=True, text=True, env=ENVIRONMENT, timeout=DEADLINE)
                self.assertEqual(done.returncode, 64, done.stderr)
                self.assertIn(words, done.stderr)


if __name__ == "__main__":
    run_tests()
