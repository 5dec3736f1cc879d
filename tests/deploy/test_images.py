"""The image and the compose file, as far as they can be checked without an engine."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.processes import workers_of
from img2poem.serving import wheel
from img2poem.serving.server import Ports, TritonServer
from img2poem.serving.settings import KEY_HEADER, RESTRICTED

from ..conftest import ROOT
from ..serving.requests import KEY

DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=60)


def services() -> dict[str, dict]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def test_the_dockerfile_is_clean() -> None:
    done = run(BIN / "hadolint", DEPLOY / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_is_pinned_and_runs_as_nobody() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^ARG TRITON=\d\d\.\d\d-py3$", text, re.M) and re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.M)
    images = re.findall(r"^FROM (\S+)", text, re.M)
    assert all(re.search(r":(\$\{TRITON\}|\d[\w.-]+)$", image) for image in images)


def test_what_the_dockerfile_copies_is_there_and_in_its_context() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [
        source
        for line in re.findall(r"^COPY (.*)$", text, re.M)
        if "--from" not in line
        for source in [word for word in line.split() if not word.startswith("--")][:-1]
    ]
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), f"{source} is ignored"


def test_compose_matches_its_schema() -> None:
    done = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_every_service_is_hardened_and_pinned_and_on_this_machine_only() -> None:
    for name, service in services().items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert not service["image"].endswith(":latest") and ":" in service["image"], name
        assert all(volume.endswith(":ro") for volume in service.get("volumes", []) if volume.startswith(".")), name


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
def test_each_profile_has_one_triton_that_prometheus_finds(profile: str) -> None:
    [triton] = [
        service for name, service in services().items() if name.startswith("triton") and profile in service["profiles"]
    ]
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    [target] = config["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in triton["networks"]["default"]["aliases"]
    for mount in services()["prometheus"]["volumes"] + services()["grafana"]["volumes"]:
        if mount.startswith("."):
            assert (DEPLOY / mount.split(":")[0]).is_dir()


@pytest.fixture(scope="module")
def running(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    copy = Path(shutil.copytree(repository, tmp_path_factory.mktemp("health") / "repository"))
    with TritonServer(copy, Ports.free()) as server:
        yield server


def test_the_health_check_notices_what_triton_does_not(running: TritonServer) -> None:
    command = [DEPLOY / "healthcheck.py", running.http_url]
    assert run(*command).returncode == 0
    os.kill(workers_of(running.repository)["decode_image"], signal.SIGKILL)
    done = run(*command)
    assert done.returncode == 1 and "healthcheck:" in done.stderr and "Traceback" not in done.stderr
    assert run(DEPLOY / "healthcheck.py", "http://127.0.0.1:9").returncode == 1


@pytest.mark.parametrize("given", [True, False])
def test_the_start_script_shuts_what_needs_a_key(tmp_path: Path, given: bool) -> None:
    """The real Triton knows all the options, too."""
    key = tmp_path / "key"
    if given:
        key.write_text(KEY + "\n")
    found = started_with(tmp_path, "--more", IMG2POEM_KEY_FILE=str(key))
    options = dict(line.partition("=")[::2] for line in found)
    interfaces, _, secret = options["--http-restricted-api"].partition(":")
    name, _, value = secret.partition("=")
    assert set(interfaces.split(",")) == set(RESTRICTED) and name == KEY_HEADER
    assert value == KEY if given else re.fullmatch("[0-9a-f]{64}", value)
    assert options["--grpc-restricted-protocol"] == options["--http-restricted-api"] and "--more" in options
    known = known_options()
    assert all(option in known for option in options if option != "--more")


def test_the_start_script_removes_what_killed_processes_shared(tmp_path: Path) -> None:
    prefix = f"img2poem_{os.uname().nodename}_"
    left = Path(f"/dev/shm/{prefix}left")  # noqa: S108
    left.touch()
    options = started_with(tmp_path)
    assert not left.exists() and f"--backend-config=python,shm-region-prefix-name={prefix}" in options


def started_with(folder: Path, *more: str, **environment: str) -> list[str]:
    """Options with which the script starts Triton, in whose place a program prints them."""
    program = folder / "tritonserver"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **environment}
    command = [DEPLOY / "start.sh", *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.splitlines()


def known_options() -> set[str]:
    triton = wheel.triton_folder()
    command = [triton / "bin" / "tritonserver", "--help"]
    done = subprocess.run(command, env=wheel.environment(triton), capture_output=True, text=True, timeout=60)
    return set(re.findall(r"^  (--[\w-]+)", done.stdout + done.stderr, re.M))
