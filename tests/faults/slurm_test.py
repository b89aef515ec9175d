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

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distributed"))
from harness import ENVIRONMENT, PROGRAM, ROOT, WORK, kessoku, last_step, make_inputs, processes_with, require_equal, run_tests, wait_for

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
class Slurm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.store, cls.run_file = make_inputs()
        cls.settings = ["--set", "checkpoint.every_steps=4", "--set", "metrics.port=-1"]
        kessoku("train", cls.run_file, "--out", WORK / "undisturbed", *cls.settings, ranks=2)
        folder = WORK / "slurm"
        (folder / "state").mkdir(parents=True)
        (folder / "slurm.conf").write_text(CONFIGURATION.format(host=socket.gethostname().split(".")[0], folder=folder,
                                                                ports=free_ports(3), cores=os.cpu_count()))
        ENVIRONMENT.update(SLURM_CONF=str(folder / "slurm.conf"), KESSOKU=str(PROGRAM), OMP_NUM_THREADS="1")
        for command in (["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]):
            daemon = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
            cls.addClassCleanup(daemon.wait)
            cls.addClassCleanup(daemon.terminate)
        wait_for(lambda: "idle 2" in subprocess.run(["sinfo", "-h", "-o", "%T %D"], capture_output=True, text=True,
                                                    env=ENVIRONMENT).stdout, "a cluster of two idle nodes", pause=0.5)

    def write_run_file(self, name, steps=1_000_000):
        """A job reads it at each of its starts: so it goes on until it is told where to end."""
        (WORK / f"{name}.toml").write_text(self.run_file.read_text().replace("steps = 6", f"steps = {steps}"))

    def submit(self, name, *options):
        out = slurm("sbatch", "--parsable", "--output", WORK / f"{name}.log", *options, ROOT / "scripts/slurm/train.sbatch", WORK / f"{name}.toml",
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
        wait_for(lambda: last_step(WORK / name) >= step, f"step {step}", pause=0.1)

    def require_equal(self, name):
        require_equal(WORK / name, WORK / "undisturbed", [self.run_file, *self.settings], ranks=2)

    def test_one_node(self):
        self.write_run_file("one-node", steps=6)
        job = self.submit("one-node", "--nodes", 1, "--ntasks", 2)
        self.wait_for_state(job, "COMPLETED")
        self.require_equal("one-node")

    def test_two_nodes_requeued_by_a_signal_and_after_a_node_was_lost(self):
        self.write_run_file("two-nodes")
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
        wait_for(lambda: self.state_of(job)["JobState"] == "PENDING", "its return to the queue", pause=0.5)
        wait_for(lambda: not processes_with(f"--out {WORK / 'two-nodes'}"), "the end of its ranks", pause=0.5)
        end = last_step(WORK / "two-nodes") + 6
        self.write_run_file("two-nodes", steps=end)
        self.start_requeued(job, "2")
        self.wait_for_state(job, "COMPLETED")
        self.assertEqual(last_step(WORK / "two-nodes"), end)
        self.require_equal("two-nodes")

    def test_a_canceled_job_leaves_a_checkpoint_and_is_not_requeued(self):
        self.write_run_file("canceled")
        job = self.submit("canceled", "--ntasks", 2)
        self.wait_for_step("canceled", 6)
        slurm("scancel", "--batch", "--signal=TERM", job)
        self.wait_for_state(job, "FAILED")
        self.assertEqual(self.state_of(job)["ExitCode"], "75:0")
        stopped = last_step(WORK / "canceled")
        self.assertTrue((WORK / f"canceled/checkpoints/step-{stopped:08}").exists())
        self.write_run_file("canceled", steps=stopped + 4)
        again = self.submit("canceled", "--ntasks", 2)
        self.wait_for_state(again, "COMPLETED")
        self.assertEqual(last_step(WORK / "canceled"), stopped + 4)
        self.require_equal("canceled")


if __name__ == "__main__":
    run_tests()
