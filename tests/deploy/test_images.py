"""The image and the compose file, as far as they can be checked without a container engine."""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.processes import workers_of
from benchmarks.streams import client_of, inputs_of
from export.triton import MAX_QUEUE
from img2poem.serving import wheel
from img2poem.serving.server import Ports, TritonServer
from img2poem.serving.settings import KEY_HEADER, RESTRICTED

from ..conftest import ROOT, encoded
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


def test_the_dockerfile_makes_its_environment_without_ensurepip(tmp_path: Path) -> None:
    """Triton's image lacks it; the commands are run unchanged, on a package of one line."""
    [commands] = re.findall(r"^RUN (python3 -m venv (?:.*\\\n)*.*)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    environment, wheels = tmp_path / "environment", tmp_path / "wheels"
    commands = commands.replace("/opt/img2poem", str(environment)).replace("/tmp/wheels", str(wheels))  # noqa: S108
    wheels.mkdir()
    with ZipFile(wheels / "poem-1-py3-none-any.whl", "w") as package:
        package.writestr("poem.py", "line = 'a rose'\n")
        package.writestr("poem-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: poem\nVersion: 1\n")
        package.writestr("poem-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        package.writestr("poem-1.dist-info/RECORD", "")
    python3 = tmp_path / "python3"
    python3.write_text(
        "#!/bin/sh\n"
        'case "$*" in *without-pip*) ;; *"-m venv"*) echo "ensurepip is not available" >&2; exit 1 ;; esac\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    python3.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(["sh", "-euc", commands], env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run(environment / "bin" / "python3", "-c", "import poem; print(poem.line)").stdout == "a rose\n"
    assert not wheels.exists()


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


def test_a_busy_server_is_a_healthy_one(running: TritonServer) -> None:
    """Its decoders' queue is full: further pictures are refused."""
    large = encoded(Image.new("RGB", (4000, 3000)), "PNG")
    inputs = inputs_of({"image": np.array([[large]], np.object_)})
    refused, answered, asked = threading.Event(), threading.Semaphore(0), 0

    def took(result: Any, error: Any) -> None:
        answered.release()
        if error is not None:
            refused.set()

    client = client_of(running)
    while not refused.is_set() and asked < 4 * MAX_QUEUE:
        client.async_infer("decode_image", inputs, took)
        asked += 1
    assert refused.wait(60), "the queue was never full"
    done = run(DEPLOY / "healthcheck.py", running.http_url)
    for _ in range(asked):
        answered.acquire()
    client.close()
    assert done.returncode == 0, done.stderr


def test_the_health_check_notices_what_triton_does_not(running: TritonServer) -> None:
    command = [DEPLOY / "healthcheck.py", running.http_url]
    assert run(*command).returncode == 0
    os.kill(workers_of(running.repository)["decode_image"], signal.SIGKILL)
    done = run(*command)
    assert done.returncode == 1 and "healthcheck:" in done.stderr and "Traceback" not in done.stderr
    assert run(DEPLOY / "healthcheck.py", "http://127.0.0.1:9").returncode == 1


class Triton(BaseHTTPRequestHandler):
    """Imitates Triton's responses to the health check."""

    answer, counted, hangs = 200, iter([1, 1]), threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if self.path.endswith("/stats"):
            counts = {"success": {"count": str(next(self.counted))}, "fail": {"count": "0"}}
            self.wfile.write(json.dumps({"model_stats": [{"inference_stats": counts}]}).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.answer == 0:
            self.hangs.wait(60)
            return
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def checked(answer: int, counted: tuple[int, ...] = (1, 1), seconds: float = 20) -> tuple[int, str]:
    """Run the health check; return its exit status and standard error.

    The server responds with the status ``answer`` (0: never) and the successive counts ``counted`` of decoded images.
    """
    hangs = threading.Event()
    handler = type("Handler", (Triton,), {"answer": answer, "counted": iter(counted), "hangs": hangs})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        check = runpy.run_path(str(DEPLOY / "healthcheck.py"))
        check["main"].__globals__["TIMEOUT"] = seconds
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            status = check["main"](f"http://127.0.0.1:{server.server_port}")
        hangs.set()
        server.shutdown()
    return status, errors.getvalue()


@pytest.mark.parametrize(("answer", "status"), [(200, 0), (503, 0), (400, 1), (500, 1)])
def test_only_a_refusal_for_want_of_room_is_healthy(answer: int, status: int) -> None:
    assert checked(answer)[0] == status


def test_who_decodes_large_photographs_is_alive_and_who_decodes_nothing_is_not() -> None:
    assert checked(0, counted=(5, 6), seconds=0.3) == (0, "")
    assert checked(0, counted=(5, 5), seconds=0.3) == (1, "healthcheck: no photograph was decoded in 0.3 s\n")


@pytest.mark.parametrize("given", [True, False])
def test_the_start_script_shuts_what_needs_a_key(tmp_path: Path, given: bool) -> None:
    """The real Triton accepts all these options too."""
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    found = started_with(tmp_path, "--more", **({"IMG2POEM_KEY_FILE": str(key)} if given else {}))
    options = dict(line.partition("=")[::2] for line in found)
    interfaces, _, secret = options["--http-restricted-api"].partition(":")
    name, _, value = secret.partition("=")
    assert set(interfaces.split(",")) == set(RESTRICTED) and name == KEY_HEADER
    assert value == KEY if given else re.fullmatch("[0-9a-f]{64}", value)
    assert options["--grpc-restricted-protocol"] == options["--http-restricted-api"] and "--more" in options
    known = known_options()
    assert all(option in known for option in options if option != "--more")
    metrics = {option for option in found if option.startswith("--metrics-config=")}
    assert metrics == {f"--metrics-config={kind}_latencies=true" for kind in ("summary", "histogram")}


def test_the_start_script_removes_what_killed_processes_shared(tmp_path: Path) -> None:
    prefix = f"img2poem_{os.uname().nodename}_"
    left = Path(f"/dev/shm/{prefix}left")  # noqa: S108
    left.touch()
    options = started_with(tmp_path)
    assert not left.exists() and f"--backend-config=python,shm-region-prefix-name={prefix}" in options


@pytest.mark.parametrize("key", ["", "15-characters--", "with spaces, and more", "two-keys-of-two\nlines-of-a-file"])
def test_the_start_script_refuses_a_key_that_triton_would_take_apart(tmp_path: Path, key: str) -> None:
    file = tmp_path / "key"
    file.write_text(key + "\n")
    done = start(tmp_path, IMG2POEM_KEY_FILE=str(file))
    assert done.returncode == 1 and not done.stdout
    assert (
        done.stderr == f"start.sh: the key in {file} must have at least 16 letters, digits, - or _, and nothing else\n"
    )


def test_the_start_script_refuses_to_go_on_without_the_key_that_it_was_told_of(tmp_path: Path) -> None:
    for file in (tmp_path / "missing", tmp_path):  # not an unreadable file: root can read any
        done = start(tmp_path, IMG2POEM_KEY_FILE=str(file))
        assert done.returncode == 1 and not done.stdout
        assert f"start.sh: the key file {file} cannot be read" in done.stderr


def test_the_start_script_refuses_a_shared_memory_in_which_photographs_have_no_room(tmp_path: Path) -> None:
    done = start(tmp_path, shared_memory=64)
    assert done.returncode == 1 and not done.stdout
    assert "has 64 MiB and needs 1024: docker run --shm-size 1024m" in done.stderr
    assert start(tmp_path, shared_memory=64, IMG2POEM_SHM_MIB="64").returncode == 0
    done = start(tmp_path, shared_memory=64, IMG2POEM_SHM_MIB="1g")
    assert done.returncode == 1 and "IMG2POEM_SHM_MIB is '1g', not a whole number above 0" in done.stderr


@pytest.mark.parametrize(
    ("threads", "kind", "pool"), [("3", "KIND_CPU", None), ("4", "KIND_CPU", "4"), ("64", "KIND_GPU", None)]
)
def test_the_start_script_makes_one_pool_of_threads_on_machines_with_cores_for_it(
    tmp_path: Path, threads: str, kind: str, pool: str | None
) -> None:
    (tmp_path / "models" / "one").mkdir(parents=True)
    (tmp_path / "models" / "one" / "config.pbtxt").write_text(f"instance_group {{ kind: {kind} }}")
    options = started_with(tmp_path, IMG2POEM_THREADS=threads, MODELS=str(tmp_path / "models"))
    found = [option for option in options if option.startswith("--backend-config=onnxruntime,")]
    settings = ("enable-global-threadpool=1", f"intra_op_thread_count={pool}")
    assert found == ([f"--backend-config=onnxruntime,{setting}" for setting in settings] if pool else [])


def test_the_start_script_counts_the_cores_itself_and_refuses_what_is_no_number(tmp_path: Path) -> None:
    assert started_with(tmp_path)
    for wrong in ("many", "0", "2.5"):
        done = start(tmp_path, IMG2POEM_THREADS=wrong)
        assert done.returncode == 1 and f"IMG2POEM_THREADS is '{wrong}'" in done.stderr


def started_with(folder: Path, *more: str, **environment: str) -> list[str]:
    """Return the options that the script starts Triton with."""
    done = start(folder, *more, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def start(folder: Path, *more: str, shared_memory: int = 1024, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script; a substitute for Triton prints its options, one for ``df`` reports ``shared_memory`` MiB."""
    size = f"echo Filesystem; echo tmpfs {shared_memory * 1024} 0 {shared_memory * 1024} 0% /dev/shm"
    for name, line in (("tritonserver", 'printf "%s\\n" "$@"'), ("df", size)):
        program = folder / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **environment}
    command = [DEPLOY / "start.sh", *more]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10)


def known_options() -> set[str]:
    triton = wheel.triton_folder()
    command = [triton / "bin" / "tritonserver", "--help"]
    done = subprocess.run(command, env=wheel.environment(triton), capture_output=True, text=True, timeout=60)
    return set(re.findall(r"^  (--[\w-]+)", done.stdout + done.stderr, re.M))
