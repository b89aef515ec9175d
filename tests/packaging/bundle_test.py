"""A bundle for machines without network is small, has its licenses, says what is missing, and configures the build where nothing of
Debian's development packages is to be seen.

    bundle_test.py KESSOKU WORK_FOLDER [TESTS...]
"""
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import unittest
from pathlib import Path

ROOT, WORK = Path(__file__).resolve().parents[2], Path(sys.argv[2]).resolve()
TORCH = Path(sysconfig.get_path("purelib")) / "torch"
ARCHIVE, THERE = WORK / "kessoku-bundle.tar.xz", WORK / "kessoku-bundle"
PACKED = THERE / "bundle/root"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
MOST = 60_000_000
# Part of every system with a C++ compiler.
OF_THE_SYSTEM = re.compile(r"/(ld-linux-x86-64|lib(c|m|dl|rt|pthread|util|resolv|stdc\+\+|gcc_s|gomp|atomic))\.so")
WHEELS = TORCH.parent / "nvidia"
ALONE = ("unshare", "--map-root-user", "--mount", "--net")
# Hides what the bundle brings, as far as compiler and Python can do without it, and the headers that LibTorch's wheel does not depend on;
# then runs a command without network.
HIDE = f"""
ip link set lo up
empty() {{ [ ! -d "$1" ] || mount -t tmpfs -o ro,size=4k none "$1"; }}
cover() {{ [ ! -f "$1" ] || mount --bind /dev/null "$1"; }}
for file in {PACKED}/usr/include/*; do
  name=/usr/include/${{file##*/}}
  case $name in */x86_64-linux-gnu) ;; *) empty $name; cover $name ;; esac
done
for folder in /{LIBRARIES}/cmake /{LIBRARIES}/pkgconfig /{LIBRARIES}/openmpi /{LIBRARIES}/pmix2 /{LIBRARIES}/glib-2.0 /{LIBRARIES}/icu /usr/share/cmake \\
              /usr/share/cmake-* /usr/share/pkgconfig /usr/share/openmpi /usr/share/javascript; do empty $folder; done
for file in /{LIBRARIES}/lib{{civetweb,fmt,gio-2,gobject-2,glib-2,gtest,gmock,hdf5,icu,jpeg,mpi,open-,prometheus,tomlplusplus,vips,xxhash,yaml}}*.so.*.*; do
  cover $file
done
for file in cmake ctest ninja pkgconf mpirun orterun orted opal_wrapper h5cc; do cover "$(readlink -f /usr/bin/$file)"; done
for folder in {WHEELS}/cu*/include/crt; do empty $folder; done
cd {THERE}
exec "$@"
"""


