"""A real Prometheus (Debian package prometheus) over what a test's runs serve."""
import json
import re
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "metrics/provisioning/prometheus.yml"
DEADLINE = 60  # seconds


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def replaced(text, old, new):
    """`new` for `old`, which must be there."""
    assert old in text, old
    return text.replace(old, new)


def stop(process):
    """Asks a supervised run to stop, twice if need be, and waits: what goes on would write into folders that are about to go."""
    for patience in (60, DEADLINE):
        if process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            pass
    process.kill()


class Prometheus:
    """Scrapes with the configuration that the project ships, but for paths and intervals."""

    def __init__(self, folder, interval="200ms", rules=None, job=""):
        """`rules`: a file in place of the project's; None: no rules. `job`: lines of YAML to add to the job."""
        self.targets = folder / "targets"
        self.targets.mkdir(parents=True)
        config = CONFIG.read_text()
        config = replaced(config, "/var/lib/prometheus/kessoku", str(self.targets))
        config = re.sub(r"(scrape_interval|evaluation_interval|refresh_interval): \w+", rf"\1: {interval}", config)
        config = replaced(config, "rule_files:\n  - /etc/prometheus/kessoku/alerts.yml\n",
                          f"rule_files:\n  - {rules}\n" if rules else "")
        config = replaced(config, "  - job_name: kessoku\n", "  - job_name: kessoku\n" + job)
        (folder / "prometheus.yml").write_text(config)
        self.address = f"http://127.0.0.1:{free_port()}"
        self.log = open(folder / "prometheus.log", "w")
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "prometheus", f"--config.file={folder / 'prometheus.yml'}",
             f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={self.address.removeprefix('http://')}"],
            stderr=self.log)
        end = time.monotonic() + DEADLINE
        while True:
            try:
                urllib.request.urlopen(f"{self.address}/-/ready").close()
                return
            except OSError:
                assert self.process.poll() is None, (folder / "prometheus.log").read_text()
                assert time.monotonic() < end, "Prometheus is not ready"
                time.sleep(0.1)

    def close(self):
        self.process.terminate()
        self.process.wait(DEADLINE)
        self.log.close()

    def get(self, path, **parameters):
        with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    def query(self, expression, **parameters):
        """[(labels, value)] now, or at `time`."""
        return [(series["metric"], float(series["value"][1]))
                for series in self.get("query", query=expression, **parameters)["result"]]

    def value(self, expression, **parameters):
        """Of the only series; None if there is none."""
        found = self.query(expression, **parameters)
        assert len(found) < 2, found
        return found[0][1] if found else None
