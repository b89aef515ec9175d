"""What a real Prometheus makes of the series: through a restart rates, increases and totals stay true.

    prometheus_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest
import urllib.request
from http.client import HTTPException
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import DEADLINE, ENDLESS, PROGRAM, WORK, last_step, log_of, make_inputs, mpirun_of, ranks_of, run_tests, set_all, start, wait_for
from prometheus import CONFIG, ROOT, Prometheus, replaced
from socks_server import SocksServer


class Watched(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()

    def prometheus(self, name, **options):
        watching = Prometheus(WORK / name, **options)
        self.addCleanup(watching.close)
        return watching

    def launch(self, name, watching, *arguments, **settings):
        """A run of two ranks under launch, which Prometheus finds."""
        words = set_all({"metrics.file_sd": f"'{watching.targets}/{name}.json'", "name": f"'{name}'", "checkpoint.every_steps": 20} | settings)
        process = start([PROGRAM, "launch", "-n", "2", self.run_file, "--out", WORK / "runs" / name, *ENDLESS, *words, *arguments],
                        WORK / f"{name}.err")
        self.addCleanup(process.kill)
        return WORK / "runs" / name, process

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(DEADLINE), 75)

    def test_rates_increases_and_totals_are_true_through_a_restart(self):
        watching = self.prometheus("restart")
        # Without copies in memory there are steps to repeat.
        run, process = self.launch("mended", watching, "--backoff", "2", "--set", "checkpoint.memory_share=0")
        wait_for(lambda: (watching.value('kessoku_steps_total{rank="0"}') or 0) > 30, "30 steps")
        steps_before = last_step(run)
        os.kill(ranks_of(mpirun_of(process.pid))[1], signal.SIGKILL)
        wait_for(lambda: watching.value("kessoku_launch_training") == 0, "the end of the ranks")
        self.assertEqual(watching.value('up{rank="launch"}'), 1)
        wait_for(lambda: watching.value('kessoku_steps_total{rank="0"} > 30') and last_step(run) > steps_before + 30, "30 more steps")

        with self.subTest("gauges tell where the run stands"):
            now = time.time()
            behind = [record["step"] for record in log_of(run) if record["time"] < now - 2][-1]
            self.assertGreaterEqual(watching.value('kessoku_step{rank="0"}', time=now), behind)
            self.assertGreaterEqual(watching.value('kessoku_step{rank="launch"}', time=now), behind)
            self.assertEqual(watching.value('kessoku_run_starts{rank="0"}'), 2)
            self.assertEqual(watching.value("kessoku_launch_restarts_total"), 1)
            self.assertEqual(watching.value("kessoku_launch_last_exit_code"), 137)

        with self.subTest("increase counts the steps that were taken"):
            taken = watching.value('kessoku_step{rank="0"} + on (run) kessoku_run_redone_steps{rank="0"}')
            self.assertEqual(watching.value('resets(kessoku_steps_total{rank="0"}[5m])'), 1)
            counted = sum(value for _, value in watching.query('increase(kessoku_steps_total{rank="0"}[5m])'))
            # Prometheus looks at lists of targets each 5 s at most: what came before its first scrape is not in an increase.
            unseen = float(watching.get("query", query='kessoku_steps_total{rank="0"}[5m]')["result"][0]["values"][0][1])
            self.assertAlmostEqual(counted, taken - unseen, delta=0.2 * taken)
            # A counter of draws, which are 8 a step, is true in the same way.
            self.assertAlmostEqual(watching.value("increase(kessoku_draws_total[5m])"), 8 * counted, delta=1)

        with self.subTest("the seconds by cause add up to the wall time"):
            at = watching.value('kessoku_last_step_timestamp_seconds{rank="0"} - on (run) kessoku_run_began_timestamp_seconds{rank="0"}')
            seconds = {labels["cause"]: value for labels, value in watching.query('kessoku_run_seconds{rank="0"}')}
            self.assertAlmostEqual(sum(seconds.values()), at, delta=1)
            self.assertGreater(seconds["down"], 2, "the pause before the restart")
            # Each start has written what its stages took, by a clock of hundredths; the way to the first step comes on top.
            starts = [json.loads(line)["startup"] for line in (run / "account.jsonl").read_text().splitlines() if '"startup"' in line]
            self.assertEqual(len(starts), 2)
            self.assertGreater(seconds["startup"], 0.9 * sum(sum(stages.values()) for stages in starts), "twice")
            self.assertGreater(seconds["redone"], 0)

        with self.subTest("each label is there once"):
            for labels, _ in watching.query('{__name__=~"kessoku_.+|up"}'):
                self.assertFalse([name for name in labels if name.startswith("exported_")], labels)
                self.assertIn(labels["rank"], ("0", "1", "launch"))
                self.assertEqual(labels["run"], "mended")
        self.stop(process)
        wait_for(lambda: not watching.query("up"), "the targets of a run that is over are forgotten")

    def test_two_runs_on_one_machine_share_the_default_port(self):
        watching = self.prometheus("ports")
        processes = [self.launch(name, watching, **{"metrics.port": 19460})[1] for name in ("one", "two")]
        wait_for(lambda: len(watching.query('kessoku_steps_total{rank=~"0|1"} > 0')) == 4, "steps of both")
        for process in processes:
            self.stop(process)

    def test_scrapes_are_answered_while_a_rank_hangs(self):
        watching = self.prometheus("hang")
        run, process = self.launch("hanging", watching)
        wait_for(lambda: last_step(run) > 5, "5 steps")
        ranks = ranks_of(mpirun_of(process.pid))
        os.kill(ranks[1], signal.SIGSTOP)
        try:
            step = wait_for(lambda: watching.value('kessoku_step{rank="0"} and on (run) (time() - kessoku_last_step_timestamp_seconds{rank="0"} > 2)'),
                            "two seconds without a step")
            address = next(t["targets"][0] for t in json.loads((watching.targets / "hanging.json").read_text()) if t["labels"]["rank"] == "0")
            began = time.monotonic()
            page = urllib.request.urlopen(f"http://{address}/metrics", timeout=DEADLINE).read().decode()
            self.assertLess(time.monotonic() - began, 1)
            self.assertIn('kessoku_state{rank="0",run="hanging",state="training"} 1', page)
            self.assertEqual(watching.value('kessoku_step{rank="0"}'), step)
        finally:
            os.kill(ranks[1], signal.SIGCONT)
        self.stop(process)


    def test_scrapes_are_answered_while_a_run_starts_and_stops(self):
        """From the first address that is written until the process ends: each state is served, and nobody waits for an answer."""
        run, targets = WORK / "runs/whole", WORK / "whole.json"
        process = start([PROGRAM, "train", self.run_file, "--out", run, "--set", f"metrics.file_sd='{targets}'", "--set", "train.steps=40"],
                        WORK / "whole.err")
        self.addCleanup(process.kill)
        wait_for(targets.exists, "the address", pause=0.001)
        address, states, longest = json.loads(targets.read_text())[0]["targets"][0], [], 0
        while process.poll() is None:
            began = time.monotonic()
            try:
                page = urllib.request.urlopen(f"http://{address}/metrics", timeout=DEADLINE).read().decode()
            except (OSError, HTTPException):  # no longer there, or it ended within the answer
                self.assertFalse(targets.exists(), "an address that is listed does not answer")
                break
            longest = max(longest, time.monotonic() - began)
            state = re.search(r'kessoku_state{.*state="(\w+)"} 1\n', page)[1]
            if states[-1:] != [state]:
                states.append(state)
        self.assertEqual(process.wait(DEADLINE), 0)
        self.assertEqual(states, ["starting", "training", "ending"])
        self.assertLess(longest, 1)

    def test_it_is_let_in_by_the_login_and_through_a_host_as_the_page_says(self):
        """The lines of docs/monitoring.md for `scrape_configs`, against ranks that ask for a login; ssh -D is a SOCKS server like this one."""
        page = (ROOT / "docs/monitoring.md").read_text()
        login, password, host = WORK / "login", WORK / "password", SocksServer()
        self.addCleanup(host.close)
        login.write_text("ann:pass word\n")
        password.write_text("pass word\n")
        basic_auth = replaced(re.search(r"^    basic_auth: .*\n", page, re.M)[0], "USER", "ann")
        basic_auth = replaced(basic_auth, "/etc/prometheus/kessoku/password", str(password))
        proxy = "    " + replaced(re.search(r"`(proxy_url: [^`]*)`", page)[1], "127.0.0.1:1080", host.address) + "\n"
        let_in, stranger = self.prometheus("let-in", job=basic_auth + proxy), self.prometheus("stranger")
        _, process = self.launch("closed", let_in, **{"metrics.login_file": f"'{login}'"})
        wait_for(lambda: {value for _, value in let_in.query("up")} == {1} and len(let_in.query("up")) == 3, "ranks and launch")
        for file in let_in.targets.iterdir():
            shutil.copy(file, stranger.targets)
            self.assertLessEqual({target["targets"][0] for target in json.loads(file.read_text())}, host.asked)
        wait_for(lambda: len(stranger.query("up")) == 3, "ranks and launch")
        self.assertEqual({value for _, value in stranger.query("up")}, {0})
        self.stop(process)


class Configuration(unittest.TestCase):
    def test_promtool_takes_it(self):
        alerts = Path(CONFIG).with_name("prometheus.yml").read_text()
        self.assertIn("honor_labels: true", alerts)
        (WORK / "check").mkdir(parents=True)
        checked = WORK / "check/prometheus.yml"
        checked.write_text(alerts.replace("  - /etc/prometheus/kessoku/alerts.yml", ""))
        done = subprocess.run(["promtool", "check", "config", checked], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    run_tests()
