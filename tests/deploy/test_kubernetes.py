"""The manifests: rendered by kustomize and validated against Kubernetes' schemas."""

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
START = (ROOT / "deploy" / "start.sh").read_text()
VERSION = "1.34"
#: Fields that KServe adds to the pod of an InferenceService.
OF_KSERVE = {"minReplicas", "maxReplicas", "timeout", "deploymentStrategy"}
#: Resources of operators, for which no package has schemas.
WITHOUT_SCHEMA = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


def render(overlay: str) -> dict[str, dict]:
    """Return the resources of an overlay by kind."""
    kubectl = Path(sys.executable).parent / "kubectl"
    command = [kubectl, "kustomize", KUBERNETES / "overlays" / overlay]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}


@pytest.fixture(scope="module", params=["gpu", "cpu", "mig"])
def rendered(request: pytest.FixtureRequest) -> dict[str, dict]:
    return render(request.param)


def pod_of(rendered: dict[str, dict]) -> dict:
    return rendered["Deployment"]["spec"]["template"]["spec"]


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
    assert pod["terminationGracePeriodSeconds"] >= waited + 20 + 10  # Triton's exit, and a margin


def test_liveness_outwaits_the_health_check(rendered: dict[str, dict]) -> None:
    """A probe that times out counts as failed, however healthy the server is."""
    [container] = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    [image] = re.findall(r"^HEALTHCHECK .*--timeout=(\d+)s", (ROOT / "deploy" / "Dockerfile").read_text(), re.M)
    check = runpy.run_path(str(ROOT / "deploy" / "healthcheck.py"))
    for limit in (container["livenessProbe"]["timeoutSeconds"], int(image)):
        assert limit >= 3 * check["READY_TIMEOUT"] + check["TIMEOUT"] + 2  # the start of Python
    assert check["TIMEOUT"] * 1_000_000 > QUEUE_TIMEOUT_US


