"""Detect slowdowns: ``python -m benchmarks.guard`` compares measured ratios with the committed ones.

It measures only ratios of two jobs that alternate, which hardly depend on the machine or its load.
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
    data: Annotated[Path | None, typer.Option(help="Training data: photographs, and calibration of int8.")] = None,
    slack: Annotated[float, typer.Option(help="Largest allowed growth of a ratio, as a factor.")] = 1.3,
    write: Annotated[bool, typer.Option("--write", help="Replace the committed ratios by the measured ones.")] = False,
) -> None:
    """Measure the parts against their lower bounds and Triton against in process; fail if a ratio has grown."""
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
