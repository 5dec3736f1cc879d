"""Time to a stream's first line: ``python -m benchmarks.streaming``."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Annotated

import typer

from img2poem import Img2Poem, Sampling
from img2poem.artifacts.installed import EXPORTED
from img2poem.client.operations import line_options
from img2poem.serving.server import Ports, TritonServer

from .photographs import photographs
from .streams import streaming


def main(
    repository: Annotated[Path, typer.Option(help="Model repository.")] = EXPORTED,
    data: Annotated[Path | None, typer.Option(help="Folder with Flickr8k; else crops of two photographs.")] = None,
    count: Annotated[int, typer.Option(help="Number of poems of each kind.")] = 100,
) -> None:
    """Print medians over many poems, requested one after another."""
    photos = photographs(count, data)
    with TritonServer(repository, Ports.free()) as server:
        for lines in (Sampling.min_lines, Sampling.max_lines):
            strategies = [Sampling(seed=seed, min_lines=lines) for seed in range(count)]
            arrivals = [_arrivals(server, *job) for job in zip(photos, strategies, strict=True)][1:]
            first = [times[0] for times in arrivals]
            whole = [times[-1] for times in arrivals]
            parts = [a / b for a, b in zip(first, whole, strict=True)]
            with Img2Poem(server.grpc_url) as poet:
                once = [_milliseconds(poet, *job) for job in zip(photos, strategies, strict=True)][1:]
            typer.echo(
                f"at least {lines} lines: {statistics.mean(len(times) - 1 for times in arrivals):.1f} on average, "
                f"first after {statistics.median(first):.0f} ms, all after {statistics.median(whole):.0f} ms "
                f"(first / all: median {statistics.median(parts):.3f}); "
                f"img2poem_sample {statistics.median(once):.0f} ms"
            )


def _milliseconds(poet: Img2Poem, photo: bytes, strategy: Sampling) -> float:
    """Return the duration of one call."""
    started = time.perf_counter()
    poet.write(photo, strategy)
    return (time.perf_counter() - started) * 1000


def _arrivals(server: TritonServer, photo: bytes, strategy: Sampling) -> list[float]:
    """Return the milliseconds until each response."""
    with streaming(server) as stream:
        started = time.perf_counter()
        stream.ask(photo, **line_options(strategy))
        return [(line.at - started) * 1000 for line in stream.rest()]


if __name__ == "__main__":
    typer.run(main)
