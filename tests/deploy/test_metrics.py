"""Dashboard, alerts and autoscaler query metrics that the real server exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator

import promql_parser
import pytest
import yaml

from img2poem.serving.server import TritonServer

from ..conftest import ROOT

DEPLOY = ROOT / "deploy"
#: Exported only with an NVIDIA GPU; from Triton's documentation of its metrics.
GPU_ONLY = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}
#: Exported by releases newer than the wheel's (core, metric_model_reporter.cc of 26.06); ``start.sh`` enables them.
NEWER = {"nv_inference_first_response_histogram_ms_bucket"}


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each PromQL expression with its location."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "img2poem.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for rule in yaml.safe_load((DEPLOY / "kubernetes" / "prometheus-adapter.yaml").read_text())["rules"]["custom"]:
        yield "adapter", rule["seriesQuery"]
        query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'pod="x"')
        yield "adapter", query


@pytest.mark.parametrize(("place", "expression"), expressions())
def test_every_expression_is_promql(place: str, expression: str) -> None:
    promql_parser.parse(expression)


def test_every_metric_is_one_that_the_server_gives(server: TritonServer) -> None:
    with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
        given = set(re.findall(r"^((?:nv|img2poem)_\w+)", response.read().decode(), re.M))
    names = r"\b(?:nv_\w+|img2poem_\w+_total)"
    asked = {name for _, expression in expressions() for name in re.findall(names, expression)}
    assert asked - given <= GPU_ONLY | NEWER
    assert any(name.startswith("img2poem") for name in asked) and any(name.startswith("nv") for name in asked)


def test_every_label_that_is_asked_for_is_one_that_the_server_gives(server: TritonServer) -> None:
    with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
        text = response.read().decode()
    reasons = set(re.findall(r'^nv_inference_request_failure\{.*reason="(\w+)"', text, re.M))
    models = set(re.findall(r'^nv_inference_count\{model="(\w+)"', text, re.M))
    assert {"REJECTED", "CANCELED"} <= reasons and {"decode_image", "img2poem"} <= models


def test_the_dashboard_uses_the_data_source_that_is_provisioned() -> None:
    folder = DEPLOY / "grafana" / "provisioning" / "datasources"
    [source] = yaml.safe_load((folder / "prometheus.yaml").read_text())["datasources"]
    panels = json.loads((DEPLOY / "grafana" / "dashboards" / "img2poem.json").read_text())["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(
    "command",
    [["check", "config", "prometheus.yaml"], ["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]],
)
def test_promtool_accepts_config_and_alerts(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=DEPLOY / "prometheus", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
