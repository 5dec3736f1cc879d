"""Malicious requests get an error with a reason, and do not affect other callers."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from benchmarks.streams import client_of, inputs_of
from img2poem import Greedy, Img2Poem
from img2poem.decoding.strategies import AnyStrategy, BeamSearch, BestOf, Sampling
from img2poem.serving.server import TritonServer

from ..waiting import eventually

#: Ensemble of each strategy.
ENSEMBLES: dict[str, AnyStrategy] = {
    "img2poem": BeamSearch(),
    "img2poem_greedy": Greedy(),
    "img2poem_sample": Sampling(),
    "img2poem_best": BestOf(2),
}
NAN, INFINITY = float("nan"), float("inf")
LARGE = 10**15


@contextlib.contextmanager
def undisturbed(server: TritonServer, photo: bytes) -> Iterator[None]:
    """Another caller requests poems all the time and always succeeds; the server is not restarted."""
    pid, over = server.pid, threading.Event()
    texts: list[str] = []
    failures: list[str] = []
    with Img2Poem(server.grpc_url, retries=0) as poet:
        expected = poet.write(photo, Greedy()).text

        def ask() -> None:
            while not over.is_set():
                try:
                    texts.append(poet.write(photo, Greedy()).text)
                except Exception as error:
                    failures.append(repr(error))

        callers = [threading.Thread(target=ask) for _ in range(2)]
        for caller in callers:
            caller.start()
        try:
            yield
            seen = len(texts)
            assert eventually(lambda: len(texts) >= seen + 2 or bool(failures))
        finally:
            over.set()
            for caller in callers:
                caller.join()
    assert not failures and set(texts) == {expected}
    assert server.pid == pid is not None


@pytest.fixture
def client(server: TritonServer) -> Iterator[triton.InferenceServerClient]:
    client = client_of(server)
    yield client
    client.close()


def request(photo: bytes, model: str, rows: int = 1) -> dict[str, np.ndarray]:
    options = {name: np.repeat(value, rows, axis=0) for name, value in ENSEMBLES[model].tensors().items()}
    return {"image": np.array([[photo]] * rows, np.object_), **options}


def refused(client: triton.InferenceServerClient, model: str, tensors: dict[str, np.ndarray], **more: Any) -> str:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs_of(tensors), client_timeout=60, **more)
    return str(caught.value)


WRONG_TENSORS = {
    "an option as another type": ("min_lines", lambda v: v.astype(np.float32), "min_lines.*INT64"),
    "a photograph as numbers": ("image", lambda v: np.zeros((1, 1), np.int64), "image.*BYTES"),
    "too few axes": ("max_lines", lambda v: v[0], "max_lines|batch"),
    "too many axes": ("max_lines", lambda v: v[None], "max_lines"),
    "an axis too long": ("max_lines", lambda v: np.repeat(v, 2, axis=1), "max_lines"),
    "rows that are not as many": ("max_lines", lambda v: np.repeat(v, 2, axis=0), "max_lines|batch"),
    "an empty axis": ("max_lines", lambda v: v[:, :0], "max_lines"),
}


@pytest.mark.parametrize("what", WRONG_TENSORS)
def test_tensors_of_another_form(
    server: TritonServer, client: triton.InferenceServerClient, photos: list[bytes], what: str
) -> None:
    name, spoil, says = WRONG_TENSORS[what]
    tensors = request(photos[0], "img2poem_greedy")
    with undisturbed(server, photos[1]):
        told = refused(client, "img2poem_greedy", {**tensors, name: spoil(tensors[name])})
        assert re.search(says, told), told


def test_names_that_there_are_not(
    server: TritonServer, client: triton.InferenceServerClient, photos: list[bytes]
) -> None:
    tensors = request(photos[0], "img2poem_greedy")
    lacking = {name: value for name, value in tensors.items() if name != "min_lines"}
    with undisturbed(server, photos[1]):
        assert "colour" in refused(client, "img2poem_greedy", {**tensors, "colour": tensors["min_lines"]})
        assert "input" in refused(client, "img2poem_greedy", lacking)
        assert "taste" in refused(client, "img2poem_greedy", tensors, outputs=[triton.InferRequestedOutput("taste")])
        assert "img2novel" in refused(client, "img2novel", tensors)
        assert "version" in refused(client, "img2poem_greedy", tensors, model_version="7")


def test_a_batch_above_the_limit(
    server: TritonServer, client: triton.InferenceServerClient, photos: list[bytes]
) -> None:
    with undisturbed(server, photos[1]):
        for model in ENSEMBLES:
            assert "<=" in refused(client, model, request(photos[0], model, rows=33))


WRONG_OPTIONS: list[tuple[str, str, float]] = [
    *(("img2poem_greedy", "min_lines", value) for value in (-5, 0, 17, LARGE, -(2**63))),
    *(("img2poem_greedy", "max_lines", value) for value in (-1, 0, LARGE)),
    *(("img2poem_greedy", "max_tokens", value) for value in (-1, 0, 1, 97, LARGE)),
    *(("img2poem_greedy", "max_line_tokens", value) for value in (-1, 0, LARGE)),
    *(("img2poem_greedy", "no_repeat_ngram", value) for value in (-1, 5, LARGE)),
    *(("img2poem_greedy", "repetition_penalty", value) for value in (NAN, INFINITY, -1, 0)),
    *(("img2poem_greedy", "forbidden_tokens", value) for value in (-1,)),
    *(("img2poem_sample", "temperature", value) for value in (NAN, INFINITY, -INFINITY, -1, 0)),
    *(("img2poem_sample", "top_k", value) for value in (-1, 0, LARGE)),
    *(("img2poem_sample", "top_p", value) for value in (NAN, -1, 0, 2)),
    *(("img2poem_sample", "seed", value) for value in (-1, -(2**63))),
    *(("img2poem_best", "n", value) for value in (0, -1, 33, LARGE)),
    *(("img2poem", "beam_width", value) for value in (0, -1, 11, LARGE)),
    *(("img2poem", "length_penalty", value) for value in (NAN, INFINITY, -1)),
]


def test_options_out_of_their_range(
    server: TritonServer, client: triton.InferenceServerClient, photos: list[bytes]
) -> None:
    with undisturbed(server, photos[1]):
        for model, name, value in WRONG_OPTIONS:
            tensors = request(photos[0], model)
            told = refused(client, model, {**tensors, name: np.full_like(tensors[name], value)})
            assert f"InvalidOption: {name} must be" in told, (name, value, told)


def test_numbers_that_are_none_stay_with_who_sent_them(
    server: TritonServer, client: triton.InferenceServerClient, photos: list[bytes]
) -> None:
    """The models of an ensemble compute with any input: invalid output, in the same batch as valid rows."""
    with undisturbed(server, photos[1]):
        for value in (NAN, INFINITY, -INFINITY):
            for model in ("decoder_init", "poem_decoder_greedy"):
                more = Greedy().tensors() if model != "decoder_init" else {}
                embedding = np.full((1, 512), value, np.float32)
                client.infer(model, inputs_of({"embedding": embedding, **more}), client_timeout=60)


def test_tokens_that_there_are_not(
    server: TritonServer, client: triton.InferenceServerClient, photos: list[bytes]
) -> None:
    """They are read as the unknown token: an error would fail all requests of a batch."""
    with undisturbed(server, photos[1]):
        for token in (-(10**6), 10**6, 2**62):
            ids = np.full((1, 96), token, np.int64)
            found = client.infer("poem_text", inputs_of({"tokens": ids}), client_timeout=60)
            assert {*found.as_numpy("pieces")[0]} == {b"[UNK]"} and found.as_numpy("text")[0, 0] == b""
            found = client.infer(
                "poem_encoder", inputs_of({"input_ids": ids, "attention_mask": np.ones_like(ids)}), client_timeout=60
            )
            assert np.isfinite(found.as_numpy("embedding")).all()


def test_a_hundred_megabytes(server: TritonServer, client: triton.InferenceServerClient, photos: list[bytes]) -> None:
    with undisturbed(server, photos[1]):
        told = refused(client, "img2poem_greedy", request(b"\xff\xd8\xff" + bytes(100 * 2**20), "img2poem_greedy"))
        assert "BadImage" in told and "MiB" in told and "INVALID_ARGUMENT" in told, "whose fault it is"
        for body in (b"{" * (100 * 2**20), b"[" + b"0," * (50 * 2**20), bytes(100 * 2**20)):
            connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=120)
            connection.request("POST", "/v2/models/img2poem_greedy/infer", body)
            answer = connection.getresponse()
            assert answer.status in (400, 500) and json.loads(answer.read())["error"]
            connection.close()


def test_connections_that_begin_and_do_not_go_on(server: TritonServer, photos: list[bytes]) -> None:
    begun = (
        b"",
        b"POST /v2/models/img2poem_greedy/infer HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\3\1",
    )
    with contextlib.ExitStack() as stack, undisturbed(server, photos[1]):
        for port in (server.ports.http, server.ports.grpc):
            for number in range(200):
                one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                one.sendall(begun[number % len(begun)])
        with Img2Poem(server.http_url) as poet:  # arrives while the others wait
            assert poet.write(photos[0], Greedy()).lines


def test_senders_that_take_their_time(server: TritonServer, photos: list[bytes]) -> None:
    """A body that arrives one byte at a time, or is shorter than announced."""
    head = b"POST /v2/models/img2poem_greedy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with contextlib.ExitStack() as stack, undisturbed(server, photos[1]):
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.ports.http), timeout=10))
            for _ in range(16)
        ]
        for one in slow:
            one.sendall(head % 2**30)
        for _ in range(20):
            for one in slow:
                one.sendall(b"{")
            time.sleep(0.05)
        with socket.create_connection(("127.0.0.1", server.ports.http), timeout=10) as cut:
            cut.sendall(head % 1000 + b"{")


def test_bytes_that_are_no_http(server: TritonServer, photos: list[bytes]) -> None:
    junk = (b"\0" * 4096, b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n", b"A: " + b"a" * 100_000, b"\r\n" * 1000)
    with undisturbed(server, photos[1]):
        for port in (server.ports.http, server.ports.grpc, server.ports.metrics):
            for data in junk:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as one:
                    one.sendall(data)
                    one.shutdown(socket.SHUT_WR)
                    while one.recv(65536):
                        pass