def test_replicas_are_apart_and_their_pool_of_threads_is_what_they_asked_for(rendered: dict[str, dict]) -> None:
    pod = pod_of(rendered)
    [spread] = pod["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == rendered["Deployment"]["spec"]["selector"]["matchLabels"]
    [threads] = pod["containers"][0]["env"]
    assert threads["name"] == "IMG2POEM_THREADS" and "${IMG2POEM_THREADS:-" in START
    assert threads["valueFrom"]["resourceFieldRef"]["resource"] == "requests.cpu"


@pytest.mark.parametrize(("overlay", "resource"), [("gpu", "nvidia.com/gpu"), ("mig", "nvidia.com/mig-1g.10gb")])
def test_a_pod_on_a_gpu_goes_where_one_is_and_needs_no_spare_one_to_be_replaced(overlay: str, resource: str) -> None:
    found = render(overlay)
    pod, rolling = pod_of(found), found["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    for kind in ("requests", "limits"):
        asked = pod["containers"][0]["resources"][kind]
        assert {name: count for name, count in asked.items() if name.startswith("nvidia.com")} == {resource: "1"}
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"} and pod["tolerations"]
    assert rolling == {"maxUnavailable": 1, "maxSurge": 0}
    assert found["HorizontalPodAutoscaler"]["spec"]["minReplicas"] > rolling["maxUnavailable"]


def test_shared_memory_is_everywhere_what_the_start_script_asks_for(rendered: dict[str, dict], predictor: dict) -> None:
    [needed] = re.findall(r"IMG2POEM_SHM_MIB:-(\d+)", START)
    for pod in (pod_of(rendered), predictor):
        [shared] = [volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm"]
        assert shared == {"medium": "Memory", "sizeLimit": f"{needed}Mi"}
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    assert {compose[name]["shm_size"] for name in ("triton-gpu", "triton-cpu")} == {f"{needed}mb"}
    page = (ROOT / "docs" / "serving.md").read_text()
    assert set(re.findall(r"--shm-size (\w+)", page)) == {f"{needed}m"}
    assert f"{needed} MiB" in page


def test_the_operators_rules_are_the_alerts_and_watch_the_job_that_they_ask_for(rendered: dict[str, dict]) -> None:
    alerts = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())
    assert rendered["PrometheusRule"]["spec"] == alerts
    jobs = set(re.findall(r'job="(\w+)"', yaml.dump(alerts)))
    [endpoint] = rendered["ServiceMonitor"]["spec"]["endpoints"]
    [prometheus] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    pods = [d for d in yaml.safe_load_all(AUTOSCALING.read_text()) if d["kind"] == "PodMonitor"]
    for one in (endpoint, *pods[0]["spec"]["podMetricsEndpoints"]):
        assert {r["replacement"] for r in one["relabelings"] if r["targetLabel"] == "job"} == jobs
    assert {prometheus["job_name"]} == jobs


def test_the_dashboard_is_a_config_map_that_grafana_finds(rendered: dict[str, dict]) -> None:
    dashboard = (ROOT / "deploy" / "grafana" / "dashboards" / "img2poem.json").read_text()
    found = rendered["ConfigMap"]
    assert found["data"] == {"img2poem.json": dashboard} and found["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_autoscaler_asks_for_the_metric_that_the_adapter_makes(rendered: dict[str, dict]) -> None:
    [rule] = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    [metric] = rendered["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


SERVICE = KUBERNETES / "kserve" / "inferenceservice.yaml"
AUTOSCALING = KUBERNETES / "kserve" / "autoscaling.yaml"


@pytest.fixture(scope="module")
def predictor() -> dict:
    """The pod of the InferenceService, with KServe's additional fields."""
    return yaml.safe_load(SERVICE.read_text())["spec"]["predictor"]


def test_the_inference_service_is_scaled_by_the_base_s_autoscaler_and_not_by_kserve(predictor: dict) -> None:
    service, base = yaml.safe_load(SERVICE.read_text()), render("gpu")["HorizontalPodAutoscaler"]["spec"]
    annotations = service["metadata"]["annotations"]
    assert annotations["serving.kserve.io/autoscalerClass"] == "external"
    assert annotations["serving.kserve.io/deploymentMode"] == "Standard"
    [scaler] = [d for d in yaml.safe_load_all(AUTOSCALING.read_text()) if d["kind"] == "HorizontalPodAutoscaler"]
    kubernetes_validate.validate(scaler, VERSION, strict=True)
    target = scaler["spec"]["scaleTargetRef"]
    assert target == {**base["scaleTargetRef"], "name": f"{service['metadata']['name']}-predictor"}
    assert scaler["spec"] == {**base, "scaleTargetRef": target}
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (base["minReplicas"], base["maxReplicas"])
    metrics = [port["containerPort"] for port in predictor["containers"][0]["ports"] if port["name"] == "metrics"]
    assert [annotations["prometheus.kserve.io/port"]] == [*map(str, metrics)]


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
    """Except for KServe's names and the ports that it allows."""
    pod = rendered["Deployment"]["spec"]["template"]["spec"]
    [container], [other] = pod["containers"], predictor["containers"]
    asked = {"path": "/v2/health/ready", "port": 8000}
    probes = {probe: {**container[probe], "httpGet": asked} for probe in ("startupProbe", "readinessProbe")}
    [threads] = container["env"]
    reference = {**threads["valueFrom"]["resourceFieldRef"], "containerName": "kserve-container"}
    its_own = {
        "name": "kserve-container",
        "ports": other["ports"],
        "env": [{**threads, "valueFrom": {"resourceFieldRef": reference}}],
    }
    assert other == {**container, **probes, **its_own}
    spread = [
        {**one, "labelSelector": predictor["topologySpreadConstraints"][0]["labelSelector"]}
        for one in pod["topologySpreadConstraints"]
    ]
    assert {name: predictor[name] for name in pod} == {
        **pod,
        "containers": [other],
        "topologySpreadConstraints": spread,
    }
    assert (
        predictor["deploymentStrategy"]["rollingUpdate"] == rendered["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    )
