"""The real Triton: latency and throughput by interface and concurrency, batch sizes, overhead over in process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from img2poem import BeamSearch, BestOf, Greedy, Img2Poem, Sampling
from img2poem.artifacts.sessions import open_session
from img2poem.decoding.strategies import AnyStrategy
from img2poem.images.decode import decode
from img2poem.serving.server import Ports, TritonServer

from .measure import Times, milliseconds, side_by_side
from .report import Claim, Section
from .streams import client_of, inputs_of

CONCURRENCIES = (1, 4, 16, 64)
_GREEDY = "one call, greedy (gRPC)"


@dataclass(frozen=True)
class Way:
    """An interface to measure: the caller's function, and the model that decodes."""

    name: str
    call: Callable[[bytes], object]
    decoder: str


@contextmanager
def ways(server: TritonServer) -> Iterator[list[Way]]:
    """Yield the interfaces of a running server."""
    with Img2Poem(server.grpc_url, timeout=120) as grpc, Img2Poem(server.http_url, timeout=120) as http:
        client, beam = client_of(server), BeamSearch().tensors()

        def pixels(photo: bytes) -> object:
            return client.infer("img2poem_pixels", inputs_of({"pixels": decode(photo)[None], **beam}))

        yield [
            Way(_GREEDY, lambda photo: grpc.write(photo, Greedy()), "poem_decoder_greedy"),
            Way("one call, greedy (HTTP)", lambda photo: http.write(photo, Greedy()), "poem_decoder_greedy"),
            Way("one call, beam 5 (gRPC)", lambda photo: grpc.write(photo, BeamSearch()), "poem_decoder_beam"),
            Way("pixels, beam 5 (gRPC)", pixels, "poem_decoder_beam"),
            Way("best of 16 (gRPC)", lambda photo: grpc.write(photo, BestOf(16)), "poem_decoder_candidates"),
            Way("stream, first line (gRPC)", lambda photo: _first_line(grpc, photo), "poem_decoder_line"),
            Way("client decodes, greedy", lambda photo: grpc.write(photo, Greedy(), where="client"), "decoder_step"),
        ]
        client.close()


def under_load(repository: Path, photos: list[bytes], seconds: float) -> Section:
    """Measure every interface at each concurrency, for ``seconds`` each."""
    columns = ["way", "callers", "ms, median", "95 %", "99 %", "poems a second", "rows a batch"]
    section = Section("Served by Triton", columns)
    with TritonServer(repository, Ports.free()) as server, ways(server) as every:
        statistics = client_of(server)
        for way in every:
            way.call(photos[0])
            for callers in CONCURRENCIES:
                before = _executions(statistics, way.decoder)
                times, took = _loaded(way, photos, callers, seconds)
                rows, runs = (b - a for a, b in zip(before, _executions(statistics, way.decoder), strict=True))
                rate = len(times.samples) / took
                percentiles = [f"{times.percentile(p):.0f}" for p in (50, 95, 99)]
                section.rows.append([way.name, callers, *percentiles, f"{rate:.1f}", f"{rows / max(runs, 1):.1f}"])
                section.numbers[f"{way.name}, {callers} callers: ms"] = times.median
                section.numbers[f"{way.name}, {callers} callers: poems a second"] = rate
        statistics.close()
    offline = _offline(repository, photos)
    section.numbers["greedy, best offline batch: poems a second"] = offline
    share = section.numbers[f"{_GREEDY}, 16 callers: poems a second"] / offline
    section.notes.append(
        f"Callers are threads of one process on the same cores. Offline, in process, the best batch makes "
        f"{offline:.1f} greedy poems a second."
    )
    section.claims.append(Claim("16 callers' poems a second over the best offline batch's", share, at_least=0.85))
    return section


