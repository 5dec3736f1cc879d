"""``inspect``, ``seal`` and ``doctor``: check model files, and whether this installation can write poems."""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from ..artifacts import inspection, manifest
from ..artifacts.installed import default_repository
from ..artifacts.package import seal as seal_package
from ..client.client import Img2Poem
from ..decoding.strategies import Greedy
from ..errors import Img2PoemError
from ..system.findings import Finding, Verdict
from . import options
from .console import reporting, say, tell
from .grouped import grouped
from .source import Source

#: Distributions that each extra installs.
_EXTRAS = {
    "local": ("onnxruntime",),
    "client": ("tritonclient", "httpx"),
    "rhyme": ("pronouncing",),
    "heic": ("pillow-heif",),
    "server": ("nvidia-pytriton",),
}


def inspect(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Model repository or model package to inspect.", show_default=options.DEFAULT),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the origin of a repository or package, and check its files and stamps. Exit status 1 if one is wrong."""
    with reporting():
        folder = folder or default_repository()
        package = inspection.is_package(folder)
        report = inspection.inspect_package(folder) if package else inspection.inspect(folder)
    if as_json:
        say(json.dumps(asdict(report)))
    elif isinstance(report, inspection.PackageReport):
        _print_package(report)
    else:
        _print_report(report)
    if report.problems:
        raise typer.Exit(1)


def seal(package: Annotated[Path, typer.Argument(help="Model package.")]) -> None:
    """Rewrite a package's manifest, for example after you edited its model card. Seal only files that you trust."""
    with reporting():
        seal_package(package)
    say(f"{package / manifest.NAME}: written")


@grouped
def doctor(
    source: Source = Source(),
    as_json: options.AsJson = False,
) -> None:
    """Check this installation and its models, and write one poem. Exit status 1 if something fails.

    Use `img2poem serve --check` to check whether this machine can run the server.
    """
    findings = [Finding("python", Verdict.ok, f"{platform.python_version()} on {platform.platform()}"), *_installed()]
    findings += _written(source)
    failed = any(finding.verdict is Verdict.failed for finding in findings)
    if as_json:
        say(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            advice = f"; {finding.advice}" if finding.advice else ""
            say(f"{finding.verdict.value:8} {finding.check}: {finding.detail}{advice}")
    if failed:
        raise typer.Exit(1)


def _installed() -> list[Finding]:
    found = []
    for extra, names in _EXTRAS.items():
        try:
            versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
            found.append(Finding(extra, Verdict.ok, ", ".join(versions)))
        except importlib.metadata.PackageNotFoundError as error:
            found.append(Finding(extra, Verdict.missing, f"no {error.name}", f"pip install 'img2poem[{extra}]'"))
    return found


def _written(source: Source) -> list[Finding]:
    """Check the target by writing a poem about a generated picture."""
    found: list[Finding] = []
    picture = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(picture, "JPEG")
    step = "target"
    try:
        with source.poet() as poet:
            found += [Finding(h.endpoint, Verdict.ok if h.ready else Verdict.failed, h.detail) for h in poet.health()]
            step = "models"
            found.append(Finding(step, Verdict.ok, _models(poet)))
            step = "poem"
            poem = poet.write(picture.getvalue(), Greedy())
            found.append(Finding(step, Verdict.ok, f"{len(poem.lines)} lines in {poem.timings['total']:.0f} ms"))
    except Img2PoemError as error:
        found.append(Finding(step, Verdict.failed, f"{type(error).__name__}: {error}"))
    return found


def _models(poet: Img2Poem) -> str:
    info = poet.info()
    return f"package {info.package}, contract {info.contract[:8]}, {info.precision}"


def _print_report(report: inspection.Report) -> None:
    say(f"contract {report.contract}")
    stamps = report.models[0].stamps if report.models else {}
    for key, value in stamps.items():
        if key not in ("contract", "model"):
            say(f"{key} {value}")
    for model in report.models:
        say(f"{model.name:30} {model.platform:18} {model.size / 1e6:8.1f} MB")
    if report.shared:
        say(f"{'shared weights':49} {report.shared / 1e6:8.1f} MB")
    _print_problems(report.problems)


def _print_package(report: inspection.PackageReport) -> None:
    say(f"package {report.name}, architecture {report.architecture_version}")
    say(f"contract {report.contract}")
    for name, size in report.files.items():
        say(f"{name:30} {size / 1e6:8.1f} MB")
    _print_problems(report.problems)


def _print_problems(problems: list[str]) -> None:
    for problem in problems:
        tell(f"wrong: {problem}")
    if not problems:
        say("all files and stamps are as they were written")
