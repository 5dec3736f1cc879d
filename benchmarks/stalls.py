"""What a limit or a priority on a model's queue costs: ``python -m benchmarks.stalls``.

A queue with any of them switches off that Triton's dynamic batcher makes batches ahead, and then the batcher can
overlook that an instance has become free and look again 500 ms later: see ``export.triton._batching``. Each variant of
one model's config is asked by so many callers at once, each of whom asks again at once; counted are the answers that
took longer than 400 ms above the median. On a machine that is otherwise idle nothing else takes so long.
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
from img2poem.serving.server import Ports, ServerSettings, TritonServer

from .measure import Times
from .streams import client_of, inputs_of

#: A step of a decoder, which takes less than a millisecond.
MODEL = "decoder_step"
STALL_MS = 400


def main(
    repository: Annotated[Path, typer.Option(help="Model repository.")] = Path("triton_repo"),
    seconds: Annotated[float, typer.Option(help="How long each variant is asked.")] = 20.0,
    callers: Annotated[int, typer.Option(help="How many callers at once.")] = 16,
    turns: Annotated[int, typer.Option(help="How often each variant has its turn.")] = 2,
) -> None:
    """Print calls, stalls and times with and without a limit of the queue, with one instance and with two."""
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
    """Return how long the calls took that ``callers`` made in that time."""
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
    """Serve the one model, loaded so many times, with a limit of its queue or without any."""
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
