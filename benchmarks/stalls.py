"""The cost of a limit or priorities for a model's queue: ``python -m benchmarks.stalls``.

Either of them stops Triton's dynamic batcher from making batches ahead of time. The batcher can then miss that an
instance has become free, and checks again only 500 ms later: see ``export.triton._batching``. Concurrent callers send
requests in a loop to each variant of one model's config. A stall is a response that takes more than 400 ms longer than
the median. On an otherwise idle machine nothing else takes so long.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from export.triton import MAX_QUEUE
from img2poem.artifacts.installed import EXPORTED
from img2poem.serving.server import Ports, ServerSettings, TritonServer

from .measure import Times
from .streams import client_of, inputs_of

#: One decoder step, which takes less than a millisecond.
MODEL = "decoder_step"
STALL_MS = 400


def main(
    repository: Annotated[Path, typer.Option(help="Model repository.")] = EXPORTED,
    seconds: Annotated[float, typer.Option(help="Seconds of load for each variant.")] = 20.0,
    callers: Annotated[int, typer.Option(help="Number of concurrent callers.")] = 16,
    turns: Annotated[int, typer.Option(help="Number of turns for each variant.")] = 2,
) -> None:
    """Print calls, stalls and latencies with and without a queue limit, with one instance and with two."""
    for turn in range(turns):
        for instances in (1, 2):
            for limit in (MAX_QUEUE, 0):
                times = _asked(repository, instances, limit, callers, seconds)
                stalls = sum(sample > times.median + STALL_MS for sample in times.samples)
                typer.echo(
                    f"turn {turn + 1}, {instances} instances, queue of {limit or 'any length'}: "
                    f"{len(times.samples) / seconds:.0f} calls/s, {stalls} stalls in {len(times.samples)}, "
                    f"ms {times}, 99 % {times.percentile(99):.1f}, longest {max(times.samples):.0f}"
                )


def _asked(repository: Path, instances: int, limit: int, callers: int, seconds: float) -> Times:
    """Return the latencies of ``callers`` concurrent callers during ``seconds``."""
    found: list[list[float]] = [[] for _ in range(callers)]
    with _serving(repository, instances, limit) as server:
        until = time.perf_counter() + seconds
        threads = [threading.Thread(target=_ask, args=(server, until, samples)) for samples in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return Times([sample for samples in found for sample in samples])


@contextmanager
def _serving(repository: Path, instances: int, limit: int) -> Iterator[TritonServer]:
    """Serve only this model, with ``instances`` instances and a queue limit or none."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repository"
        shutil.copytree(repository / MODEL, copy / MODEL)
        path = copy / MODEL / "config.pbtxt"
        config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
        config.instance_group[0].count = instances
        config.ClearField("dynamic_batching")
        config.dynamic_batching.default_queue_policy.max_queue_size = limit
        path.write_text(str(text_format.MessageToString(config)), encoding="utf-8")
        with TritonServer(copy, Ports.free(), ServerSettings(verify=False)) as server:
            yield server


def _ask(server: TritonServer, until: float, samples: list[float]) -> None:
    client = client_of(server)
    config = client.get_model_config(MODEL).config
    types = {pb.TYPE_INT64: np.int64, pb.TYPE_FP32: np.float32}
    inputs = inputs_of({t.name: np.zeros((1, *t.dims), types[t.data_type]) for t in config.input})
    client.infer(MODEL, inputs)
    while time.perf_counter() < until:
        started = time.perf_counter()
        client.infer(MODEL, inputs)
        samples.append((time.perf_counter() - started) * 1000)
    client.close()


if __name__ == "__main__":
    typer.run(main)
