#!/usr/bin/env python3
"""Writes metrics/dashboards/kessoku.json, the Grafana dashboard, from the panels below.

    scripts/make_dashboard.py [--check]

--check: only compares the file with what would be written (exit code 1: they differ).
"""

import argparse
import json
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "metrics/dashboards/kessoku.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RUN = 'run="$run"'
RANK = 'run="$run",rank=~"$rank"'
GREEN, YELLOW, RED = "green", "yellow", "red"

LOW_IS_GOOD = ((None, GREEN),)


def last(series, labels=RUN):
    """A gauge of the run, also while rank 0 does not answer and `launch` does."""
    return f"max(last_over_time({series}{{{labels}}}[5m]))"


def panel(kind, title, unit, description, *targets, width=6, height=8, steps=LOW_IS_GOOD, **more):
    """`targets`: (query, legend); `steps`: (from this value, color), the first from None."""
    instant = kind != "timeseries"
    made = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": instant,
                "range": not instant,
            }
            for i, (query, legend) in enumerate(targets)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"value": value, "color": color} for value, color in steps],
                },
                "custom": {},
            },
            "overrides": [],
        },
        "options": {},
    }
    defaults = made["fieldConfig"]["defaults"]
    for key in ("min", "max", "decimals", "noValue"):
        if key in more:
            defaults[key] = more.pop(key)
    if kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 60 if more.get("stack") else 0,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if more.pop("stack", False) else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if len(steps) > 1 else "off"},
            "scaleDistribution": (
                {"type": "log", "log": 10} if more.pop("log", False) else {"type": "linear"}
            ),
        }
        made["options"] = {
            "legend": {"displayMode": "list", "placement": "bottom", "calcs": ["lastNotNull"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        made["options"] = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "horizontal" if kind == "bargauge" else "auto",
        }
        if kind == "stat":
            made["options"] |= {"colorMode": "value", "graphMode": "none", "textMode": "auto"}
    assert not more, more
    return made


def stat(title, unit, description, query, **more):
    return panel("stat", title, unit, description, (query, ""), width=3, height=5, **more)


def lines(title, unit, description, *targets, **more):
    return panel("timeseries", title, unit, description, *targets, **more)


STEP_SECONDS = last("kessoku_usual_step_seconds")
SECONDS = f"max by (cause) (kessoku_run_seconds{{{RUN}}})"
RATE = f"rate(kessoku_phase_seconds_total{{{RANK}}}[$__rate_interval])"
STEPS = f"rate(kessoku_steps_total{{{RANK}}}[$__rate_interval])"

WELL = [
    stat(
        "Progress",
        "percentunit",
        "Steps taken, of all steps of the run.",
        f"{last('kessoku_step')} / {last('kessoku_planned_steps')}",
        min=0,
        max=1,
        decimals=1,
    ),
    stat(
        "Time left",
        "s",
        "Remaining steps at the pace of the last 100, pauses included.",
        f"({last('kessoku_planned_steps')} - {last('kessoku_step')}) * {STEP_SECONDS}",
    ),
    stat(
        "Goodput",
        "percentunit",
        "Share of the last 30 minutes that went into forward, backward and optimizer.",
        f'sum(delta({SECONDS.replace("{" + RUN, "{" + RUN + ",cause=" + chr(34) + "productive" + chr(34))}[30m:15s]))'
        f" / sum(delta({SECONDS}[30m:15s]))",
        min=0,
        max=1,
        decimals=1,
        steps=((None, RED), (0.5, YELLOW), (0.8, GREEN)),
    ),
    stat(
        "Samples a second",
        "suffix:/s",
        "Draws a second over all ranks, mean of five minutes.",
        f"sum(rate(kessoku_draws_total{{{RUN}}}[5m]))",
        decimals=1,
    ),
    stat(
        "Loss",
        "none",
        "Mean of the last 100 steps.",
        last("kessoku_loss_average", RUN + ',steps="100"'),
        decimals=4,
    ),
    stat(
        "Last checkpoint",
        "s",
        "Age of the newest checkpoint; a crash now would lose that much.",
        f"time() - {last('kessoku_checkpoint_timestamp_seconds')}",
        steps=((None, GREEN), (5400, YELLOW), (10800, RED)),
    ),
    stat(
        "Alerts",
        "none",
        "Alerts of this run that are firing.",
        f'count(ALERTS{{{RUN},alertstate="firing"}}) or vector(0)',
        steps=((None, GREEN), (1, RED)),
    ),
    stat(
        "Ranks that answer",
        "none",
        "Ranks that Prometheus reaches.",
        f'sum(up{{{RUN},rank!="launch"}})',
        steps=((None, RED), (1, GREEN)),
    ),
]

LEARNING = [
    lines(
        "Loss",
        "none",
        "Single steps are noisy: each has other timesteps. The averages show the trend.",
        (f"kessoku_loss{{{RUN}}}", "step"),
        (f"kessoku_loss_average{{{RUN}}}", "mean of {{steps}} steps"),
        (f"kessoku_validation_loss{{{RUN}}}", "validation"),
        width=9,
        min=0,
    ),
    lines(
        "Gradient norm",
        "none",
        "Before clipping.",
        (f"kessoku_grad_norm{{{RUN}}}", "gradient norm"),
        width=5,
        log=True,
    ),
    lines(
        "Learning rate",
        "sci",
        "Of the last step.",
        (f"kessoku_learning_rate{{{RUN}}}", "UNet"),
        (f"kessoku_text_encoder_learning_rate{{{RUN}}}", "text encoder"),
        width=5,
        min=0,
    ),
    lines(
        "Skipped steps",
        "none",
        "fp16: steps that were left out because their gradients overflowed.",
        (f"increase(kessoku_skipped_steps_total{{{RUN}}}[$__rate_interval])", "skipped"),
        width=5,
        min=0,
    ),
]

TIME = [
    lines(
        "Where the time of a step goes",
        "s",
        "Seconds a step, by phase; mean of the chosen ranks. Data and communication are waiting.",
        (f"avg by (phase) ({RATE} / on (run, rank) group_left {STEPS})", "{{phase}}"),
        width=9,
        min=0,
        stack=True,
    ),
    lines(
        "Step duration",
        "s",
        "Half of the steps, and all but one of a hundred, are at least as fast.",
        *(
            (
                f"histogram_quantile({q}, sum by (le) (rate(kessoku_step_duration_seconds_bucket"
                f"{{{RUN}}}[$__rate_interval])))",
                name,
            )
            for q, name in ((0.5, "median"), (0.99, "99 %"))
        ),
        width=6,
        min=0,
    ),
    panel(
        "bargauge",
        "Wall time since the run began",
        "s",
        "By what it went to, restarts included. Goodput is the share of productive.",
        (f"sort_desc({SECONDS})", "{{cause}}"),
        width=9,
        min=0,
    ),
]

COMMUNICATION = [
    lines(
        "Exposed communication",
        "percentunit",
        "Share of a rank's time that it waits for exchanges or slower ranks. "
        "The rank that waits least is the slow one.",
        (
            f"sum by (rank) ({RATE.replace(RANK, RANK + ',phase=' + chr(34) + 'communication' + chr(34))})"
            f" / sum by (rank) ({RATE})",
            "rank {{rank}}",
        ),
        min=0,
        steps=((None, GREEN), (0.25, YELLOW)),
    ),
    lines(
        "Exchange under way",
        "percentunit",
        "Share of the time in which an exchange is under way, hidden behind backward or not.",
        (
            f"rate(kessoku_communication_busy_seconds_total{{{RANK}}}[$__rate_interval])",
            "rank {{rank}}",
        ),
        min=0,
    ),
    lines(
        "Bytes exchanged",
        "Bps",
        "Sent to other ranks and received from them, of the chosen ranks, by operation.",
        (
            f"sum by (operation, direction) (rate(kessoku_communication_bytes_total{{{RANK}}}[$__rate_interval]))",
            "{{operation}}, {{direction}}",
        ),
        min=0,
    ),
    lines(
        "Slowness",
        "none",
        "Duration of a rank's own work, relative to the median of all ranks and to its own past.",
        (f"kessoku_rank_slowness{{{RANK}}}", "rank {{rank}} against {{against}}"),
        steps=((None, GREEN), (1.5, RED)),
    ),
]

DATA = [
    lines(
        "Waiting for data",
        "percentunit",
        "Share of a rank's time that it waits for batches.",
        (
            f"sum by (rank) ({RATE.replace(RANK, RANK + ',phase=' + chr(34) + 'data' + chr(34))})"
            f" / sum by (rank) ({RATE})",
            "rank {{rank}}",
        ),
        min=0,
        steps=((None, GREEN), (0.2, RED)),
    ),
    lines(
        "Batches ready",
        "none",
        "Micro-batches that wait for the trainer. 0: the loader is too slow.",
        (f"kessoku_loader_ready_batches{{{RANK}}}", "rank {{rank}}"),
        (f"max(kessoku_loader_capacity_batches{{{RANK}}})", "capacity"),
        min=0,
    ),
    panel(
        "bargauge",
        "Folders, asked for and drawn",
        "percentunit",
        "Shares of the draws since the process began.",
        (f"sort(kessoku_category_share{{{RUN}}})", "{{category}} {{of}}"),
        min=0,
        decimals=1,
    ),
    lines(
        "Captions and rows",
        "percentunit",
        "Share of the captions that are empty or too long; draws whose row is damaged.",
        *(
            (
                f"sum(rate(kessoku_captions_{kind}_total{{{RUN}}}[$__rate_interval]))"
                f" / sum(rate(kessoku_captions_total{{{RUN}}}[$__rate_interval]))",
                kind,
            )
            for kind in ("empty", "truncated")
        ),
        (
            f"sum(rate(kessoku_bad_rows_total{{{RUN}}}[$__rate_interval]))"
            f" / sum(rate(kessoku_draws_total{{{RUN}}}[$__rate_interval]))",
            "damaged rows",
        ),
        min=0,
    ),
]

CHECKPOINTS = [
    lines(
        "Age of the newest checkpoint",
        "s",
        "And the interval that the run file asks for.",
        (
            f"time() - max by (run) (kessoku_checkpoint_timestamp_seconds{{{RUN}}})",
            "age",
        ),
        (f"kessoku_checkpoint_interval_seconds{{{RUN}}}", "interval"),
        min=0,
    ),
    lines(
        "Writing",
        "s",
        "Time from the copy to the last byte on disk, and how long training waited, per minute.",
        (f"kessoku_checkpoint_duration_seconds{{{RUN}}}", "written in"),
        (
            f'60 * rate(kessoku_phase_seconds_total{{{RUN},rank="0",phase="checkpoint"}}[$__rate_interval])',
            "training waited, a minute",
        ),
        min=0,
    ),
    lines(
        "Checkpoints and restarts",
        "none",
        "Since the process began; starts since the run began.",
        (f"kessoku_checkpoints_total{{{RUN}}}", "{{result}}"),
        (f"max(kessoku_run_starts{{{RUN}}})", "starts"),
        min=0,
    ),
    lines(
        "Ranks and hosts",
        "none",
        "In use, and asked for from launch.",
        (f"kessoku_world_size{{{RUN}}}", "ranks"),
        (f'kessoku_launch_ranks{{{RUN},of="asked"}}', "ranks asked for"),
        (f"kessoku_hosts{{{RUN}}}", "hosts"),
        min=0,
    ),
]

NODE = 'job=~"node.*"'
MACHINE = [
    lines(
        "Memory of the ranks",
        "bytes",
        "Resident memory; on GPUs what LibTorch has allocated and reserved.",
        (f'kessoku_memory_bytes{{{RANK},kind!="peak"}}', "rank {{rank}} {{kind}}"),
        min=0,
    ),
    lines(
        "Disk of the run folder",
        "bytes",
        "Free space; the dashed alert is at 5 % or two checkpoints.",
        (f"kessoku_disk_free_bytes{{{RUN}}}", "free"),
        (f"kessoku_checkpoint_bytes{{{RUN}}}", "a checkpoint"),
        min=0,
    ),
    lines(
        "Floating-point operations",
        "flops",
        "A second, of forward and backward of all ranks.",
        (f"sum(rate(kessoku_flops_total{{{RUN}}}[$__rate_interval]))", "all ranks"),
        min=0,
    ),
    lines(
        "Share of the peak (MFU)",
        "percentunit",
        "Floating-point operations a second of the last step, relative to metrics.peak_tflops; only where that is set.",
        (f"kessoku_model_flops_utilization{{{RUN}}}", "MFU"),
        min=0,
        max=1,
    ),
    lines(
        "CPU (node_exporter)",
        "percentunit",
        "Share of the cores in use, by host; needs node_exporter.",
        (
            f'1 - avg by (instance) (rate(node_cpu_seconds_total{{{NODE},mode="idle"}}[$__rate_interval]))',
            "{{instance}}",
        ),
        min=0,
        max=1,
    ),
    lines(
        "Network (node_exporter)",
        "Bps",
        "Bytes sent and received, by host; needs node_exporter.",
        (
            f'sum by (instance) (rate(node_network_transmit_bytes_total{{{NODE},device!="lo"}}[$__rate_interval]))',
            "{{instance}} sent",
        ),
        (
            f'sum by (instance) (rate(node_network_receive_bytes_total{{{NODE},device!="lo"}}[$__rate_interval]))',
            "{{instance}} received",
        ),
        min=0,
    ),
    lines(
        "GPU in use (dcgm-exporter)",
        "percentunit",
        "Share of the time in which the tensor cores are busy; needs dcgm-exporter.",
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "{{Hostname}} GPU {{gpu}}"),
        min=0,
        max=1,
    ),
    lines(
        "GPU temperature (dcgm-exporter)",
        "celsius",
        "Needs dcgm-exporter.",
        ("DCGM_FI_DEV_GPU_TEMP", "{{Hostname}} GPU {{gpu}}"),
        steps=((None, GREEN), (85, RED)),
    ),
    lines(
        "GPU power (dcgm-exporter)",
        "watt",
        "Needs dcgm-exporter.",
        ("DCGM_FI_DEV_POWER_USAGE", "{{Hostname}} GPU {{gpu}}"),
        min=0,
    ),
    lines(
        "GPU errors (dcgm-exporter)",
        "none",
        "Number of the last XID error; 0 is none. Needs dcgm-exporter.",
        ("DCGM_FI_DEV_XID_ERRORS", "{{Hostname}} GPU {{gpu}}"),
        steps=((None, GREEN), (1, RED)),
    ),
]

ROWS = [
    ("Is it well?", WELL),
    ("Learning", LEARNING),
    ("Where time goes", TIME),
    ("Communication and slow ranks", COMMUNICATION),
    ("Data and mixture", DATA),
    ("Checkpoints and restarts", CHECKPOINTS),
    ("Machine", MACHINE),
]


def variable(name, label, query, multi):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 3,
        "multi": multi,
        "includeAll": multi,
        **({"allValue": ".*"} if multi else {}),
    }


