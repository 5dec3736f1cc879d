"""The benefit of a second instance of the models: ``python -m benchmarks.instances``.

See ``export.served.INSTANCES``.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from img2poem import Sampling
from img2poem.artifacts.installed import EXPORTED
from img2poem.serving.server import Ports, ServerSettings, TritonServer

from .homes import Homes, Tokens
from .photographs import photographs


def main(
    repository: Annotated[Path, typer.Option(help="Model repository.")] = EXPORTED,
    count: Annotated[int, typer.Option(help="Number of poems of each kind.")] = 96,
    callers: Annotated[int, typer.Option(help="Number of concurrent callers.")] = 32,
) -> None:
    """Print poems per second of ``img2poem_sample`` and of streams, twice each with one instance and with two."""
    photos = photographs(count)
    for instances in (1, 2, 1, 2):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(repository, Path(folder) / "repository"))
            for config in copy.glob("*/config.pbtxt"):
                config.write_text(_with(instances, config.read_text()))
            settings = ServerSettings(verify=False)
            with TritonServer(copy, Ports.free(), settings) as server:
                for home in ("ensemble, gRPC", "stream"):
                    rate = _rate(server, home, photos, callers)
                    typer.echo(f"{instances} instances, {callers} callers, {home}: {rate:.1f} poems/s")


def _with(instances: int, config: str) -> str:
    streams = 'key: "streams"\n  value {\n    string_value: '
    slots = config.replace(f'{streams}"8"', f'{streams}"{16 // instances}"')
    return slots.replace("count: 2", f"count: {instances}")


def _rate(server: TritonServer, home: str, photos: list[bytes], callers: int) -> float:
    everyone = [Homes(server) for _ in range(callers)]

    def ask(caller: int) -> None:
        write: Callable[[bytes, Sampling], Tokens] = everyone[caller].of(Sampling())[home]
        for number in range(caller, len(photos), callers):
            write(photos[number], Sampling(seed=number))

    started = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(ask, range(callers)))
    seconds = time.perf_counter() - started
    for one in everyone:
        one.close()
    return len(photos) / seconds


if __name__ == "__main__":
    typer.run(main)
