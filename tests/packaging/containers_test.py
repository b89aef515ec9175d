"""The Dockerfile and the definition for Apptainer: that they say the same, and an image made of the Dockerfile.

    containers_test.py KESSOKU WORK_FOLDER [TESTS...]

buildah (a Debian package) makes the image for CPUs, from a base that debootstrap makes in place of Docker's debian:12-slim.
"""
import configparser
import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KESSOKU, WORK = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
DOCKERFILE, DEFINITION = ROOT / "Dockerfile", ROOT / "scripts/containers/kessoku.def"
IMAGE = "localhost/kessoku-test"

# What Docker's image tells dpkg beyond debootstrap's.
SLIM = """force-unsafe-io
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/lintian/overrides/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
"""

RUN_FILE = """
seed = 1
[model]
path = "model"
[data]
store = "store"
[train]
steps = 1
global_batch = 2
[metrics]
port = -1
"""

# A user's first steps, and what two pods do: each has the job's keys and sshd.
IN_THE_IMAGE = f"""
set -eux
[ "$(id -un)" = kessoku ]
kessoku --version
kessoku init --preset tiny model
kessoku prepare images --out store --model model --resolution 64
cat >run.toml <<'END'{RUN_FILE}END
kessoku launch run.toml --out run -n 2
test -f run/checkpoints/latest/model_index.json

ssh-keygen -q -t rsa -N '' -f .ssh/id_rsa
cp .ssh/id_rsa.pub .ssh/authorized_keys
/usr/sbin/sshd -De -f /home/kessoku/.sshd_config &
server=$!
trap 'kill $server' EXIT
tries=0
until ssh 127.0.0.1 true; do tries=$((tries + 1)); [ $tries -lt 100 ]; sleep 0.1; done
ssh 127.0.0.1 kessoku --version
"""


def instructions(text):
    """(stage, word, rest) of a Dockerfile."""
    stage = -1
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            stage += word == "FROM"
            yield stage, word, rest


def sections(text):
    """(stage, section, its lines) of a definition for Apptainer; the header is the section ""."""
    stage, section, lines = -1, None, []
    for line in text.splitlines():
        if line.startswith("Bootstrap:"):
            stage, section, lines = stage + 1, "", []
            yield stage, section, lines
        elif line.startswith("%"):
            section, lines = line, []
            yield stage, section, lines
        if line.startswith((" ", "From:", "Stage:")):
            lines.append(line.strip())


class Files(unittest.TestCase):
    def test_both_run_the_same_commands(self):
        docker = list(instructions(DOCKERFILE.read_text()))
        apptainer = {(stage, name): lines for stage, name, lines in sections(DEFINITION.read_text())}
        for stage in (0, 1):
            run = [rest.replace("$SETUP", "{{ SETUP }}") for at, word, rest in docker if at == stage and word == "RUN"]
            # Who runs it is the user of the host, who needs no ssh of the container's own.
            run = [command for command in run if not command.startswith("useradd")]
            posted = [command for command in apptainer[stage, "%post"] if not command.startswith("cd ")]
            self.assertEqual(run, posted)
            base = next(rest for at, word, rest in docker if at == stage and word == "FROM").split()[0]
            self.assertIn(f"From: {base}", apptainer[stage, ""])
        copied = [rest.removeprefix("--from=build ") for at, word, rest in docker if "--from=build" in rest]
        self.assertEqual(copied, apptainer[1, "%files from build"])
        self.assertIn("ARG SETUP=--gpu", DOCKERFILE.read_text())
        self.assertEqual(apptainer[0, "%arguments"], ["SETUP=--gpu"])

    @unittest.skipUnless((ROOT / ".git").exists(), "no clone")
    def test_apptainer_takes_what_is_committed(self):
        setup = {(stage, name): lines for stage, name, lines in sections(DEFINITION.read_text())}[0, "%setup"]
        shutil.rmtree(WORK, ignore_errors=True)
        subprocess.run(["sh", "-euc", "\n".join(setup)], cwd=ROOT, check=True, env=os.environ | {"APPTAINER_ROOTFS": str(WORK)})
        committed = [subprocess.run(["git", "ls-tree", "-r", "HEAD"], cwd=folder, check=True, capture_output=True, text=True).stdout
                     for folder in (ROOT, WORK / "opt/kessoku")]
        self.assertEqual(*committed)
        self.assertTrue(os.access(WORK / "opt/kessoku/scripts/setup.sh", os.X_OK))
        shutil.rmtree(WORK)

    def test_nothing_that_git_ignores_gets_into_the_image(self):
        def patterns(path):
            lines = path.read_text().splitlines()
            return {line.strip("/").removeprefix("**/") for line in lines if line and not line.startswith("#")}

        self.assertEqual(patterns(ROOT / ".dockerignore"), patterns(ROOT / ".gitignore"))

    def test_what_is_copied_from_the_checkout_exists(self):
        for _, word, rest in instructions(DOCKERFILE.read_text()):
            if word == "COPY" and not rest.startswith("--from="):
                self.assertTrue((ROOT / rest.split()[0]).exists(), rest)


