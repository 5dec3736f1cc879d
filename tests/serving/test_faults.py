"""A running server after changes of its files and crashes of its processes, as docs/serving.md describes."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from benchmarks.processes import workers_of
from benchmarks.streams import client_of
from img2poem import BestOf
from img2poem.serving.server import Ports, ServerSettings, TritonServer
from img2poem.serving.settings import ModelControl

from ..waiting import eventually
from .requests import KEY, OVER_GRPC, poem, poem_inputs


@pytest.fixture(scope="module")
def running(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server with its own repository, whose models can be loaded and unloaded."""
    copy = Path(shutil.copytree(repository, tmp_path_factory.mktemp("faults") / "repository"))
    settings = ServerSettings(model_control=ModelControl.explicit, api_key=KEY)
    with TritonServer(copy, Ports.free(), settings) as server:
        yield server


@pytest.fixture
def client(running: TritonServer) -> Iterator[triton.InferenceServerClient]:
    client = client_of(running)
    yield client
    client.close()


def load(client: triton.InferenceServerClient, model: str) -> None:
    client.load_model(model, headers=OVER_GRPC, client_timeout=60)


def unload(client: triton.InferenceServerClient, model: str) -> None:
    client.unload_model(model, headers=OVER_GRPC, client_timeout=60)


def next_version(folder: Path) -> Path:
    """Add a version that is a copy of the first."""
    taken = [int(version.name) for version in folder.glob("[0-9]*")]
    return Path(shutil.copytree(folder / "1", folder / str(max(taken) + 1)))


def versions(client: triton.InferenceServerClient, model: str) -> set[str]:
    models = client.get_model_repository_index(headers=OVER_GRPC).models
    return {entry.version for entry in models if entry.name == model and entry.state == "READY"}


def test_a_reload_under_load_fails_no_request(
    running: TritonServer, client: triton.InferenceServerClient, photos: list[bytes]
) -> None:
    poems, failures, over = [], [], threading.Event()

    def ask() -> None:
        own = client_of(running)
        while not over.is_set():
            try:
                poems.append(poem(own, photos[0]))
            except InferenceServerException as error:
                failures.append(str(error))
        own.close()

    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    added = next_version(running.repository / "image_encoder")
    load(client, "image_encoder")
    after = len(poems)
    while len(poems) < after + 5 and not failures:
        time.sleep(0.05)
    over.set()
    for caller in callers:
        caller.join()
    assert not failures and len(set(poems)) == 1 and after > 0
    assert versions(client, "image_encoder") == {added.name}
    [second] = client.get_inference_statistics("image_encoder", added.name).model_stats
    assert second.inference_count > 0
    assert eventually(client.is_server_ready), "not while the old version is being unloaded"


@pytest.mark.parametrize("fault", ["missing", "corrupted", "of another package"])
def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(
    running: TritonServer, client: triton.InferenceServerClient, photos: list[bytes], fault: str
) -> None:
    before, served = poem(client, photos[0]), versions(client, "image_encoder")
    added = next_version(running.repository / "image_encoder")
    model = added / "model.onnx"
    whole = model.read_bytes()
    if fault == "missing":
        model.unlink()
    elif fault == "corrupted":
        model.write_bytes(whole[: len(whole) // 2])
    else:
        contract = client.get_model_config("image_encoder").config.parameters["img2poem.contract"].string_value
        model.write_bytes(whole.replace(contract.encode(), contract[::-1].encode()))
    says = "ContractMismatch" if fault == "of another package" else "model.onnx"
    with pytest.raises(InferenceServerException, match=f"(?s)image_encoder.*{says}"):
        load(client, "image_encoder")
    assert poem(client, photos[0]) == before and versions(client, "image_encoder") == served
    assert not client.is_server_ready() and client.is_model_ready("img2poem"), "the version that failed counts"
    model.write_bytes(whole)
    load(client, "image_encoder")
    assert eventually(client.is_server_ready) and versions(client, "image_encoder") == {added.name}


def test_an_unloaded_model_is_named_and_comes_back(client: triton.InferenceServerClient, photos: list[bytes]) -> None:
    before = poem(client, photos[0])
    unload(client, "poem_text")
    with pytest.raises(InferenceServerException, match="unknown model: 'img2poem_greedy'"):
        poem(client, photos[0])
    assert client.is_server_live() and not client.is_server_ready()
    load(client, "poem_text")
    assert poem(client, photos[0]) == before and eventually(client.is_server_ready)


def test_a_killed_model_process_is_named_and_loaded_anew(
    running: TritonServer, client: triton.InferenceServerClient, photos: list[bytes]
) -> None:
    def best() -> str:
        result = client.infer("img2poem_best", poem_inputs(photos[0], BestOf(1)), client_timeout=60)
        return str(result.as_numpy("text")[0, 0].decode())

    before = best()
    os.kill(workers_of(running.repository)["rerank"], signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(InferenceServerException, match="Stub process 'rerank_0_0' is not healthy"):
            best()
    assert client.is_server_ready() and client.is_model_ready("rerank"), "Triton does not notice"
    unload(client, "rerank")
    load(client, "rerank")
    assert best() == before
