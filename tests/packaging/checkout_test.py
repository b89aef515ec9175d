"""What a checkout promises to whoever builds it: no hidden needs, licenses, presets, a version.

.venv/bin/python tests/packaging/checkout_test.py build/kessoku WORK
"""

import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KESSOKU = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/kessoku").resolve()
BUILD = KESSOKU.parent


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def is_debian_12():
    release = Path("/etc/os-release")
    return release.exists() and re.search(r'^VERSION_ID="12"$', release.read_text(), re.M)


class Build(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lines = output("ninja", "-C", str(BUILD), "-t", "deps").splitlines()
        cls.objects = sum(bool(line) and not line[0].isspace() for line in lines)
        cls.headers = {line.strip() for line in lines if line.startswith(" ")}

    def test_no_object_depends_on_what_this_machine_has_in_usr_local(self):
        self.assertGreater(self.objects, 100)
        self.assertEqual([header for header in self.headers if header.startswith("/usr/local/")], [])

    def test_every_header_of_cuda_and_nccl_comes_from_the_wheels(self):
        named = re.compile(r"/(cuda\w*|nccl|crt/\w+)\.(h|hpp)$")  # but those that LibTorch calls so
        found = {header for header in self.headers if named.search(header) and "/torch/include/" not in header}
        for name in ("cuda_runtime.h", "cuda_fp16.h", "crt/host_config.h", "nccl.h"):
            self.assertTrue(any(header.endswith(f"/{name}") for header in found), name)
        self.assertEqual([header for header in found if "/site-packages/nvidia/" not in header], [])

    def test_the_version_names_the_commit(self):
        said = output(str(KESSOKU), "--version").strip()
        self.assertRegex(said, r"^kessoku \d+\.\d+\.\d+ \(\S+\)$")
        if (ROOT / ".git").exists():
            revision = re.search(r"\((\S+)\)$", said)[1]
            output("git", "rev-parse", "--verify", revision + "^{commit}")

    def test_a_commit_does_not_change_what_most_files_are_compiled_from(self):
        revision = re.search(r"\((\S+)\)", output(str(KESSOKU), "--version"))[1]
        commands = (BUILD / "compile_commands.json").read_text()
        self.assertNotIn(revision, commands)


class Presets(unittest.TestCase):
    def test_cmake_reads_them(self):
        listed = output("cmake", "--list-presets")
        for name in ("release", "debug", "asan", "tsan", "coverage"):
            self.assertIn(f'"{name}"', listed)

    def test_each_has_a_folder_that_git_ignores(self):
        presets = json.loads((ROOT / "CMakePresets.json").read_text())["configurePresets"]
        for name in (preset["name"] for preset in presets if not preset.get("hidden")):
            folder = "build" if name == "release" else f"build-{name}"
            output("git", "check-ignore", f"{folder}/CMakeCache.txt")


class Licenses(unittest.TestCase):
    @unittest.skipUnless(is_debian_12(), "names and licenses are those of Debian 12's packages")
    def test_the_list_of_third_party_software_is_up_to_date(self):
        run = subprocess.run(
            [sys.executable, "scripts/third_party.py", "--check", "--build", str(BUILD)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual(run.returncode, 0, run.stderr)

    def test_the_license_is_the_apache_license(self):
        text = (ROOT / "LICENSE").read_text()
        self.assertIn("Apache License\n                           Version 2.0", text)
        self.assertIn("END OF TERMS AND CONDITIONS", text)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
