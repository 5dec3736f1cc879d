from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from img2poem.artifacts import manifest
from img2poem.errors import BadRepository, ContractMismatch
from img2poem.serving.checkup import check_up
from img2poem.serving.repository import faults, verify
from img2poem.serving.server import Ports, ServerSettings
from img2poem.system.findings import Verdict

from ..conftest import ROOT


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository, tmp_path / "repository"))


def serve(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "img2poem", "serve", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_all_is_well(repository: Path) -> None:
    ports = [f"--{kind}-port={port}" for kind, port in asdict(Ports.free()).items()]
    done = serve(repository, "--check", "--json", *ports)
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and answer["ok"] is True, done.stdout
    assert {"glibc", "wheel", "tritonserver", "onnxruntime", "ports", "memory", "shared memory", "repository"} <= {
        finding["check"] for finding in answer["findings"]
    }


def test_whatever_is_wrong_is_said_at_once_with_what_to_do(copy: Path) -> None:
    (copy / "poem_text" / "1" / "model.onnx").unlink()
    with (copy / "decoder_init" / "1" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    (copy / "decode_image" / "1" / "helper.py").write_text("import os\n")
    ports = Ports.free()
    with socket.create_server(("127.0.0.1", ports.grpc)):
        done = serve(copy, "--check", *(f"--{kind}-port={port}" for kind, port in asdict(ports).items()))
    assert done.returncode == 1
    for named in ("poem_text/1/model.onnx", "decoder_init/1/model.onnx", "helper.py", str(ports.grpc)):
        assert any(line.startswith("failed") and named in line for line in done.stdout.splitlines()), named
    assert "--grpc-port" in done.stdout and "python -m export.all" in done.stdout


def test_an_open_address_is_a_warning_not_a_failure(repository: Path) -> None:
    findings = check_up(repository, Ports.free(), ServerSettings(host="0.0.0.0"))
    [found] = [finding for finding in findings if finding.check == "addresses"]
    assert found.verdict is Verdict.warning and "0.0.0.0" in found.detail and "firewall" in found.advice


def test_a_folder_without_a_repository(tmp_path: Path) -> None:
    with pytest.raises(BadRepository, match="no exported model repository"):
        verify(tmp_path)


@pytest.mark.parametrize("name", ["image_encoder/1/model.onnx", "poem_text/config.pbtxt"])
def test_a_stamp_of_another_package_is_found_behind_a_fresh_manifest(copy: Path, name: str) -> None:
    about = manifest.read(copy).about
    contract, path = about["contract"].encode(), copy / name
    path.write_bytes(path.read_bytes().replace(contract, contract[::-1]))
    manifest.write(copy, about)
    [fault] = faults(copy)
    assert isinstance(fault, ContractMismatch) and name in str(fault)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--grpc-cert", "nowhere.pem"], "--grpc-key"),
        (["--grpc-cert", "nowhere.pem", "--grpc-key", "nowhere.key"], "nowhere.pem cannot be read"),
        (["--api-key-file", "nowhere"], "nowhere holds no key"),
        (["--trace-config", "rate"], "SETTING=VALUE"),
        (["--json"], "--check"),
        (["--model-control", "magic"], "magic"),
    ],
)
def test_wrong_options_say_what_is_right(arguments: list[str], says: str) -> None:
    done = serve(*arguments)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def within(megabytes: int, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a command with a ``/dev/shm`` of ``megabytes`` MiB."""
    mounted = f'mount -t tmpfs -o size={megabytes}m none /dev/shm && exec "$@"'
    shell = ["unshare", "-m", "/bin/sh", "-c", mounted, "sh", sys.executable, *map(str, command)]
    return subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, timeout=600)


may_mount = subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
mounting = pytest.mark.skipif(not may_mount, reason="a file system of its own takes root")


@mounting
def test_too_little_shared_memory_is_said_before_the_start(repository: Path) -> None:
    arguments = ["-m", "img2poem", "serve", repository]
    arguments += [f"--{kind}-port={port}" for kind, port in asdict(Ports.free()).items()]
    done = within(16, *arguments)
    assert done.returncode == 1 and "has 16 MiB free, the server needs 29 MiB to start" in done.stderr
    for size, verdict in ((16, "failed"), (40, "warning"), (64, "ok")):
        told = json.loads(within(size, *arguments, "--check", "--json").stdout)
        [found] = [finding for finding in told["findings"] if finding["check"] == "shared memory"]
        assert found["verdict"] == verdict and "29 MiB needed" in found["detail"]


_SERVED = """
import sys
from pathlib import Path
from img2poem import Greedy, Img2Poem
from img2poem.serving.server import Ports, TritonServer

with TritonServer(Path(sys.argv[1]), Ports.free(), ready_timeout=500) as server:
    with Img2Poem(server.grpc_url, timeout=500) as poet:
        print(len(poet.write([sys.argv[2]] * 4, Greedy())), len(list(poet.stream(sys.argv[2]))) > 1)
"""


@mounting
def test_the_shared_memory_that_docker_gives_is_enough(repository: Path, photo_file: Path) -> None:
    """Regression: the server requested 29 regions of 16 MiB, whatever the backend's options."""
    done = within(64, "-c", _SERVED, repository, photo_file)
    assert done.stdout.split() == ["4", "True"], done.stderr
