"""An installed tree and the packages run in another place, with the checkout out of sight.

install_test.py KESSOKU WORK [TESTS...]
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KESSOKU, WORK = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
BUILD = KESSOKU.parent
SITE = Path(sysconfig.get_path("purelib"))  # of .venv, which has LibTorch's wheel
LICENSES = ("LICENSE", "NOTICE", "docs/third_party.md")
SHARED = ("configs/demo.toml", "configs/run-file.schema.json", "train.sbatch",
          "requirements-libtorch.txt")
LIBRARIES = ("libc6", "libhdf5", "libopenmpi", "libvips", "libyaml", "libgomp1", "openmpi-bin")
UNSHARE = ("unshare", "--map-root-user", "--mount")

RUN_FILE = """
seed = 1
[model]
path = "model"
[data]
store = "store"
[train]
steps = 1
global_batch = 2
"""

# $1: a folder outside the checkout. The wheels are put into it, then the whole checkout is hidden.
HIDE = f"""
mkdir -p "$1/site"
mount --bind {SITE} "$1/site"
mount -t tmpfs -o size=4k none {ROOT}
cd "$1"
shift
exec "$@"
"""


def checked(*command, **more):
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, **more)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def can_hide():
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


class Tree:
    """What every installed tree does. `make` returns its prefix."""

    trains = False

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.place = Path(cls.temporary.name)
        cls.prefix = cls.make(cls.place)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def run_there(self, *command, expect=0, **environment):
        """With the checkout hidden."""
        words = [*UNSHARE, "bash", "-euc", HIDE, "hide", self.place, *command]
        environment |= {"PATH": "/usr/bin:/bin", "HOME": str(self.place), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([str(word) for word in words], env=environment, capture_output=True,
                              text=True, timeout=300)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    @unittest.skipUnless(can_hide(), "mounting is not permitted here")
    def test_it_runs_where_the_checkout_is_not(self):
        kessoku, torch = self.prefix / "bin/kessoku", self.place / "site/torch"
        missing = self.run_there(kessoku, "--version", expect=64).stderr
        self.assertIn("LIBTORCH_ROOT", missing)
        self.assertEqual(missing.count("\n"), 1)

        given = {"LIBTORCH_ROOT": str(torch)}
        version = checked(KESSOKU, "--version")
        self.assertEqual(self.run_there(kessoku, "--version", **given).stdout, version)
        self.assertIn("optimizer.lr", self.run_there(kessoku, "keys", **given).stdout)
        self.run_there(kessoku, "init", "--preset", "tiny", "model", **given)  # finds its tokenizer
        self.assertIn("unet", self.run_there(kessoku, "inspect", "model", **given).stdout)
        if self.trains:
            self.train_one_step(kessoku, given)

        # LibTorch beside the program, and the command by a link.
        (self.prefix / "lib/kessoku/torch").symlink_to(torch)
        (self.place / "linked").symlink_to(kessoku)
        self.assertEqual(self.run_there("./linked", "--version").stdout, version)

    def train_one_step(self, kessoku, given):
        """`launch` starts the ranks by the program's own path."""
        (self.place / "run.toml").write_text(RUN_FILE)
        shutil.copytree(self.prefix / "share/doc/kessoku/docs/images", self.place / "images")
        prepare = ("prepare", "images", "--out", "store", "--model", "model", "--resolution", "64")
        self.run_there(kessoku, *prepare, **given)
        self.run_there(kessoku, "launch", "run.toml", "--out", "run", "-n", "2", **given)
        self.assertTrue((self.place / "run/checkpoints/latest/model_index.json").exists())

    def test_it_holds_licenses_documents_and_run_files(self):
        for name in LICENSES:
            installed = self.prefix / "share/doc/kessoku" / name
            self.assertEqual(installed.read_text(), (ROOT / name).read_text())
        shared = self.prefix / "share/kessoku"
        for name in SHARED:
            self.assertTrue((shared / name).exists(), name)

    def test_no_path_of_this_machine_is_searched_for_libraries(self):
        found = (self.prefix / "lib/kessoku").iterdir()
        programs = [path for path in found if not path.is_symlink()]
        self.assertTrue(programs)
        for program in programs:
            searched = re.search(r"R(?:UN)?PATH.*\[(.*)\]", checked("readelf", "--dynamic", program))
            for folder in searched[1].split(":") if searched else []:
                self.assertTrue(folder.startswith("$ORIGIN/"), folder)


class Installed(Tree, unittest.TestCase):
    trains = True

    @classmethod
    def make(cls, place):
        checked("cmake", "--install", BUILD, "--prefix", place / "installed")
        (place / "installed").rename(place / "moved")
        return place / "moved"

    def test_nothing_of_others_is_installed(self):
        top = [path.relative_to(self.prefix).as_posix() for path in self.prefix.glob("*/*")]
        self.assertEqual(sorted(top), ["bin/kessoku", "lib/kessoku", "share/doc", "share/kessoku"])


def package(kind):
    """The one file that CPack makes."""
    folder = WORK / kind
    shutil.rmtree(folder, ignore_errors=True)
    checked("cpack", "--config", BUILD / "CPackConfig.cmake", "-G", kind, "-B", folder)
    (made,) = [path for path in folder.iterdir() if path.is_file()]
    return made


class Archive(Tree, unittest.TestCase):
    @classmethod
    def make(cls, place):
        with tarfile.open(package("TGZ")) as archive:
            archive.extractall(place, filter="data")
        return next(place.glob("kessoku-*"))

    def test_it_unpacks_into_one_folder_that_names_the_version(self):
        version = checked(KESSOKU, "--version").split()[1]
        unpacked = [path.name for path in self.place.iterdir() if path.is_dir()]
        self.assertEqual([name for name in unpacked if name.startswith("kessoku")],
                         [f"kessoku-{version}-Linux-x86_64"])


@unittest.skipUnless(shutil.which("dpkg-deb"), "not Debian")
class DebianPackage(Tree, unittest.TestCase):
    @classmethod
    def make(cls, place):
        cls.deb = package("DEB")
        checked("dpkg-deb", "--extract", cls.deb, place / "root")
        return place / "root/usr"

    def test_it_depends_on_the_packages_of_its_libraries(self):
        depends = checked("dpkg-deb", "--field", self.deb, "Depends")
        for name in LIBRARIES:
            self.assertRegex(depends, rf"\b{name}")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
