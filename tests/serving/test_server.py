from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from benchmarks.processes import workers_of
from benchmarks.streams import client_of
from img2poem import BeamSearch, Img2Poem
from img2poem.errors import BadRepository, ServerError
from img2poem.serving.server import Ports, ServerSettings, TritonServer
from img2poem.text.vocabulary import ALWAYS

from ..conftest import ROOT
from ..waiting import eventually
from .processes import gone, line_with, processes_of, shared_memory_of, started
from .requests import KEY, poem, slow_poems


def contents(repository: Path) -> dict[str, bytes]:
    files = (path for path in repository.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path): hashlib.sha256(path.read_bytes()).digest() for path in files}


def cpu_seconds(repository: Path) -> float:
    """Return the processor time that the models' processes have used so far."""
    stats = [Path(f"/proc/{worker}/stat").read_text() for worker in workers_of(repository).values()]
    fields = [stat.rpartition(")")[2].split() for stat in stats]
    return sum(int(taken[11]) + int(taken[12]) for taken in fields) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A copy with its own path, which identifies its server's processes."""
    return Path(shutil.copytree(repository, tmp_path / "repository"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_finishes_what_is_in_flight_and_leaves_no_process(
    copy: Path, number: signal.Signals, photo_file: Path
) -> None:
    ports, before = Ports.free(), contents(copy)
    process = started(copy, ports)
    line_with(process, "ready: ")
    client = triton.InferenceServerClient(f"127.0.0.1:{ports.grpc}")
    idle = cpu_seconds(copy)
    written = ThreadPoolExecutor().submit(slow_poems, client, photo_file.read_bytes())
    while cpu_seconds(copy) < idle + 0.3 and not written.done():
        time.sleep(0.02)
    process.send_signal(number)
    assert written.result() == 16, "a request in flight must finish"
    client.close()
    assert process.wait(30) == 0
    assert gone(copy, seconds=1)
    assert contents(copy) == before, "the server must not change its repository"


def test_a_drain_ends_at_its_limit(repository: Path, photos: list[bytes]) -> None:
    server = TritonServer(repository, Ports.free(), ServerSettings(drain_timeout=1))
    server.start()
    client = client_of(server)

    def ask_until_refused() -> str:
        while True:
            try:
                poem(client, photos[0])
            except InferenceServerException as error:
                return str(error)

    refused = ThreadPoolExecutor().submit(ask_until_refused)
    time.sleep(0.5)
    assert not refused.done()
    started_to_stop = time.monotonic()
    server.stop()
    assert time.monotonic() - started_to_stop >= 1 and server.pid is None
    # The server unloads its models meanwhile; img2poem's client reports both errors as NotReady.
    assert re.search("UNAVAILABLE|has no available versions", refused.result(30))
    client.close()


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
    shared = shared_memory_of(copy)
    process.kill()
    process.wait()
    assert gone(copy) and eventually(lambda: not shared(), 5)


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
    with pytest.raises(ServerError, match="decoder_init") as caught:
        TritonServer(copy, Ports.free(), ServerSettings(verify=False, api_key=KEY)).start()
    assert KEY not in str(caught.value), "what is told of the server's log holds no secret"
    assert gone(copy, seconds=1)


def test_curl_alone_gets_a_poem(server: TritonServer, photo_file: Path) -> None:
    command = ["sh", str(ROOT / "examples" / "rest.sh"), str(photo_file), server.http_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    outputs = {output["name"]: output["data"] for output in json.loads(done.stdout)["outputs"]}
    with Img2Poem(server.grpc_url) as poet:
        poem = poet.write(photo_file, BeamSearch())
    assert outputs["text"] == [poem.text] and outputs["score"] == [pytest.approx(poem.score, abs=1e-5)]


def test_any_choice_of_outputs_is_answered(server: TritonServer, photos: list[bytes]) -> None:
    """Triton prunes steps by the outputs that were not requested; it must keep every step that is needed."""
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
    """Calling decoder_init and decoder_step directly gives the greedy poem's first words."""
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
    assert (np.diff(logprobs[:, : -len(ALWAYS)], axis=1) <= 0).all() and np.exp(logprobs).sum(1).max() <= 1.0001
    client.close()
