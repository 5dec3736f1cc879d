from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype

from img2poem import BeamSearch, Img2Poem
from img2poem.errors import BadRepository, ServerError
from img2poem.serving.server import Ports, TritonServer

from ..conftest import ROOT


def processes_of(repository: Path) -> list[str]:
    """Command lines of running processes that name the repository, this one left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(repository) in command and folder.name != str(os.getpid()):
            found.append(command)
    return found


def started(repository: Path, ports: Ports) -> subprocess.Popen[str]:
    options = [f"--{kind}-port={port}" for kind, port in asdict(ports).items()]
    command = [sys.executable, "-m", "img2poem", "serve", str(repository), *options]
    # With SIGINT ignored, as a shell starts what it runs in the background.
    ignoring = ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    return subprocess.Popen([*ignoring, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def gone(repository: Path, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while processes_of(repository) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not processes_of(repository)


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A copy under a name of its own, by which its server's processes are found."""
    return Path(shutil.copytree(repository, tmp_path / "repository"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_answers_and_stops_with_no_process_left(copy: Path, number: signal.Signals, photo_file: Path) -> None:
    ports = Ports.free()
    process = started(copy, ports)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("ready: "):
            break
    with Img2Poem(f"grpc://127.0.0.1:{ports.grpc}") as poet:
        assert len(poet.write(photo_file).lines) >= 3
    assert len(processes_of(copy)) > 2
    process.send_signal(number)
    assert process.wait(30) == 0
    assert gone(copy, seconds=1)


def test_a_stop_before_it_is_ready_leaves_no_process(copy: Path) -> None:
    process = started(copy, Ports.free())
    while len(processes_of(copy)) < 2:  # itself and tritonserver
        time.sleep(0.05)
    process.terminate()
    assert process.wait(30) == 0
    assert gone(copy, seconds=1)


def test_a_killed_parent_takes_the_server_along(copy: Path) -> None:
    process = started(copy, Ports.free())
    while len(processes_of(copy)) < 3:
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert gone(copy)


def test_a_taken_port_says_so(repository: Path) -> None:
    ports = Ports.free()
    with socket.create_server(("127.0.0.1", ports.grpc)):
        process = started(repository, ports)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"port {ports.grpc}" in errors and "--grpc-port" in errors and "Traceback" not in errors


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(BadRepository, match=f"python -m export.all --out {tmp_path}"):
        TritonServer(tmp_path, Ports.free()).start()


def test_a_missing_file_is_named_before_the_server_starts(copy: Path) -> None:
    (copy / "poem_text" / "1" / "model.onnx").unlink()
    with pytest.raises(BadRepository, match=r"poem_text/1/model\.onnx"):
        TritonServer(copy, Ports.free()).start()


def test_a_model_that_does_not_load_is_named_and_leaves_no_process(copy: Path) -> None:
    (copy / "decoder_init" / "1" / "model.onnx").write_bytes(b"garbage")
    with pytest.raises(ServerError, match="decoder_init"):
        TritonServer(copy, Ports.free()).start()
    assert gone(copy, seconds=1)


def test_curl_alone_gets_a_poem(server: TritonServer, photo_file: Path) -> None:
    command = ["sh", str(ROOT / "examples" / "rest.sh"), str(photo_file), server.http_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    outputs = {output["name"]: output["data"] for output in json.loads(done.stdout)["outputs"]}
    with Img2Poem(server.grpc_url) as poet:
        poem = poet.write(photo_file)
    assert outputs["text"] == [poem.text] and outputs["score"] == [pytest.approx(poem.score, abs=1e-5)]


def test_any_choice_of_outputs_is_answered(server: TritonServer, photos: list[bytes]) -> None:
    """Triton prunes steps by the outputs that nobody asked for; no step that is needed may be among them."""
    names = ("text", "tokens", "score", "length", "embedding")
    client = triton.InferenceServerClient(server.grpc_url.removeprefix("grpc://"))
    inputs = [triton.InferInput("image", [1, 1], "BYTES")]
    inputs[0].set_data_from_numpy(np.array([[photos[0]]], np.object_))
    for name, value in BeamSearch().tensors().items():
        inputs.append(triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        inputs[-1].set_data_from_numpy(value)
    for count in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, count):
            outputs = [triton.InferRequestedOutput(name) for name in chosen]
            result = client.infer("img2poem", inputs, outputs=outputs)
            assert all(result.as_numpy(name) is not None for name in chosen)
    client.close()


def test_decoder_steps_are_served(server: TritonServer) -> None:
    """Driving decoder_init and decoder_step by hand gives the greedy poem's first words."""
    client = triton.InferenceServerClient(server.grpc_url.removeprefix("grpc://"))

    def call(model: str, outputs: list[str], **tensors: np.ndarray) -> list[np.ndarray]:
        inputs = []
        for name, value in tensors.items():
            inputs.append(triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
            inputs[-1].set_data_from_numpy(value)
        result = client.infer(model, inputs)
        return [result.as_numpy(name) for name in outputs]

    embedding = np.random.default_rng(0).normal(size=(3, 512)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    [hidden] = call("decoder_init", ["hidden"], embedding=embedding)
    token = np.full((3, 1), 1)
    logprobs, tokens, after = call(
        "decoder_step", ["top_logprobs", "top_tokens", "next_hidden"], token=token, hidden=hidden
    )
    assert logprobs.shape == tokens.shape == (3, 64) and after.shape == hidden.shape
    assert (np.diff(logprobs[:, :-2], axis=1) <= 0).all() and np.exp(logprobs).sum(1).max() <= 1.0001
    client.close()
