"""Training over several hosts: four network namespaces (scripts/cluster_emulation.sh) give bit for bit what four ranks on one host give.

    cluster_test.py KESSOKU WORK_FOLDER [TESTS...]

Exit code 77 (skipped) with the reason where the machine does not permit namespaces.
"""
import json
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np
from harness import (DEADLINE, ENDLESS, ENVIRONMENT, PROGRAM, ROOT, WORK, kessoku, last_step, log_of, losses_of,
                     make_dataset, make_inputs, processes_with, require_same_weights, run_tests, wait_for, weights_of)

EMULATION = ROOT / "scripts/cluster_emulation.sh"
HOSTS = ["node1", "node2", "node3", "node4"]


def on_cluster(script, expect=0):
    """What a shell script says on the first of four hosts."""
    done = subprocess.run([EMULATION, "bash", "-c", script], capture_output=True, text=True, env=ENVIRONMENT, timeout=DEADLINE)
    if done.returncode != expect:
        raise AssertionError(f"{script}: exit code {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Cluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()

    def settings(self, **more):
        settings = {"metrics.port": -1, "train.micro_batch": 1} | {key.replace("__", "."): value for key, value in more.items()}
        return [f"--set={key}={value}" for key, value in settings.items()]

    def on_one_host(self, name, settings):
        run = WORK / name
        kessoku("train", self.run_file, "--out", run, *settings, ranks=4)
        return run

    def require_equal(self, run, expected):
        np.testing.assert_array_equal(losses_of(run), losses_of(expected))
        require_same_weights(run, expected)

    def test_mpirun_over_hosts(self):
        """Bit-equal in every way of summing; and what crosses the network is what must: (ranks - 1) / ranks of the gradients and
        of the weights, each way."""
        for name, sent_each, settings in (
                # Verifications send more: in so short a run as much as the steps.
                ("sharded", 4 + 4, self.settings(verify__every_steps=0)),
                ("bf16-wire", 2 + 4, self.settings(communication__wire="bf16", communication__overlap="false", verify__every_steps=0)),
                ("whole", None, self.settings(optimizer__shard="false"))):
            with self.subTest(name):
                expected = self.on_one_host(f"{name}-one-host", settings)
                run = WORK / f"{name}-four-hosts"
                said = on_cluster(f"""
                    set -e
                    mpirun --host node1:1,node2:1,node3:1,node4:1 hostname
                    before=$(ip -n node3 -s -j link show eth0)
                    mpirun --bind-to none --host node1:1,node2:1,node3:1,node4:1 {PROGRAM} train {self.run_file} --out {run} {' '.join(settings)}
                    echo "$before"
                    ip -n node3 -s -j link show eth0""").splitlines()
                self.assertEqual(sorted(said[:4]), HOSTS)
                self.require_equal(run, expected)
                if sent_each:
                    before, after = (json.loads(line)[0]["stats64"]["tx"]["bytes"] for line in said[-2:])
                    parameters = sum(w.size for w in weights_of(run).values())
                    must = len(log_of(run)) * 3 / 4 * parameters * sent_each
                    print(f"{name}: {after - before} bytes left node3, {must:.0f} must", flush=True)
                    self.assertGreater(after - before, must)
                    self.assertLess(after - before, 1.5 * must)  # headers, the start's agreement, the checkpoints' averages

    def test_hosts_with_several_ranks_send_what_the_plan_says(self):
        """Two hosts with as many ranks, or not; equal bits with either wire. The plan's host, which sends most, is node2."""
        one_host = {}
        for wire in ("fp32", "bf16"):
            settings = self.settings(verify__every_steps=0, communication__wire=wire, ema__decay=0)  # checkpoints gather averages
            one_host[wire] = self.on_one_host(f"hosts-{wire}", settings)
            for on_node1, on_node2 in ((2, 2), (3, 1)):
                with self.subTest(wire=wire, ranks=(on_node1, on_node2)):
                    planned = json.loads(kessoku("plan", self.run_file, "--json", "--ranks", 4, "--ranks-per-host", on_node1, "--link", "1GB/s",
                                                 "--transport", "mpi", "--compute", "1s", *settings).stdout)["scaling"]["rows"][0]
                    run = WORK / f"hosts-{wire}-{on_node1}-{on_node2}"
                    said = on_cluster(f"""
                        set -e
                        ip -n node2 -s -j link show eth0
                        mpirun --bind-to none --host node1:{on_node1},node2:{on_node2} {PROGRAM} train {self.run_file} --out {run} {' '.join(settings)}
                        ip -n node2 -s -j link show eth0""").splitlines()
                    self.require_equal(run, one_host[wire])
                    before, after = (json.loads(line)[0]["stats64"]["tx"]["bytes"] for line in (said[0], said[-1]))
                    must = len(log_of(run)) * planned["bytes_out_of_host"]
                    print(f"{wire} {on_node1} + {on_node2}: {after - before} bytes left node2, {must:.0f} planned", flush=True)
                    self.assertGreater(after - before, must)
                    self.assertLess(after - before, 1.05 * must)  # headers, the start's agreement

    def test_launch_over_uneven_hosts(self):
        expected = self.on_one_host("uneven-one-host", self.settings())
        run = WORK / "uneven"
        on_cluster(f"""{PROGRAM} launch --hosts node1:1,node2:2,node4:1 --agent "$KESSOKU_CLUSTER_AGENT" {self.run_file} \
            --out {run} {' '.join(self.settings())}""")
        self.require_equal(run, expected)

    def test_a_host_with_another_program_store_or_model_is_named(self):
        """The files have the same names on all hosts, but on node2 there is something else in one of them."""
        other = WORK / "other"
        kessoku("init", "--preset", "tiny", "--seed", 9, other / "model", "--tokenizer", self.model / "tokenizer")
        make_dataset(other / "data", seed=1)
        kessoku("prepare", other / "data", "--out", other / "store", "--model", self.model, "--resolution", 64, "--keep", "moments,images")
        core = Path(PROGRAM).resolve().parent / "kessoku-core"
        shutil.copy(core, other / core.name)
        with open(other / core.name, "ab") as program:
            program.write(b"another build")
        unet = "unet/diffusion_pytorch_model.safetensors"
        for ours, theirs, named in ((core, other / core.name, "the program"), (self.store, other / "store", "the store"),
                                    (self.model / unet, other / "model" / unet, "the model's weights")):
            with self.subTest(named):
                train = f"{PROGRAM} train {self.run_file} --out {WORK / 'named'} {' '.join(self.settings())}"
                on_node2 = f"unshare --mount sh -c 'mount --bind {theirs} {ours} && exec {train}'"
                on_cluster(f"""mpirun --bind-to none --host node1 -n 1 {train} : --host node2 -n 1 {on_node2} 2> {WORK}/errors""", expect=64)
                errors = (WORK / "errors").read_text()
                self.assertIn("rank 1 on node2 has not the same as rank 0 on node1", errors)
                self.assertIn(f"{named}", errors)

    def launch_endlessly(self, name, agent="$KESSOKU_CLUSTER_AGENT", **environment):
        """Over the four hosts, up to the first step: the run, the process, and the file with what it says."""
        run, errors = WORK / name, WORK / f"{name}.err"
        command = f"""exec {PROGRAM} launch --hosts $KESSOKU_CLUSTER_HOSTS --agent "{agent}" {self.run_file} \
            --out {run} {' '.join([*self.settings(), *ENDLESS])}"""
        with open(errors, "w") as file:
            cluster = subprocess.Popen([EMULATION, "bash", "-c", command], stderr=file, env=ENVIRONMENT | environment)
        self.addCleanup(cluster.terminate)
        wait_for(lambda: last_step(run) > 0, "the first step")
        return run, cluster, errors

    def test_launch_hands_variables_to_other_hosts(self):
        """Those of NCCL and of the program; no others come along, as with ssh."""
        agent = WORK / "agent"
        agent.write_text('#!/bin/sh\nexec env -i PATH="$PATH" $KESSOKU_CLUSTER_AGENT "$@"\n')
        agent.chmod(0o755)
        run, cluster, errors = self.launch_endlessly("variables", agent, NCCL_TEST="a network", KESSOKU_TEST="a setting", OTHER_TEST="not this")
        ranks = [Path(f"/proc/{process}") for process in processes_with(f"train {self.run_file} --out {run}")]
        environments = [set((rank / "environ").read_text().split("\0")) for rank in ranks if (rank / "exe").resolve().name == "kessoku-core"]
        self.assertEqual(len(environments), 4)
        self.assertEqual(sum("OTHER_TEST=not this" in environment for environment in environments), 1)
        for environment in environments:
            self.assertLessEqual({"NCCL_TEST=a network", "KESSOKU_TEST=a setting"}, environment)
        cluster.send_signal(signal.SIGINT)
        self.assertEqual(cluster.wait(DEADLINE), 75, errors.read_text())

    def test_stops_and_leaves_nothing(self):
        """Ctrl-C: the command is told, may end in its own way, and all hosts are gone."""
        temporary = WORK / "temporary"
        temporary.mkdir()
        run, cluster, errors = self.launch_endlessly("stopped", TMPDIR=str(temporary))
        self.assertGreaterEqual(len(processes_with(f"--out {run}")), 4)
        cluster.send_signal(signal.SIGINT)
        self.assertEqual(cluster.wait(DEADLINE), 75, errors.read_text())
        wait_for(lambda: not processes_with(str(run)), "the end of all processes")
        self.assertTrue((run / "checkpoints/latest").exists())
        self.assertEqual(list(temporary.iterdir()), [])


if __name__ == "__main__":
    possible = subprocess.run([EMULATION, "--check"], capture_output=True, text=True)
    if possible.returncode == 69:
        print("skipped:", possible.stderr.strip())
        sys.exit(77)
    run_tests()
