"""Measure all speed figures in the docs: ``python -m benchmarks.all``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from img2poem.cli.console import reporting

from . import gpu, growth, one_process, packages, served
from .photographs import photographs
from .report import Report, Section

#: Section names for ``--only``.
SECTIONS = ("reference", "parts", "whole", "floor", "cold", "overhead", "load", "start", "growth", "sizes", "gpu")


def main(
    out: Annotated[Path, typer.Option(help="Folder for report.md and report.json.")] = Path("benchmarks/results"),
    work: Annotated[Path, typer.Option(help="Folder for the exported repositories; kept.")] = Path("build/benchmarks"),
    data: Annotated[Path | None, typer.Option(help="Training data: photographs, and calibration of int8.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A rough run with few turns; takes minutes.")] = False,
    only: Annotated[str, typer.Option(help=f"Only these sections, separated by commas: {', '.join(SECTIONS)}.")] = "",
) -> None:
    """Measure everything and write a report; run it on an otherwise idle machine."""
    names = only.split(",") if only else [*SECTIONS]
    if unknown := {*names} - {*SECTIONS}:
        raise typer.BadParameter(f"there is no section {', '.join(sorted(unknown))}")
    console, report = Console(stderr=True), Report("python -m benchmarks.all " + " ".join(sys.argv[1:]))
    with reporting():
        for name, measure in _sections(work, data, quick).items():
            if name in names:
                with console.status(name):
                    section = measure()
                if section is None:
                    console.print(f"{name}: there is nothing to measure it on", markup=False)
                    continue
                report.sections.append(section)
                console.print(section.markdown(), markup=False, soft_wrap=True)
                report.write(out)
    missed = [str(claim) for section in report.sections for claim in section.claims if not claim.met]
    console.print(f"{out / 'report.md'} written; {len(missed)} aims missed", *missed, sep="\n", markup=False)


def _sections(work: Path, data: Path | None, quick: bool) -> dict[str, Callable[[], Section | None]]:
    turns, photos = 7 if quick else 31, photographs(16, data)
    lite = packages.repository(work, "fp32", data)
    lite_int8 = packages.repository(work, "int8", data)
    few, seconds = max(3, turns // 8), 2.0 if quick else 10.0
    photo = work / "photo.jpg"
    photo.write_bytes(photos[0])

    def larger(precision: str) -> Path:
        return packages.resnet50_repository(work, "int8" if precision == "int8" else "fp32")

    return {
        "reference": lambda: one_process.against_reference(
            {"lite": lite, "lite, int8": lite_int8, "ResNet-50": larger("fp32"), "ResNet-50, int8": larger("int8")},
            photos[0],
            few,
        ),
        "parts": lambda: one_process.parts(lite, lite_int8, photos[0], turns),
        "whole": lambda: one_process.whole(lite, lite_int8, photos, turns),
        "floor": lambda: one_process.over_floor(lite, lite_int8, photos[0], turns),
        "cold": lambda: one_process.cold_start(lite, lite_int8, photo, few),
        "overhead": lambda: served.overhead(lite, photos[0], turns),
        "load": lambda: served.under_load(lite, photos, seconds),
        "start": lambda: served.start(lite, few),
        "growth": lambda: growth.time_and_memory(lite, larger("fp32"), few),
        "sizes": lambda: growth.sizes(Path("weights/lite"), {"fp32": lite, "int8": lite_int8}),
        "gpu": lambda: gpu.encoders_and_loops(Path("weights/lite"), lite, turns),
    }


if __name__ == "__main__":
    typer.run(main)
