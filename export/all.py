"""Write the Triton model repository of a model package: ``python -m export.all``.

    python -m export.all --weights weights/lite --out triton_repo --device cpu

Every exported file is compared with torch before it enters the repository. When one differs, or the
export is interrupted, nothing is replaced. With nothing changed since the last export, nothing is done.
"""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from img2poem.errors import Img2PoemError
from img2poem.package import load_config

from .repository import fingerprint, is_current, replacing, write_manifest

console = Console()


class DeviceOption(str, Enum):
    """Where Triton is to run the models."""

    cpu = "cpu"
    gpu = "gpu"


def export(weights: Path, out: Path, device: Literal["cpu", "gpu"], force: bool = False) -> bool:
    """Write the repository of the package ``weights`` to ``out``; False when it was up to date.

    Raises:
        BadPackage: ``weights`` is not a model package.
        ParityError: an exported file differs from torch; ``out`` is untouched.
        BadRepository: ``out`` holds something else, or another export is writing it.
    """
    load_config(weights)
    mark = fingerprint(weights, device)
    if not force and is_current(out, mark):
        return False
    # Imported late: an export with nothing to do needs no torch and ends at once.
    from .build import build

    with replacing(out) as staging:
        table = Table("model", "format", "size", "largest difference", "seconds", box=None, header_style="bold")
        with console.status("loading the package") as status:
            started = time.monotonic()
            for name, kind, size, difference in build(weights, staging, device, status.update):
                elapsed = f"{time.monotonic() - started:.1f}"
                table.add_row(name, kind, f"{size / 1e6:.1f} MB" if size else "", difference, elapsed)
                started = time.monotonic()
        write_manifest(staging, mark)
    console.print(table)
    return True


def main(
    weights: Annotated[Path, typer.Option(help="Model package to export.")] = Path("weights/lite"),
    out: Annotated[Path, typer.Option(help="Model repository to write; replaced as a whole.")] = Path("triton_repo"),
    device: Annotated[DeviceOption, typer.Option(help="Where Triton is to run the models.")] = DeviceOption.cpu,
    force: Annotated[bool, typer.Option("--force", help="Export even when nothing has changed.")] = False,
) -> None:
    """Write the Triton model repository of a model package, each file proven equal to torch."""
    try:
        written = export(weights, out, "gpu" if device is DeviceOption.gpu else "cpu", force)
    except Img2PoemError as error:
        typer.echo(f"export: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("export: interrupted; nothing was replaced", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"{out}: {'written' if written else 'up to date'}")


if __name__ == "__main__":
    typer.run(main)