def obstacle():
    missing = [tool for tool in ("buildah", "debootstrap", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} missing"
    if os.geteuid() != 0 or subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode != 0:
        return "needs root that may mount"
    return None


@unittest.skipIf(obstacle(), obstacle())
class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        cls.addClassCleanup(shutil.rmtree, WORK, ignore_errors=True)
        cls.environment = os.environ | {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay", "TMPDIR": str(WORK)}

    @classmethod
    def call(cls, *command, seconds=3000):
        """What it printed."""
        words = [str(word) for word in command]
        done = subprocess.run(words, env=cls.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds)
        assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout[-8000:]}"
        return done.stdout

    @classmethod
    def buildah(cls, command, *arguments, inside=()):
        storage = ("--root", WORK / "storage", "--runroot", WORK / "run")
        return cls.call(*inside, "buildah", *storage, command, *arguments)

    @staticmethod
    def lent():
        """What the build shares with this machine: caches, and how pip reaches its index."""
        places = {}
        for command, place in ((("ccache", "-k", "cache_dir"), "/root/.cache/ccache"),
                               ((sys.executable, "-m", "pip", "cache", "dir"), "/root/.cache/pip")):
            folder = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
            if folder.is_dir():
                places[folder] = place
        settings = configparser.ConfigParser()
        settings.read_dict({"global": {}})
        settings.read("/etc/pip.conf")
        certificates = settings["global"].get("cert")
        if certificates:  # in another place: packages that are installed write this one anew
            places[shutil.copy(certificates, WORK / "certificates")] = "/opt/certificates"
            settings["global"]["cert"] = "/opt/certificates"
        with open(WORK / "pip.conf", "w") as file:
            settings.write(file)
        places[WORK / "pip.conf"] = "/etc/pip.conf"
        return [word for path, place in places.items() for word in ("--volume", f"{path}:{place}")]

    def test_it_is_built_and_trains(self):
        bases = {rest.split()[0] for _, word, rest in instructions(DOCKERFILE.read_text()) if word == "FROM"}
        (base,) = bases
        self.assertEqual(base, "debian:12-slim")
        self.call("debootstrap", "--variant=minbase", "bookworm", WORK / "base")
        (WORK / "base/etc/dpkg/dpkg.cfg.d/docker").write_text(SLIM)
        scratch = self.buildah("from", "scratch").split()[-1]
        self.buildah("add", "--quiet", scratch, WORK / "base", "/")
        self.buildah("commit", "--quiet", "--rm", scratch, f"docker.io/library/{base}")
        shutil.rmtree(WORK / "base")

        self.buildah("build", "--pull-never", "--network", "host", "--build-arg", "SETUP=--cpu", *self.lent(), "--tag", IMAGE,
                     "--file", DOCKERFILE, ROOT)

        container = self.buildah("from", "--pull-never", IMAGE).split()[-1]
        self.buildah("copy", "--quiet", "--chown", "1000:1000", container, ROOT / "docs/images", "/home/kessoku/images")
        alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")
        said = self.buildah("run", container, "--", "bash", "-c", IN_THE_IMAGE, inside=alone)
        version = subprocess.run([KESSOKU, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        self.assertEqual(re.findall(r"^kessoku \d.*", said, re.M), [version] * 2)
        for left in ("/opt/kessoku", "/tmp/kessoku.deb", "/usr/bin/c++"):
            self.buildah("run", container, "--", "test", "!", "-e", left)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
