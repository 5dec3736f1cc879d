"""The manifests: rendered by kustomize, held against Kubernetes' own schemas."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from export.triton import QUEUE_TIMEOUT_US

from ..conftest import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION = "1.34"
#: Fields of the InferenceService's pod that are KServe's own.
OF_KSERVE = {"minReplicas", "maxReplicas", "timeout"}
#: Resources of operators: no package carries their schemas.
WITHOUT_SCHEMA = {"ServiceMonitor"}


@pytest.fixture(scope="module", params=["gpu", "cpu"])
def rendered(request: pytest.FixtureRequest) -> dict[str, dict]:
    """The resources of an overlay by kind."""
    kubectl = Path(sys.executable).parent / "kubectl"
    command = [kubectl, "kustomize", KUBERNETES / "overlays" / request.param]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}


def test_every_resource_matches_its_schema(rendered: dict[str, dict]) -> None:
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} < set(rendered)
    for kind, document in rendered.items():
        if kind not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(document, VERSION, strict=True)


def test_every_selector_finds_the_pods_and_nothing_narrows_the_callers(rendered: dict[str, dict]) -> None:
    labels = rendered["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        rendered["Deployment"]["spec"]["selector"]["matchLabels"],
        rendered["Service"]["spec"]["selector"],
        rendered["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        rendered["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    monitored = rendered["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
    assert monitored and monitored.items() <= rendered["Service"]["metadata"]["labels"].items()
    callers = rendered["NetworkPolicy"]["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert callers == {"img2poem-client": "true"}
    target = rendered["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", rendered["Deployment"]["metadata"]["name"])


def test_every_port_that_is_named_exists(rendered: dict[str, dict]) -> None:
    [container] = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    named = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in named
    assert {port["targetPort"] for port in rendered["Service"]["spec"]["ports"]} <= named
    allowed = {port["port"] for rule in rendered["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}
    assert allowed == named


def test_the_pod_is_confined_and_has_time_to_drain(rendered: dict[str, dict]) -> None:
    assert_confined_and_drained(rendered["Deployment"]["spec"]["template"]["spec"])


def assert_confined_and_drained(pod: dict) -> None:
    [container] = pod["containers"]
    confined = pod["securityContext"]
    assert confined["runAsNonRoot"] and confined["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {confined[number] for number in ("runAsUser", "runAsGroup", "fsGroup")} == {10001}
    assert not pod["automountServiceAccountToken"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
    assert not container["image"].endswith(":latest")
    waited = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= waited + 20 + 10  # Triton's own exit, and some


def test_liveness_outwaits_the_health_check(rendered: dict[str, dict]) -> None:
    """A probe that is cut off counts as failed, however healthy the server is."""
    [container] = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    [image] = re.findall(r"^HEALTHCHECK .*--timeout=(\d+)s", (ROOT / "deploy" / "Dockerfile").read_text(), re.M)
    check = runpy.run_path(str(ROOT / "deploy" / "healthcheck.py"))
    for limit in (container["livenessProbe"]["timeoutSeconds"], int(image)):
        assert limit >= check["READY_TIMEOUT"] + check["TIMEOUT"] + 2  # Python's own start
    assert check["TIMEOUT"] * 1_000_000 > QUEUE_TIMEOUT_US


def test_the_autoscaler_asks_for_the_metric_that_the_adapter_makes(rendered: dict[str, dict]) -> None:
    [rule] = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    [metric] = rendered["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


@pytest.fixture(scope="module")
def predictor() -> dict:
    """The pod of the InferenceService, and what KServe asks beside it."""
    return yaml.safe_load((KUBERNETES / "kserve" / "inferenceservice.yaml").read_text())["spec"]["predictor"]


def test_the_pod_of_the_inference_service_is_one(predictor: dict) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "img2poem"},
        "spec": {name: value for name, value in predictor.items() if name not in OF_KSERVE},
    }
    kubernetes_validate.validate(pod, VERSION, strict=True)
    assert_confined_and_drained(predictor)


@pytest.mark.parametrize("rendered", ["gpu"], indirect=True)
def test_the_pod_of_the_inference_service_is_the_deployments(rendered: dict[str, dict], predictor: dict) -> None:
    """But for what KServe names, and the ports that it allows."""
    pod = rendered["Deployment"]["spec"]["template"]["spec"]
    [container], [other] = pod["containers"], predictor["containers"]
    asked = {"path": "/v2/health/ready", "port": 8000}
    probes = {probe: {**container[probe], "httpGet": asked} for probe in ("startupProbe", "readinessProbe")}
    assert other == {**container, **probes, "name": "kserve-container", "ports": other["ports"]}
    assert {name: predictor[name] for name in pod} == {**pod, "containers": [other]}