def place(rows):
    """Panels with their places and numbers, rows one below the other."""
    panels, y = [], 0
    for title, members in rows:
        panels.append(
            {
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
                "panels": [],
            }
        )
        y += 1
        x = 0
        for member in members:
            size = member["gridPos"]
            if x + size["w"] > 24:
                x, y = 0, y + size["h"]
            member["gridPos"] = {"x": x, "y": y, **size}
            x += size["w"]
            panels.append(member)
        y += members[-1]["gridPos"]["h"]
    return [{"id": i + 1, **each} for i, each in enumerate(panels)]


def dashboard():
    return {
        "uid": "kessoku",
        "title": "Kessoku",
        "description": "One run of Kessoku. See docs/monitoring.md.",
        "tags": ["kessoku"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {
            "list": [
                {
                    "name": "Restarts",
                    "datasource": SOURCE,
                    "enable": True,
                    "iconColor": "orange",
                    "expr": f"changes(kessoku_launch_restarts_total{{{RUN}}}[1m]) > 0",
                }
            ]
        },
        "templating": {
            "list": [
                {
                    "type": "datasource",
                    "name": "datasource",
                    "label": "Prometheus",
                    "query": "prometheus",
                },
                variable("run", "Run", "label_values(kessoku_build_info, run)", multi=False),
                variable(
                    "rank",
                    "Rank",
                    'label_values(kessoku_steps_total{run="$run"}, rank)',
                    multi=True,
                ),
            ]
        },
        "panels": place(ROWS),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    text = json.dumps(dashboard(), indent=1) + "\n"
    if parser.parse_args().check:
        if FILE.read_text() != text:
            print(f"{FILE} is out of date: run scripts/make_dashboard.py", file=sys.stderr)
            return 1
        return 0
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
