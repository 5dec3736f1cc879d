"""Check that other versions of Python, numpy, Pillow and onnxruntime write the same poems: `nox` runs it in each.

    python -m benchmarks.versions --write build/expected.json              # here
    python -m benchmarks.versions --compare build/expected.json --serve    # there; needs only img2poem[local]

Exit status 1 if tokens differ, or scores and embeddings differ by more than the bound.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from img2poem import BeamSearch, BestOf, Greedy, Img2Poem, Sampling
from img2poem.artifacts.installed import EXPORTED
from img2poem.decoding.strategies import AnyStrategy
from img2poem.images.decode import decode

_PHOTOS = 12
_LIBRARIES = ("numpy", "pillow", "tokenizers", "onnxruntime", "tritonclient", "nvidia-pytriton")
#: Allowed differences of floats, which versions of onnxruntime add in different orders, and of pixels (Pillow rounds).
_FLOATS, _PIXELS = 1e-4, 1


def strategies(number: int) -> list[AnyStrategy]:
    """Return the strategies for photograph ``number``."""
    return [
        Greedy(forbidden=("the", "sea")),
        BeamSearch(width=4),
        Sampling(seed=number),
        BestOf(4, Sampling(seed=number, temperature=1.2)),
    ]


def written(poet: Img2Poem, photos: list[bytes], pixels: bool) -> list[dict[str, Any]]:
    """Return the results for each photograph."""
    found = []
    for number, photo in enumerate(photos):
        poems = [poet.write(photo, strategy) for strategy in strategies(number)]
        found.append(
            {
                "tokens": [poem.tokens for poem in poems],
                "scores": [poem.score for poem in poems],
                "embedding": poet.embed_image(photo).tolist(),
                **({"pixels": decode(photo)[::7, ::7].tolist()} if pixels else {}),
            }
        )
    return found


def compared(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> tuple[int, dict[str, float]]:
    """Return how many poems have different tokens, and the largest differences of the other values."""
    other = sum(
        [*mine] != [*theirs]
        for here, there in zip(found, expected, strict=True)
        for mine, theirs in zip(here["tokens"], there["tokens"], strict=True)
    )
    differences = {
        name: max(
            float(np.abs(np.subtract(here[name], there[name])).max())
            for here, there in zip(found, expected, strict=True)
        )
        for name in found[0]
        if name != "tokens"
    }
    return other, differences


def main(
    write: Annotated[Path | None, typer.Option(help="Output file for the results.")] = None,
    compare: Annotated[Path | None, typer.Option(help="File with the results to compare with.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Also over gRPC and HTTP of a real server.")] = False,
    repository: Annotated[Path, typer.Option(help="Model repository.")] = EXPORTED,
) -> None:
    """Write poems and their numbers, or compare them with earlier ones."""
    if write is not None:
        from .photographs import photographs

        photos = photographs(_PHOTOS)
        with Img2Poem(repository) as poet:
            told = {"photos": [base64.b64encode(p).decode() for p in photos], "found": written(poet, photos, True)}
        write.parent.mkdir(parents=True, exist_ok=True)
        write.write_text(json.dumps(told), encoding="utf-8")
        typer.echo(f"{write}: {_PHOTOS} photographs, {_versions()}")
    failed = False
    if compare is not None:
        told = json.loads(compare.read_text(encoding="utf-8"))
        photos = [base64.b64decode(photo) for photo in told["photos"]]
        typer.echo(_versions())
        for home, poet in _homes(repository, serve):
            found = written(poet, photos, home == "in process")
            other, differences = compared(found, told["found"])
            shown = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
            typer.echo(f"{home}: {other} of {_PHOTOS * 4} poems have other tokens; largest differences: {shown}")
            bounds = {"pixels": _PIXELS}
            failed |= bool(other) or any(value > bounds.get(name, _FLOATS) for name, value in differences.items())
    raise typer.Exit(failed)


def _homes(repository: Path, serve: bool) -> Iterator[tuple[str, Img2Poem]]:
    with Img2Poem(repository) as poet:
        yield "in process", poet
    if serve:
        with _server(repository) as urls:
            for url in urls:
                with Img2Poem(url) as poet:
                    yield url.partition(":")[0], poet


@contextmanager
def _server(repository: Path) -> Iterator[list[str]]:
    from img2poem.serving.server import Ports, TritonServer

    with TritonServer(repository, Ports.free()) as server:
        yield [server.grpc_url, server.http_url]


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


if __name__ == "__main__":
    typer.run(main)
