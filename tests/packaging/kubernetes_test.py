"""scripts/kubernetes/mpijob.yaml against the schemas of Kubernetes and of its MPI Operator, and against what it names.

    kubernetes_test.py KESSOKU WORK_FOLDER

With KESSOKU_MPIJOB_CRD the operator's own definition (manifests/base/kubeflow.org_mpijobs.yaml of its sources) is used, too.
"""
import copy
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
KESSOKU = Path(sys.argv[1]).resolve()
sys.argv = sys.argv[:1]
MANIFEST = ROOT / "scripts/kubernetes/mpijob.yaml"
KUBERNETES = "1.35"


def fields(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT, COUNT, BOOLEAN = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
# The operator's own fields (v2beta1), with what it demands of their values when a job arrives.
REPLICAS = fields(("replicas", "template"), replicas={"type": "integer", "minimum": 1},
                  restartPolicy={"enum": ["Never", "OnFailure"]}, template={"type": "object"})
MPI_JOB = fields(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "kubeflow.org/v2beta1"}, kind={"const": "MPIJob"}, metadata={"type": "object"},
    spec=fields(
        ("mpiReplicaSpecs",), slotsPerWorker=COUNT, sshAuthMountPath=TEXT, runLauncherAsWorker=BOOLEAN,
        mpiImplementation={"enum": ["OpenMPI", "Intel", "MPICH"]},
        launcherCreationPolicy={"enum": ["AtStartup", "WaitForWorkersReady"]},
        mpiReplicaSpecs=fields(("Launcher",), Launcher=REPLICAS, Worker=REPLICAS),
        runPolicy=fields(
            cleanPodPolicy={"enum": ["None", "Running", "All"]}, activeDeadlineSeconds=COUNT, backoffLimit=COUNT,
            ttlSecondsAfterFinished=COUNT, suspend=BOOLEAN, managedBy=TEXT,
            schedulingPolicy=fields(minAvailable=COUNT, minResources={"type": "object"}, priorityClass=TEXT, queue=TEXT,
                                    scheduleTimeoutSeconds=COUNT))))


def closed(schema):
    """The schema with unknown fields forbidden: Kubernetes drops them, and so would hide a misspelled one."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string")
    if isinstance(schema.get("properties"), dict) and "type" in schema and not is_open:
        schema.setdefault("additionalProperties", False)
    return schema


def check(job):
    jsonschema.validate(job, MPI_JOB)
    for name, replicas in job["spec"]["mpiReplicaSpecs"].items():
        template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name.lower()}, "template": replicas["template"]}
        kubernetes_validate.validate(template, KUBERNETES, strict=True)


class MpiJob(unittest.TestCase):
    def setUp(self):
        self.job = yaml.safe_load(MANIFEST.read_text())
        self.replicas = self.job["spec"]["mpiReplicaSpecs"]

    def container(self, name):
        (container,) = self.replicas[name]["template"]["spec"]["containers"]
        return container

    def test_it_is_what_kubernetes_and_the_operator_expect(self):
        check(self.job)

    def test_a_misspelled_field_and_a_wrong_type_are_found(self):
        def with_change(change):
            job = copy.deepcopy(self.job)
            change(job["spec"], job["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"])
            return job

        changes = {
            "an unknown field of the operator": lambda spec, pod: spec.update(slotPerWorker=1),
            "an unknown restart policy": lambda spec, pod: spec["mpiReplicaSpecs"]["Worker"].update(restartPolicy="Always"),
            "an unknown field of a pod": lambda spec, pod: pod.update(volume=[]),
            "an unknown field of a container": lambda spec, pod: pod["containers"][0].update(cmd=["true"]),
            "text in place of a list": lambda spec, pod: pod["containers"][0].update(command="sshd"),
            "a volume without a name": lambda spec, pod: pod["volumes"].append({"emptyDir": {}}),
        }
        for what, change in changes.items():
            with self.subTest(what), self.assertRaises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
                check(with_change(change))

    @unittest.skipUnless("KESSOKU_MPIJOB_CRD" in os.environ, "KESSOKU_MPIJOB_CRD names no file")
    def test_it_fits_the_definition_that_the_operator_installs(self):
        definition = yaml.safe_load(Path(os.environ["KESSOKU_MPIJOB_CRD"]).read_text())
        (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v2beta1"]
        schema = closed(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"].pop("additionalProperties", None)
        jsonschema.validate(self.job, schema)
        self.job["spec"]["slotPerWorker"] = 1
        self.assertRaises(jsonschema.ValidationError, jsonschema.validate, self.job, schema)

    def test_the_launcher_starts_a_training_that_the_program_knows(self):
        command = self.container("Launcher")["command"]
        self.assertEqual(command[:2], ["kessoku", "launch"])
        listed = subprocess.run([KESSOKU, "launch", "--help"], check=True, capture_output=True, text=True).stdout
        for option in (word for word in command if word.startswith("--")):
            self.assertIn(option, listed)

    def test_user_keys_and_port_are_those_of_the_image(self):
        image, server = (ROOT / "Dockerfile").read_text(), (ROOT / "scripts/containers/sshd_config").read_text()
        client = (ROOT / "scripts/containers/ssh_config").read_text()
        uid, home = re.search(r"useradd .*--uid (\d+) ", image)[1], "/home/kessoku"
        for name in self.replicas:
            self.assertEqual(self.replicas[name]["template"]["spec"]["securityContext"]["runAsUser"], int(uid))
        keys = self.job["spec"]["sshAuthMountPath"]
        self.assertIn(f"mkdir --mode 700 {keys}", image)
        self.assertIn(f"HostKey {keys}/id_rsa\nAuthorizedKeysFile {keys}/authorized_keys\n", server)
        self.assertIn(f"COPY scripts/containers/sshd_config {home}/.sshd_config\n", image)
        worker = self.container("Worker")
        self.assertEqual(worker["command"], ["/usr/sbin/sshd", "-De", "-f", f"{home}/.sshd_config"])
        port = worker["readinessProbe"]["tcpSocket"]["port"]
        self.assertIn(f"Port {port}\n", server)
        self.assertIn(f"Port {port}\n", client)

    def test_a_rank_has_a_gpu_and_each_mount_a_volume(self):
        self.assertEqual(self.container("Worker")["resources"]["limits"]["nvidia.com/gpu"], self.job["spec"]["slotsPerWorker"])
        for name in self.replicas:
            volumes = {volume["name"] for volume in self.replicas[name]["template"]["spec"]["volumes"]}
            mounted = {mount["name"] for mount in self.container(name)["volumeMounts"]}
            self.assertEqual(volumes, mounted)


if __name__ == "__main__":
    unittest.main()
