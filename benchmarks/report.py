"""The benchmarks' results, as Markdown for reading and as JSON for plots and the guard."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from img2poem.files.atomic import write_atomically

_TOOLS = ("img2poem", "onnxruntime", "torch", "numpy", "pillow", "nvidia-pytriton", "tritonclient")


@dataclass(frozen=True)
class Claim:
    """A target of the project: a value with an upper or a lower bound."""

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Whether the value meets its bound."""
        below = self.at_most is None or self.value <= self.at_most
        return below and (self.at_least is None or self.value >= self.at_least)

    def __str__(self) -> str:
        bound = f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"
        return f"| {self.name} | {self.value:.3g} | {bound} | {'yes' if self.met else '**no**'} |"


@dataclass
class Section:
    """A part of the report: a table, claims, and the underlying numbers by name."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        """Return the section as Markdown."""
        parts = [f"## {self.title}", *self.notes, _table(self.columns, self.rows)]
        return "\n\n".join(part for part in parts if part)


@dataclass
class Report:
    """All sections, with the machine and the command."""

    command: str
    sections: list[Section] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=lambda: _machine())

    def markdown(self) -> str:
        """Return the report as Markdown."""
        told = [f"- {name}: {value}" for name, value in self.machine.items()]
        claims = [str(claim) for section in self.sections for claim in section.claims]
        head = ["# Benchmarks", f"Written by `{self.command}`. Times are medians with the 10th and 90th percentile."]
        aims = "\n".join(["| aim | found | bound | met |", "|---|---|---|---|", *claims]) if claims else ""
        parts = [*head, "\n".join(told), aims, *(section.markdown() for section in self.sections)]
        return "\n\n".join(part for part in parts if part) + "\n"

    def write(self, folder: Path) -> None:
        """Write ``report.md`` and ``report.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "report.md", self.markdown().encode())
        write_atomically(folder / "report.json", json.dumps(asdict(self), indent=2).encode())


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _machine() -> dict[str, str]:
    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load at the start": f"{os.getloadavg()[0]:.2f}",
    }
    versions = {tool: importlib.metadata.version(tool) for tool in _TOOLS}
    return {**{name: str(value) for name, value in found.items()}, "versions": json.dumps(versions)}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
