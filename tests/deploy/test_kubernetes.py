"""The manifests: rendered by kustomize, held against Kubernetes' own schemas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from ..conftest import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION = "1.34"
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
    pod = rendered["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
    assert not container["image"].endswith(":latest")
    waited = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= waited + 20 + 10  # Triton's own exit, and some


def test_the_autoscaler_asks_for_the_metric_that_the_adapter_makes(rendered: dict[str, dict]) -> None:
    [rule] = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    [metric] = rendered["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


def test_the_pod_of_the_inference_service_is_one() -> None:
    service = yaml.safe_load((KUBERNETES / "kserve" / "inferenceservice.yaml").read_text())
    predictor = service["spec"]["predictor"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": service["metadata"],
        "spec": {"containers": predictor["containers"], "volumes": predictor["volumes"]},
    }
    kubernetes_validate.validate(pod, VERSION, strict=True)
