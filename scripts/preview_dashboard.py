#!/usr/bin/env python3
"""Shows the Grafana dashboard without Grafana: runs the queries of all panels against a Prometheus and
draws the first two rows with headless Chromium.

    scripts/preview_dashboard.py PROMETHEUS_URL --run NAME --out PICTURE.png [--minutes N] [--rows N]

Prints a line for each query: panel, number of series. Exit code 1: Prometheus refuses a query.
"""

import argparse
import html
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

DASHBOARD = Path(__file__).resolve().parents[1] / "metrics/dashboards/kessoku.json"
CHARTS = ("/usr/share/javascript/chart.js/chart.min.js", "/usr/share/nodejs/chart.js/dist/chart.min.js")
COLUMN, LINE = 78, 36  # pixels of a column of 24 and of a line of the grid
PAGE = """<!doctype html><meta charset="utf-8"><script>%(charts)s</script><style>
body { margin: 8px; background: #111217; color: #ccccdc; font: 13px sans-serif }
.grid { display: grid; grid-template-columns: repeat(24, %(column)dpx); grid-auto-rows: %(line)dpx; gap: 0 }
.row { grid-column: 1 / -1; font-size: 15px; padding: 10px 6px 0 }
.panel { margin: 4px; padding: 6px 10px; background: #181b1f; border: 1px solid #2a2d33; border-radius: 2px;
         display: flex; flex-direction: column; overflow: hidden }
.title { font-weight: 500 }
.value { flex: 1; display: flex; align-items: center; justify-content: center; font-size: 34px }
.bars { flex: 1; display: grid; grid-template-columns: max-content 1fr max-content; gap: 2px 8px; align-items: center;
        align-content: space-evenly; font-size: 11px }
.bar { height: 9px; background: #73bf69; border-radius: 1px }
.chart { flex: 1; position: relative; min-height: 0 }
</style><div class="grid">%(panels)s</div><script>
const data = %(data)s
function text(value, unit) {
  const metric = (v, names, base) => { let i = 0; while (Math.abs(v) >= base && i < names.length - 1) { v /= base; ++i }
                                       return +v.toPrecision(3) + " " + names[i] }
  if (unit == "percentunit") return +(100 * value).toPrecision(3) + " %%"
  if (unit == "s") return Math.abs(value) < 1 ? +(1000 * value).toPrecision(3) + " ms" : +value.toPrecision(3) + " s"
  if (unit == "bytes") return metric(value, ["B", "KiB", "MiB", "GiB", "TiB"], 1024)
  if (unit == "Bps") return metric(value, ["B/s", "kB/s", "MB/s", "GB/s"], 1000)
  if (unit == "flops") return metric(value, ["FLOP/s", "kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s"], 1000)
  if (unit == "sci") return value == 0 ? "0" : value.toExponential(1)
  return "" + +value.toPrecision(4)
}
Chart.defaults.color = "#9a9aa8"
for (const [id, panel] of Object.entries(data)) {
  const limit = panel.limits.map(value => ({ label: "", data: [{ x: panel.from, y: value }, { x: panel.to, y: value }],
                                             borderColor: "#f2495c", borderDash: [6, 4], borderWidth: 1, pointRadius: 0 }))
  new Chart(document.getElementById(id), { type: "line",
    data: { datasets: [...panel.series.map((s, i) => ({ label: s.name, data: s.points, borderWidth: 1.3, pointRadius: 0,
      borderColor: panel.colors[i %% panel.colors.length], backgroundColor: panel.colors[i %% panel.colors.length] + "99",
      fill: panel.stack ? (i ? "-1" : "origin") : false })), ...limit] },
    options: { animation: false, responsive: true, maintainAspectRatio: false, parsing: false, normalized: true,
      plugins: { legend: { position: "bottom", labels: { boxWidth: 10, boxHeight: 3, filter: item => item.text } } },
      scales: { x: { type: "linear", min: panel.from, max: panel.to, grid: { color: "#25282e" },
                     ticks: { maxTicksLimit: 6, callback: v => new Date(1000 * v).toISOString().slice(11, panel.to - panel.from < 600 ? 19 : 16) } },
                y: { type: panel.log ? "logarithmic" : "linear", stacked: panel.stack, suggestedMin: panel.min, grid: { color: "#25282e" },
                     ticks: { maxTicksLimit: 6, callback: v => text(v, panel.unit) } } } } })
}
for (const dataset of Object.values(data)) document.title = "ready"
</script>"""
COLORS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#c0d8ff"]
NAMED = {"green": "#73bf69", "yellow": "#fade2a", "red": "#f2495c"}