def can_be_alone():
    return subprocess.run([*ALONE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0


def run(*command, expect=0, **environment):
    done = subprocess.run([str(word) for word in command], env=os.environ | {k: str(v) for k, v in environment.items()},
                          capture_output=True, text=True)
    assert done.returncode == expect, f"{command}: exit code {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def alone(*command, **environment):
    return run(*ALONE, "bash", "-euc", HIDE, "alone", *command, **environment)


def from_bundle(*options, expect=0, **environment):
    return run(THERE / "scripts/from_bundle.sh", *options, expect=expect, **environment)


def programs_and_libraries():
    for path in PACKED.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with open(path, "rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        print(run(ROOT / "scripts/bundle.sh", ARCHIVE), flush=True)
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(WORK, filter="data")  # refuses what would leave the folder

    def test_it_is_smaller_than_60_mb(self):
        self.assertLess(ARCHIVE.stat().st_size, MOST)

    def test_it_is_one_folder_with_the_source_as_it_is_here(self):
        self.assertEqual([path.name for path in WORK.iterdir() if path.is_dir()], [THERE.name])
        listed = run("git", "-C", ROOT, "ls-files", "-z").split("\0")[:-1]
        for name in listed:
            if (ROOT / name).is_file() and not name.startswith("models/demo-base/training/"):
                self.assertEqual((THERE / name).read_bytes(), (ROOT / name).read_bytes(), name)
        self.assertTrue((THERE / "models/clip-tokenizer/vocab.json").exists())

    def test_every_package_has_its_license_with_it(self):
        licenses = THERE / "bundle/licenses"
        listed = dict(line.split(" ", 1) for line in (licenses / "PACKAGES").read_text().splitlines() if line[0] != "#")
        ours = {"mpirun", "pkg-config"}  # written by scripts/bundle.sh, or a link to what is beside it
        files = [path.relative_to(PACKED) for path in PACKED.rglob("*")
                 if path.is_file() and not path.is_symlink() and path.suffix != ".pc" and path.name not in ours]
        self.assertGreater(len(files), 1000)
        # Debian 12 records files below /lib as such, although /lib is a link to /usr/lib.
        names = [name for file in files for name in (f"/{file}", f"/{file}".replace("/usr/lib/", "/lib/"))]
        asked = subprocess.run(["dpkg-query", "-S", *names], capture_output=True, text=True).stdout
        owners = {line.split(": ", 1)[1].removeprefix("/usr"): line.split(":", 1)[0] for line in asked.splitlines()}
        for file in files:
            package = owners.get(f"/{file}".removeprefix("/usr"))
            self.assertIsNotNone(package, f"{file} is of no package")
            self.assertIn(package, listed)
            self.assertGreater((licenses / package / "copyright").stat().st_size, 100)
        self.assertTrue((licenses / "common-licenses/LGPL-2.1").exists())
        for name in ("diffusers", "lion_pytorch"):
            self.assertTrue(list((THERE / "bundle/python" / name).glob("*.dist-info/**/LICENSE*")), name)

    def test_libraries_find_each_other_in_the_bundle(self):
        count = 0
        for path in programs_and_libraries():
            for line in run("ldd", path, expect=0).splitlines():
                found = re.search(r"=> (.*?)(?: \(|$)", line)
                if found and not OF_THE_SYSTEM.search(found[1]):
                    count += 1
                    self.assertTrue(Path(found[1]).resolve().is_relative_to(PACKED), f"{path}: {line}")
        self.assertGreater(count, 1000)

    def test_libraries_are_there_under_the_names_that_programs_look_for(self):
        count = 0
        for path in PACKED.joinpath(LIBRARIES).glob("*.so*"):
            name = re.search(r"SONAME\s+(\S+)", run("objdump", "-p", path))
            if name:
                count += 1
                self.assertTrue((path.parent / name[1]).exists(), f"{path}: {name[1]}")
        self.assertGreater(count, 50)

    def test_what_is_missing_is_said(self):
        torch = {"LIBTORCH_ROOT": TORCH}
        self.assertIn("no C++ compiler: no-such-compiler", from_bundle(CXX="no-such-compiler", expect=64, **torch))
        self.assertIn("cannot build a C++20 program", from_bundle(CXX="false", expect=64, **torch))
        self.assertIn("no LibTorch at /nowhere", from_bundle(LIBTORCH_ROOT="/nowhere", expect=64))
        self.assertIn("has no torch: set LIBTORCH_ROOT", from_bundle(KESSOKU_PYTHON="/usr/bin/false", expect=64))
        old = WORK / "old"
        for minor in (9, 10):
            version = f"#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR {minor}\n"
            for name, text in (("lib/libtorch_cpu.so", ""), ("include/ATen/ATen.h", ""), ("include/torch/headeronly/version.h", version)):
                (old / name).parent.mkdir(parents=True, exist_ok=True)
                (old / name).write_text(text)
            self.assertIn(f"is 2.{minor}, and 2.11 or later is needed", from_bundle(LIBTORCH_ROOT=old, expect=64))
        shutil.rmtree(old)
        needs = THERE / "bundle/needs"
        was = needs.read_text()
        for key, words in (("glibc", "the bundle's libraries need 9.99 or later"), ("libstdc++", "GLIBCXX_9.99 or later")):
            needs.write_text(re.sub(rf"^({re.escape(key)} (?:GLIBCXX_)?).*", r"\g<1>9.99", was, flags=re.M))
            self.assertIn(words, from_bundle(expect=64, **torch))
        needs.write_text(was)
        self.assertIn("no bundle here", run(ROOT / "scripts/from_bundle.sh", expect=64))
        self.assertIn("run scripts/from_bundle.sh first", run(THERE / "scripts/gpu_selftest.sh", "--bundle", expect=64))

    @unittest.skipUnless(can_be_alone(), "neither mounting nor an own network is permitted here")
    def test_it_configures_without_network_and_development_packages(self):
        print(alone("scripts/from_bundle.sh", "--stand-ins", "--configure", LIBTORCH_ROOT=TORCH, KESSOKU_PYTHON=sys.executable), flush=True)
        cache = (THERE / "build/CMakeCache.txt").read_text()
        # libdl and librt are the C library's.
        self.assertEqual(re.findall(r"^(?!LIBDL|LIBRT).*=/usr/(?:include|lib|share).*$", cache, re.M), [])
        self.assertIn(f"={PACKED}/usr/lib/x86_64-linux-gnu/libhdf5_serial.so", cache)
        log = (THERE / "build.log").read_text()
        self.assertIn(f"Found NCCL: {WHEELS}/nccl/lib/libnccl.so", log)
        self.assertNotIn("not used by the project", log)

    @unittest.skipUnless(can_be_alone(), "neither mounting nor an own network is permitted here")
    def test_without_nccl_it_is_for_one_gpu_and_says_so(self):
        def configure(*options, then=""):
            command = f"mount -t tmpfs none {WHEELS}/nccl && rm -rf build && scripts/from_bundle.sh --configure {' '.join(options)} {then}"
            return alone("bash", "-c", command, LIBTORCH_ROOT=TORCH, KESSOKU_PYTHON=sys.executable)

        self.assertIn("the program will use one GPU a run", configure())
        self.assertIn("--stand-ins need NCCL", configure("--stand-ins", then="|| [ $? = 64 ]"))


if __name__ == "__main__":
    done = unittest.main(argv=[sys.argv[0], *sys.argv[3:]], exit=False)
    if not done.result.wasSuccessful():
        sys.exit(1)
    shutil.rmtree(WORK)
