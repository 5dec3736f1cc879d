"""A guard against getting slower: ``python -m benchmarks.guard`` compares ratios with those that are committed.

Ratios alone, each of two jobs measured in turns, so that another or a busy machine changes them little.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from img2poem.files.atomic import write_atomically

from . import one_process, packages, served
from .photographs import photographs

RATIOS = Path(__file__).with_name("ratios.json")


def main(
    work: Annotated[Path, typer.Option(help="Folder for the exported repositories; kept.")] = Path("build/benchmarks"),
    data: Annotated[Path | None, typer.Option(help="Training data: calibrates int8, gives photographs.")] = None,
    slack: Annotated[float, typer.Option(help="How many times a ratio may be what it was.")] = 1.3,
    write: Annotated[bool, typer.Option("--write", help="Commit to what is measured now.")] = False,
) -> None:
    """Measure the parts over their floors and Triton over in process; fail when one has grown."""
    repositories = packages.repository(work, "fp32", data), packages.repository(work, "int8", data)
    [photo] = photographs(1, data)
    floor, overhead = one_process.over_floor(*repositories, photo, 15), served.overhead(repositories[0], photo, 15)
    found = {**floor.numbers, **overhead.numbers}
    if write:
        write_atomically(RATIOS, json.dumps({name: round(value, 3) for name, value in found.items()}, indent=2) + "\n")
        return
    known: dict[str, float] = json.loads(RATIOS.read_text(encoding="utf-8"))
    grown = {name: found[name] for name, before in known.items() if found[name] > slack * before}
    for name, before in known.items():
        typer.echo(f"{'SLOWER ' if name in grown else ''}{name}: {found[name]:.2f}, was {before:.2f}")
    if grown:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