class Queries:
    """The panels' queries, with the dashboard's variables replaced, as Grafana does."""

    def __init__(self, address, run, minutes):
        self.address, self.run = address.rstrip("/"), run
        self.end = time.time()
        self.begin = self.end - 60 * minutes
        self.step = max(1, round(60 * minutes / 300))

    def get(self, path, **parameters):
        address = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{parameters['query']}: {error.read().decode()}") from error

    def ask(self, target):
        """[(legend, [[time, value], …])]"""
        interval = f"{max(4 * self.step, 20)}s"
        query = target["expr"].replace("$__rate_interval", interval)
        query = query.replace("$run", self.run).replace("$rank", ".*")
        if target["instant"]:
            found = self.get("query", query=query, time=self.end)
            series = [(each["metric"], [each["value"]]) for each in found]
        else:
            found = self.get("query_range", query=query, start=self.begin, end=self.end, step=self.step)
            series = [(each["metric"], each["values"]) for each in found]
        return [(legend(target["legendFormat"], labels), [[t, float(v)] for t, v in points]) for labels, points in series]


def legend(form, labels):
    for name, value in labels.items():
        form = form.replace("{{" + name + "}}", value)
    return form


def duration(seconds):
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if abs(seconds) >= 1 else f"{1000 * seconds:.0f} ms"


def shown(value, unit, decimals):
    if value != value:
        return "NaN"
    if unit == "percentunit":
        return f"{100 * value:.{decimals or 0}f} %"
    if unit == "s":
        return duration(value)
    number = f"{value:.{decimals}f}" if decimals is not None else f"{value:g}"
    return number + " " + unit.removeprefix("suffix:") if unit.startswith("suffix:") else number


def color_of(value, steps):
    return NAMED[[step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]]


def draw_stat(panel, series):
    defaults = panel["fieldConfig"]["defaults"]
    if not series:
        return '<div class="value">No data</div>'
    value = series[0][1][-1][1]
    color = color_of(value, defaults["thresholds"]["steps"])
    return f'<div class="value" style="color: {color}">{html.escape(shown(value, defaults["unit"], defaults.get("decimals")))}</div>'


def draw_bars(panel, series):
    defaults = panel["fieldConfig"]["defaults"]
    most = max((points[-1][1] for _, points in series), default=0) or 1
    rows = [f'<div>{html.escape(name)}</div><div><div class="bar" style="width: {100 * points[-1][1] / most:.1f}%"></div></div>'
            f'<div>{html.escape(shown(points[-1][1], defaults["unit"], defaults.get("decimals")))}</div>' for name, points in series]
    return f'<div class="bars">{"".join(rows)}</div>'


def chart_of(panel, series, queries):
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    return {"series": [{"name": name, "points": [{"x": t, "y": v} for t, v in points]} for name, points in series], "unit": defaults["unit"], "colors": COLORS,
            "min": defaults.get("min"), "stack": custom["stacking"]["mode"] == "normal", "log": custom["scaleDistribution"]["type"] == "log",
            "from": queries.begin, "to": queries.end, "limits": [s["value"] for s in defaults["thresholds"]["steps"] if s["value"] is not None]}


def render(page, picture, height):
    width = 24 * COLUMN + 16
    subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}",
                    "--virtual-time-budget=3000", f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True, timeout=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus")
    parser.add_argument("--run", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rows", type=int, default=2)
    options = parser.parse_args()
    queries = Queries(options.prometheus, options.run, options.minutes)
    panels, charts, rows, bottom = [], {}, 0, 0
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        where = f"grid-column: {place['x'] + 1} / span {place['w']}; grid-row: {place['y'] + 1} / span {place['h']}"
        if panel["type"] == "row":
            rows += 1
            if rows <= options.rows:
                panels.append(f'<div class="row" style="{where}">{panel["title"]}</div>')
            continue
        series = []
        for target in panel["targets"]:
            found = queries.ask(target)
            print(f"{panel['title']}\t{target['refId']}\t{len(found)}")
            series += found
        if rows > options.rows:
            continue
        bottom = max(bottom, place["y"] + place["h"])
        if panel["type"] == "timeseries":
            name = f"chart{panel['id']}"
            charts[name] = chart_of(panel, series, queries)
            body = f'<div class="chart"><canvas id="{name}"></canvas></div>'
        else:
            body = (draw_bars if panel["type"] == "bargauge" else draw_stat)(panel, series)
        panels.append(f'<div class="panel" style="{where}"><div class="title">{html.escape(panel["title"])}</div>{body}</div>')
    code = next(Path(place) for place in CHARTS if Path(place).exists()).read_text()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "dashboard.html"
        page.write_text(PAGE % {"charts": code, "column": COLUMN, "line": LINE, "panels": "\n".join(panels), "data": json.dumps(charts)})
        render(page, options.out.resolve(), bottom * LINE + 16)
    return 0


if __name__ == "__main__":
    sys.exit(main())
