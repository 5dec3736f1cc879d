"""Write the Triton model repository of a model package: ``python -m export.all``.

    python -m export.all                  # for CPUs, to triton_repo.cpu
    python -m export.all --device gpu     # for GPUs: fills in the weights of triton_repo

Each exported file is compared with torch before it enters the repository. If one differs, or the export is
interrupted, nothing is replaced. If nothing has changed since the last export, nothing is written. Otherwise only
the files that depend on a change are exported again.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from img2poem.artifacts.package import Package
from img2poem.errors import BadRepository, Img2PoemError
from img2poem.files.atomic_folder import replacing
from img2poem.system.cores import allowed
from img2poem.text.vocabulary import word_list

from . import table
from .repository import fingerprint, is_current, may_be_replaced, write_manifest
from .settings import DEFAULT_OUT, FORMATS, OLDEST_TARGET, OPSETS, Device, Settings

if TYPE_CHECKING:
    from .writing import Row

#: Each process loads the package and torch, which takes over a gigabyte.
_MOST_PROCESSES = 4


class DeviceOption(str, Enum):
    """Device that Triton runs the models on."""

    cpu = "cpu"
    gpu = "gpu"


def _by_device(values: Mapping[Device, object]) -> str:
    """Return an option's values by device, as text."""
    texts = {device: " or ".join(map(str, v)) if isinstance(v, tuple) else v for device, v in values.items()}
    return ", ".join(f"{text} for --device {device}" for device, text in texts.items())


class ProfileOption(str, Enum):
    """Which models are exported."""

    all = "all"
    serving = "serving"


class PrecisionOption(str, Enum):
    """Numeric precision of the models."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


def export(
    weights: Path, out: Path, settings: Settings = Settings(), force: bool = False, processes: int | None = None
) -> bool:
    """Export the package ``weights`` to the repository ``out``; return False if it was already up to date.

    Args:
        weights: the model package.
        out: the repository; replaced as a whole.
        settings: options of the export.
        force: export everything, even files that have not changed.
        processes: models exported in parallel; None: one for each processor, at most four.

    Raises:
        BadPackage: ``weights`` is not a model package.
        ParityError: an exported file differs from torch; ``out`` is untouched.
        PlacementError: a GPU file has operators without a CUDA kernel; ``out`` is untouched.
        BadRepository: ``out`` holds other files, cannot be replaced, or is being written by another export.
        OSError: ``out`` cannot be written; it is untouched.
        BrokenProcessPool: a process was killed, for example for lack of memory; ``out`` is untouched.
        InvalidOption: ``settings`` name a model that does not exist.
    """
    package = Package.open(weights)
    mark = fingerprint(package, settings)
    if not force and is_current(out, mark):
        return False
    # Imported late: when nothing has changed, the export ends without loading torch.
    from . import build, quality, reuse

    console = table.console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rows: list[Row] = []
    whole = replacing(out, may_be_replaced, BadRepository)
    with whole as staging, Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("loading the package", total=None)
        earlier = reuse.Earlier(None if force else out)

        def progress(model: str, total: int) -> None:
            bar.update(task, description=model, total=total)

        at_a_time = min(allowed(), _MOST_PROCESSES) if processes is None else processes
        for row in build.build(package, staging, settings, earlier, progress, at_a_time):
            rows.append(row)
            bar.advance(task)
        write_manifest(staging, mark, settings.data, {row.model: asdict(row.made) for row in rows if row.made})
    console.print(table.table(rows))
    if settings.precision != "fp32" and (absent := quality.MODELS - {row.model for row in rows}):
        console.print(f"the loss by {settings.precision} was not measured: this needs {', '.join(sorted(absent))}")
    return True


def main(
    weights: Annotated[Path, typer.Option(help="Model package to export.")] = Path("weights/lite"),
    out: Annotated[
        Path | None,
        typer.Option(
            help="Model repository to write; replaced as a whole.",
            show_default=_by_device(DEFAULT_OUT),
        ),
    ] = None,
    device: Annotated[DeviceOption, typer.Option(help="Device that Triton runs the models on.")] = DeviceOption.cpu,
    precision: Annotated[
        PrecisionOption, typer.Option(help="Precision of the models: fp16 for GPUs, int8 for CPUs.")
    ] = PrecisionOption.fp32,
    formats: Annotated[
        str,
        typer.Option(help=f"{' or '.join(FORMATS)}, or both with a comma between; Triton's wheel serves onnx only."),
    ] = "onnx",
    models: Annotated[
        str,
        typer.Option(
            help="Export only these models, separated by commas; an ensemble includes its parts.", show_default="all"
        ),
    ] = "",
    profile: Annotated[
        ProfileOption,
        typer.Option(help="serving: only the models that write whole poems (img2poem...) and their parts."),
    ] = ProfileOption.all,
    opset: Annotated[
        int | None,
        typer.Option(help=f"Opset of the ONNX files: {_by_device(OPSETS)}.", show_default="the first of these"),
    ] = None,
    max_batch: Annotated[
        int, typer.Option(help="Largest batch of most models, 1 to 256; a quarter of it if a row is several poems.")
    ] = Settings.max_batch,
    target: Annotated[
        str | None,
        typer.Option(
            help=f"Triton release that serves the repository; refused if older than {_by_device(OLDEST_TARGET)}.",
            show_default="the oldest",
        ),
    ] = None,
    instances: Annotated[
        int, typer.Option(help="Instances of each model that most poems need, 1 to 16.")
    ] = Settings.instances,
    photo_processes: Annotated[
        int, typer.Option(help="Processes that decode photographs, 1 to 64.")
    ] = Settings.photo_processes,
    streams: Annotated[
        int, typer.Option(help="Poems that img2poem_stream writes concurrently, 1 to 1024.")
    ] = Settings.streams,
    gpu_memory: Annotated[
        int,
        typer.Option(
            help="Limit in MiB of the GPU memory that one instance of a model may use for its tensors.",
            show_default="no limit",
        ),
    ] = Settings.gpu_memory,
    data: Annotated[
        Path | None,
        typer.Option(help="Training data: photographs for the calibration and measurement of fp16 and int8."),
    ] = None,
    forbidden_words: Annotated[
        Path | None,
        typer.Option(help="File of forbidden words, one per line.", show_default="the package's list"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Export everything, even files that have not changed.")
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Models exported in parallel; each takes over 1 GB of memory.",
            show_default="one per processor, at most 4",
        ),
    ] = None,
) -> None:
    """Export a model package to a Triton model repository and check each file against torch."""
    try:
        settings = Settings(
            device=device.value,
            precision=precision.value,
            formats=_names(formats),
            models=_names(models),
            profile=profile.value,
            opset=opset or 0,
            max_batch=max_batch,
            target=target or "",
            instances=instances,
            photo_processes=photo_processes,
            streams=streams,
            gpu_memory=gpu_memory,
            data=data,
            forbidden_words=None if forbidden_words is None else word_list(forbidden_words),
        )
        out = out or DEFAULT_OUT[device.value]
        written = export(weights, out, settings, force, processes)
    except Img2PoemError as error:
        typer.echo(f"export: {error}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"export: {error}; nothing was replaced: make room, or name another --out", err=True)
        raise typer.Exit(1) from error
    except BrokenProcessPool as error:
        typer.echo("export: a process was killed, most likely because memory ran out; try --processes 1", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("export: interrupted; nothing was replaced", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"{out}: {'written' if written else 'up to date'}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


if __name__ == "__main__":
    typer.run(main)
