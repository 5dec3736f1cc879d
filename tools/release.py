"""Build, check and try a release: ``python -m tools.release``.

The code's wheel and source distribution are built from the tracked files, the models' wheel ``img2poem-lite`` from an
int8 export of the shipped package. They are written to ``dist/`` only if all checks pass: contents and metadata, the
version of the changelog's first section, and trials in fresh environments without a network. Measurements go to
``build/release.json``.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.photographs import photographs
from export.all import export
from export.settings import Settings
from img2poem import __version__
from img2poem.cli.console import reporting, tell
from img2poem.files.atomic import write_atomically
from img2poem.transports.local import MODELS

from . import distributions
from .building import build_code, build_lite
from .distributions import ReleaseError
from .processes import git
from .proving import Fresh, Trial, interpreters, prove_sdist, prove_wheels

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "weights" / "lite"
#: Folder of the export and the report.
_BUILD = ROOT / "build"
#: Oldest and newest supported Python.
_PYTHONS = ("3.10", "3.13")


def exported(data: Path | None) -> Path:
    """Return the int8 repository of the shipped package; export it if it is not up to date."""
    out = _BUILD / "int8"
    export(WEIGHTS, out, Settings(precision="int8", models=MODELS, data=data))
    return out


def prove(built: Sequence[Path], repository: Path, work: Path) -> list[Trial]:
    """Test the distributions in fresh environments of several Pythons.

    Args:
        built: wheel, source distribution, and wheel of the models.
        repository: an export for the source distribution, which contains no models.
        work: folder for the environments.

    Raises:
        ReleaseError: something does not work.
    """
    photo = work / "photo.jpg"
    photo.write_bytes(photographs(1)[0])
    found = interpreters(_PYTHONS)
    for version in _PYTHONS:
        if version not in found:
            tell(f"Python {version} was not found: it is not tested")
    trials = []
    for version, interpreter in (found or {"of this environment": Path(sys.executable)}).items():
        tell(f"testing the wheels in a fresh environment of Python {version} ...")
        fresh = Fresh(interpreter, work / f"wheels-{version}", built)
        trials.append(prove_wheels(fresh, photo))
    interpreter = next(iter(found.values()), Path(sys.executable))
    tell("testing the source distribution ...")
    prove_sdist(Fresh(interpreter, work / "sdist", ()), built[1], photo, repository)
    return trials


def report(trials: Sequence[Trial], sizes: dict[str, float]) -> str:
    """Return a table of measurements and targets; ``sizes`` are in units of 10^6 bytes by file name."""
    rows: list[tuple[str, str, list[float]]] = [
        ("install `img2poem[local]`, s", "60", [one.install.elapsed for one in trials]),
        ("of processor time, s", "", [one.install.processor for one in trials]),
        ("first `img2poem write`, s", "1.5", [one.poem.elapsed for one in trials]),
        ("of processor time, s", "", [one.poem.processor for one in trials]),
        ("the same again, s", "", [one.poem_again.elapsed for one in trials]),
        ("resident memory of a first poem, MB", "300", [one.poem_megabytes for one in trials]),
        ("of every operation in turn, MB", "", [one.all_megabytes for one in trials]),
        ("packages installed", "", [len(one.installed) for one in trials]),
    ]
    lines = ["| | at most |" + "".join(f" Python {one.python} |" for one in trials), "|---|---|" + "---|" * len(trials)]
    for what, most, values in rows:
        shown = (f" {value:.3g}{' (missed)' if most and value > float(most) else ''} |" for value in values)
        lines.append(f"| {what} | {most} |{''.join(shown)}")
    lines += ["", "| file | MB |", "|---|---|", *(f"| `{name}` | {size:.2f} |" for name, size in sizes.items())]
    return "\n".join(lines)


def main(
    out: Annotated[Path, typer.Option(help="Output folder of the distributions.")] = Path("dist"),
    data: Annotated[
        Path | None, typer.Option(help="Training data with the photographs that calibrate and measure int8.")
    ] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Accept a changelog that does not begin with the version yet.")
    ] = False,
    repository: Annotated[
        Path | None, typer.Option(help="Repository with the models.", show_default="an int8 export")
    ] = None,
) -> None:
    """Build, check and test a release of the committed files."""
    with reporting():
        if changed := git(ROOT, "status", "--porcelain", "--untracked-files=no").strip():
            raise ReleaseError(f"there are changes that are not committed:\n{changed}")
        if not draft:
            distributions.check_changelog(ROOT / "CHANGELOG.md", __version__)
        models = repository or exported(data)
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            tell(f"building img2poem {__version__} and img2poem-lite ...")
            built = [
                *build_code(ROOT, _new(work / "code")),
                build_lite(ROOT, models, WEIGHTS, _new(work / "lite")),
            ]
            trials = prove(built, models, work)
            sizes = {path.name: path.stat().st_size / 1e6 for path in built}
            tell(f"\n{trials[0].text}\n")
            typer.echo(report(trials, sizes))
            _BUILD.mkdir(exist_ok=True)
            told = {"sizes_mb": sizes, "trials": [asdict(one) for one in trials]}
            write_atomically(_BUILD / "release.json", json.dumps(told, indent=2).encode() + b"\n")
            out.mkdir(parents=True, exist_ok=True)
            for path in built:
                content = path.read_bytes()
                write_atomically(out / path.name, content)
                typer.echo(f"{hashlib.sha256(content).hexdigest()}  {out / path.name}")


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    typer.run(main)