def overhead(repository: Path, photo: bytes, turns: int) -> Section:
    """Compare one call over gRPC with the same call in process."""
    section = Section("One caller: ms", ["", "in process", "Triton, gRPC", "Triton, HTTP", "client decodes, gRPC"])
    strategies: dict[str, AnyStrategy] = {
        "greedy": Greedy(),
        "sampling": Sampling(),
        "beam 5": BeamSearch(),
        "best of 16": BestOf(16),
    }
    server = TritonServer(repository, Ports.free())
    with server, Img2Poem(repository) as local, Img2Poem(server.grpc_url) as grpc, Img2Poem(server.http_url) as http:
        for name, strategy in strategies.items():
            found = side_by_side(_calls(strategy, photo, local, grpc, http), turns)
            section.rows.append([name, *found.values()])
            section.numbers[f"{name}: Triton over in process"] = found["grpc"].over(found["local"])
            if name == "greedy":
                bound = 1.25 * found["local"].median + 3
                section.claims.append(
                    Claim("one call on Triton, greedy: ms", found["grpc"].median, at_most=round(bound, 1))
                )
    section.notes.append("The bound of one call is 1.25 times in process and 3 ms.")
    return section


def start(repository: Path, turns: int) -> Section:
    """Time a server's start, until it is ready, and stop."""

    def once() -> None:
        with TritonServer(repository, Ports.free()):
            pass

    times = Times([milliseconds(once) for _ in range(turns)])
    section = Section("`img2poem serve`: seconds until ready, and until stopped again", ["s"])
    section.rows.append([f"{times.median / 1000:.1f}"])
    section.claims.append(Claim("the server ready, and stopped again: s", times.median / 1000, at_most=12))
    return section


def _calls(
    strategy: AnyStrategy, photo: bytes, local: Img2Poem, grpc: Img2Poem, http: Img2Poem
) -> dict[str, Callable[[], object]]:
    return {
        "local": lambda: local.write(photo, strategy),
        "grpc": lambda: grpc.write(photo, strategy),
        "http": lambda: http.write(photo, strategy),
        "client": lambda: grpc.write(photo, strategy, where="client"),
    }


def _loaded(way: Way, photos: list[bytes], callers: int, seconds: float) -> tuple[Times, float]:
    """Let ``callers`` callers send requests in a loop; return the latencies and the total time."""
    started = time.monotonic()

    def ask(number: int) -> list[float]:
        found: list[float] = []
        while time.monotonic() < started + seconds or not found:
            photo = photos[(number + len(found)) % len(photos)]
            found.append(milliseconds(partial(way.call, photo)))
        return found

    with ThreadPoolExecutor(callers) as pool:
        samples = [one for several in pool.map(ask, range(callers)) for one in several]
    return Times(samples), time.monotonic() - started


def _offline(repository: Path, photos: list[bytes]) -> float:
    """Return the greedy poems per second of the best batch size, including the decoding of images."""
    encoder, decoder, text = (
        open_session(repository / name / "1" / "model.onnx")
        for name in ("image_encoder", "poem_decoder_greedy", "poem_text")
    )
    options = Greedy().tensors()

    def write(batch: int) -> None:
        pixels = np.stack([decode(photos[i % len(photos)]) for i in range(batch)])
        [embedding] = encoder.run(["embedding"], {"pixels": pixels})
        rows = {name: np.repeat(value, batch, axis=0) for name, value in options.items()}
        [tokens] = decoder.run(["tokens"], {"embedding": embedding, **rows})
        text.run(["text"], {"tokens": tokens})

    batches = (1, 4, 8, 16, 32)
    found = side_by_side({str(batch): partial(write, batch) for batch in batches}, 5)
    return max(1000 * int(batch) / times.median for batch, times in found.items())


def _first_line(poet: Img2Poem, photo: bytes) -> None:
    with contextlib.closing(poet.stream(photo)) as lines:
        next(lines)


def _executions(client: triton.InferenceServerClient, model: str) -> tuple[int, int]:
    [found] = client.get_inference_statistics(model).model_stats
    return found.inference_count, found.execution_count
