"""Compare the files of a repository with torch again, on the device that serves them: ``python -m export.check``.

    python -m export.check triton_repo --device cuda

An export compares on the CPU. This command repeats the comparison on another machine or device and changes nothing.
It skips the text models and the noise, which always run on the CPU.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track

from img2poem.artifacts import manifest
from img2poem.artifacts.installed import EXPORTED
from img2poem.artifacts.package import Package
from img2poem.errors import BadRepository, ContractMismatch, Img2PoemError

from . import table
from .settings import Settings

if TYPE_CHECKING:
    from .writing import Row


class On(str, Enum):
    """Device that the files run on."""

    cpu = "cpu"
    cuda = "cuda"


def check(
    repository: Path, weights: Path, device: On, data: Path | None = None
) -> tuple[list[Row], dict[str, float], list[str]]:
    """Compare all files; return the rows, the quality measures of a lower precision, and the faults found.

    Args:
        repository: an exported repository.
        weights: the package that it was exported from.
        device: device that the files run on.
        data: the training data, if the export did not have it or it has moved since.

    Raises:
        BadRepository: ``repository`` is not an export, or one of its files has changed since.
        BadPackage: ``weights`` is not a model package.
        ContractMismatch: ``repository`` was exported from another package than ``weights``.
        MissingDependency: this onnxruntime has no CUDA.
    """
    package = Package.open(weights)
    settings = _settings(repository, package)
    settings = replace(settings, data=data or settings.data)
    from . import quality, writing
    from .parity import ParityError

    writer = writing.Writer(package, repository, settings)
    models = [path.parent.parent.name for path in repository.glob("*/1/model.*")]
    rows, wrong, measures = [], [], {}
    for job in track(writer.jobs(models), description=f"comparing on {device.value}", transient=True):
        try:
            rows.append(writer.check(job, device.value))
        except ParityError as error:
            wrong.append(str(error))
    if settings.precision != "fp32" and {*models} >= quality.MODELS:
        of, photos = (repository, writer.model, writer.tokenizer, settings.precision), writer.converter.held_out
        try:
            measures = quality.check(*of, photos, settings.data, device.value)
        except ParityError as error:
            wrong.append(str(error))
    return rows, measures, wrong


def _settings(repository: Path, package: Package) -> Settings:
    try:
        found = manifest.read(repository)
        made_from: dict[str, Any] = found.about["made_from"]
    except (OSError, ValueError, KeyError) as error:
        raise BadRepository(
            f"{repository} is no exported repository ({error}); python -m export.all writes one"
        ) from error
    if changed := manifest.differences(repository, found.files).told():
        raise BadRepository(f"{repository} was changed since its export: {'; '.join(changed[:3])}")
    if found.about["contract"] != package.contract:
        raise ContractMismatch(f"{repository} was not exported from {package.folder}; name its package with --weights")
    lists = {name: tuple(value) for name, value in made_from["settings"].items() if isinstance(value, list)}
    data = found.about.get("data")
    return Settings(**{**made_from["settings"], **lists, "data": data and Path(data)})


def main(
    repository: Annotated[Path, typer.Argument(help="Exported model repository.")] = EXPORTED,
    weights: Annotated[Path, typer.Option(help="Model package of the repository.")] = Path("weights/lite"),
    device: Annotated[On, typer.Option(help="Device that the files run on; torch always runs on the CPU.")] = On.cpu,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Training data with the photographs that measure fp16 and int8.", show_default="that of the export"
        ),
    ] = None,
) -> None:
    """Compare the files of a repository with torch again, on the device that serves them."""
    console = table.console()
    try:
        rows, measures, wrong = check(repository, weights, device, data)
    except (Img2PoemError, OSError) as error:
        typer.echo(f"check: {error}", err=True)
        raise typer.Exit(2) from error
    console.print(table.table(rows))
    for name, value in measures.items():
        console.print(f" {name}: {value:.3f}")
    for line in wrong:
        typer.echo(f"check: {line}", err=True)
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
