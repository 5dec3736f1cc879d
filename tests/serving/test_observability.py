"""A request can be traced through the server: by its id, in traces and metrics."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.streams import client_of
from img2poem.decoding.strategies import Greedy
from img2poem.serving.server import Ports, ServerSettings, TritonServer

from ..waiting import eventually
from .requests import poem_inputs

STEPS = {"img2poem_greedy", "decode_image", "image_encoder", "poem_decoder_greedy", "poem_text"}


class Collector(ThreadingHTTPServer):
    """Receives OpenTelemetry traces like a collector."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.spans: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in sent["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                self.server.spans += scope["spans"]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.shutdown()
    collector.server_close()


@pytest.fixture(scope="module")
def traced(repository: Path, collector: Collector) -> Iterator[TritonServer]:
    url = f"opentelemetry,url=http://127.0.0.1:{collector.server_port}/v1/traces"
    settings = ServerSettings(trace=("mode=opentelemetry", "level=TIMESTAMPS", "rate=1", url), cache_mb=8)
    with TritonServer(repository, Ports.free(), settings) as server:
        yield server


def attributes(span: dict[str, Any]) -> dict[str, str]:
    return {item["key"]: next(iter(item["value"].values())) for item in span.get("attributes", [])}


def test_a_request_id_comes_back_and_names_every_step_of_the_trace(
    traced: TritonServer, collector: Collector, photos: list[bytes]
) -> None:
    client = client_of(traced)
    answer = client.infer("img2poem_greedy", poem_inputs(photos[0], Greedy()), request_id="poem-7")
    client.close()
    assert answer.get_response().id == "poem-7"

    def steps() -> set[str]:
        every = [attributes(span) for span in list(collector.spans)]
        return {one["triton.model_name"] for one in every if one.get("triton.request_id") == "poem-7"}

    assert eventually(lambda: steps() == STEPS)


def test_metrics_count_every_step(traced: TritonServer, photos: list[bytes]) -> None:
    def counts() -> dict[str, int]:
        with urllib.request.urlopen(traced.metrics_url, timeout=10) as response:
            text = response.read().decode()
        return {m: int(n) for m, n in re.findall(r'^nv_inference_request_success\{model="(\w+)".*\} (\d+)', text, re.M)}

    before, client = counts(), client_of(traced)
    client.infer("img2poem_greedy", poem_inputs(photos[1], Greedy()))
    client.close()

    def grown() -> set[str]:
        return {model for model, count in counts().items() if count == before[model] + 1}

    assert eventually(lambda: grown() == STEPS)
