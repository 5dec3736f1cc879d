"""Check that every interface returns the same tokens: ``python -m benchmarks.agreement --data folder``."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from img2poem import BeamSearch, Greedy, Sampling
from img2poem.artifacts.installed import EXPORTED
from img2poem.serving.server import Ports, TritonServer

from .homes import AnySearch, Homes, Tokens
from .photographs import photographs


def strategies(number: int) -> list[AnySearch]:
    """Return the strategies for photograph ``number``; each photograph has its own seed."""
    return [Greedy(), BeamSearch(), Sampling(seed=number)]


def compare(server: TritonServer, photos: list[bytes]) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Count the poems by strategy and interface; list those that differ from the ensemble's."""
    compared: Counter[tuple[str, str]] = Counter()
    differences = []
    homes = Homes(server)
    for number, photo in enumerate(photos):
        for strategy in strategies(number):
            expected: Tokens | None = None
            for home, write in homes.of(strategy).items():
                tokens = write(photo, strategy)
                expected = expected or tokens
                compared[strategy.name, home] += 1
                if tokens != expected:
                    differences.append(f"photograph {number}, {strategy}, {home}: {tokens}, not {expected}")
    homes.close()
    return compared, differences


def main(
    repository: Annotated[Path, typer.Option(help="Model repository.")] = EXPORTED,
    data: Annotated[Path | None, typer.Option(help="Folder with Flickr8k; else crops of two photographs.")] = None,
    count: Annotated[int, typer.Option(help="Number of photographs.")] = 100,
) -> None:
    """Compare the tokens; exit with status 1 if any differ."""
    photos, started = photographs(count, data), time.perf_counter()
    with TritonServer(repository, Ports.free()) as server:
        compared, differences = compare(server, photos)
    for (strategy, home), poems in sorted(compared.items()):
        typer.echo(f"{strategy:8} {home:22} {poems} poems")
    for difference in differences:
        typer.echo(difference)
    typer.echo(f"{len(differences)} of {compared.total()} differ; {time.perf_counter() - started:.0f} s")
    raise typer.Exit(bool(differences))


if __name__ == "__main__":
    typer.run(main)
