"""scripts/slurm/train.sbatch on a cluster of two nodes that is started here: Debian's slurmctld and slurmd, both nodes on this machine.

    slurm_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import os
import re
import shutil
import socket
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import ENVIRONMENT, PROGRAM, ROOT, WORK, kessoku, log_of, losses_of, make_inputs, run_tests, wait_for, weights_of

STEPS = 40
CONFIGURATION = """
ClusterName=kessoku
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPort={ports[0]}
KillWait=30
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cores}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cores}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    if os.geteuid() != 0:
        return "slurmd needs root"
    if not all(shutil.which(name) for name in ("slurmctld", "slurmd", "sbatch")):
        return "Slurm is not installed"
    return None


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def slurm(*command):
    return subprocess.run([str(w) for w in command], capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout


@unittest.skipIf(missing(), missing())
class SlurmTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.settings = ["--set", f"train.steps={STEPS}", "--set", "checkpoint.every_steps=4", "--set", "metrics.port=-1"]
        kessoku("train", cls.run_file, "--out", WORK / "undisturbed", *cls.settings, ranks=2)
        folder = WORK / "slurm"
        (folder / "state").mkdir(parents=True)
        (folder / "slurm.conf").write_text(CONFIGURATION.format(host=socket.gethostname().split(".")[0], folder=folder,
                                                                ports=free_ports(3), cores=os.cpu_count()))
        ENVIRONMENT.update(SLURM_CONF=str(folder / "slurm.conf"), KESSOKU=str(PROGRAM), OMP_NUM_THREADS="1")
        cls.daemons = [subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in
                       (["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"])]
        wait_for(lambda: "idle 2" in subprocess.run(["sinfo", "-h", "-o", "%T %D"], capture_output=True, text=True,
                                                    env=ENVIRONMENT).stdout, "a cluster of two idle nodes")

    @classmethod
    def tearDownClass(cls):
        for daemon in cls.daemons:
            daemon.terminate()
        for daemon in cls.daemons:
            daemon.wait(20)

    def submit(self, name, *options):
        out = slurm("sbatch", "--parsable", "--output", WORK / f"{name}.log", *options, ROOT / "scripts/slurm/train.sbatch", self.run_file,
                    "--out", WORK / name, *self.settings)
        return out.strip()

    def state_of(self, job):
        return dict(field.split("=", 1) for field in slurm("scontrol", "show", "job", job).split() if "=" in field)

    def wait_for_state(self, job, *states):
        wait_for(lambda: self.state_of(job)["JobState"] in states, f"job {job} {states}", pause=0.5)

    def start_requeued(self, job, restarts):
        """Slurm lets a requeued job wait for two minutes, for its nodes must have forgotten it; ten seconds do here."""
        wait_for(lambda: self.state_of(job)["JobState"] == "PENDING", "its return to the queue", pause=0.5)
        slurm("scontrol", "update", f"jobid={job}", "starttime=now+10seconds")
        wait_for(lambda: self.state_of(job)["JobState"] != "PENDING", "its next start", pause=0.5)
        self.assertEqual(self.state_of(job)["Restarts"], restarts)

    def wait_for_step(self, name, step):
        def reached():
            try:
                log = log_of(WORK / name)
            except (OSError, ValueError):
                return False
            return bool(log) and log[-1]["step"] >= step
        wait_for(reached, f"step {step}", pause=0.1)

    def require_equal(self, name):
        self.assertEqual([r["step"] for r in log_of(WORK / name)], list(range(1, STEPS + 1)))
        np.testing.assert_array_equal(losses_of(WORK / name), losses_of(WORK / "undisturbed"))
        expected = weights_of(WORK / "undisturbed")
        for key, value in weights_of(WORK / name).items():
            np.testing.assert_array_equal(value, expected[key], err_msg=key)

    def test_one_node(self):
        job = self.submit("one-node", "--nodes", 1, "--ntasks", 2)
        self.wait_for_state(job, "COMPLETED")
        self.require_equal("one-node")

    def test_two_nodes_requeued_by_a_signal_and_after_a_node_was_lost(self):
        job = self.submit("two-nodes", "--nodes", 2, "--ntasks-per-node", 1)
        self.wait_for_step("two-nodes", 6)
        slurm("scancel", "--signal=USR1", "--batch", job)
        self.start_requeued(job, "1")
        said = (WORK / "two-nodes.log").read_text()
        stopped = int(re.search(r"stopped at step (\d+)", said).group(1))
        self.assertTrue((WORK / f"two-nodes/checkpoints/step-{stopped:08}").exists())
        self.wait_for_step("two-nodes", stopped + 6)
        slurm("scontrol", "update", "nodename=n2", "state=down", "reason=test")
        slurm("scontrol", "update", "nodename=n2", "state=resume")
        self.start_requeued(job, "2")
        self.wait_for_state(job, "COMPLETED")
        self.require_equal("two-nodes")

    def test_a_cancelled_job_leaves_a_checkpoint_and_is_not_requeued(self):
        job = self.submit("cancelled", "--ntasks", 2)
        self.wait_for_step("cancelled", 6)
        slurm("scancel", "--batch", "--signal=TERM", job)
        self.wait_for_state(job, "FAILED")
        self.assertEqual(self.state_of(job)["ExitCode"], "75:0")
        stopped = log_of(WORK / "cancelled")[-1]["step"]
        self.assertTrue((WORK / f"cancelled/checkpoints/step-{stopped:08}").exists())
        again = self.submit("cancelled", "--ntasks", 2)
        self.wait_for_state(again, "COMPLETED")
        self.require_equal("cancelled")


if __name__ == "__main__":
    run_tests()
