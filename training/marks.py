"""The marks of a blind reading of poems, and their table by system."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from img2poem.datasets import BadData
from img2poem.datasets.files import json_of, read_bytes, text_of
from img2poem.files.atomic import write_atomically

_Z = 1.96  # for 95 %
_LINE = re.compile(r"(\d+)\.?\s+([yn])\s+([1-5])\s+([1-5])\s+([yn])", re.IGNORECASE)
_YES_NO, _SCALE = (True, False), (1, 2, 3, 4, 5)
_ANSWERS = {"fault": _YES_NO, "sense": _SCALE, "fit": _SCALE, "show": _YES_NO}
_HEADER = ("system", "read", "% without fault", "sense, 1 to 5", "fit, 1 to 5", "% to show")


@dataclass(frozen=True)
class Mark:
    """A reader's marks of a poem: fault of grammar, sense and fit from 1 to 5, and whether to show it to a friend."""

    fault: bool
    sense: int
    fit: int
    show: bool


@dataclass(frozen=True)
class Key:
    """The system behind each poem of a sheet, in order."""

    sheet: str
    systems: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Key:
        """Read a key.

        Raises:
            BadData: the file is not a key.
        """
        content = json_of(read_bytes(path), path)
        try:
            return cls(str(content["sheet"]), tuple(map(str, content["systems"])))
        except (KeyError, TypeError):
            raise BadData.at(path, "not the key of a sheet", "give the file that ends in .key.json") from None

    def write(self, path: Path) -> None:
        """Write the key as JSON, atomically."""
        write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")


def read_marks(path: Path, key: Key) -> dict[int, Mark]:
    """Return the marks in a file by poem number, from 1: JSON saved by a sheet, or lines written by hand.

    Raises:
        BadData: the file has neither format, belongs to another sheet, or has a number that the sheet lacks.
    """
    data = read_bytes(path)
    if data.lstrip().startswith(b"{"):
        marks = _saved(json_of(data, path), path, key)
    else:
        marks = _by_hand(text_of(data, path), path)
    if wrong := [number for number in marks if not 1 <= number <= len(key.systems)]:
        remedy = "give the marks of this key's sheet"
        raise BadData.at(path, f"the sheet has {len(key.systems)} poems, and none is number {wrong[0]}", remedy)
    return marks


def table_of(marks: dict[int, Mark], key: Key) -> str:
    """Return the table by system as Markdown, each figure with its 95 % interval.

    Shares have Wilson's interval (1927), means the normal interval, which needs more than one poem.
    """
    by_system: dict[str, list[Mark]] = {system: [] for system in sorted(set(key.systems))}
    for number, mark in sorted(marks.items()):
        by_system[key.systems[number - 1]].append(mark)
    rows = [_HEADER, ("---",) * len(_HEADER), *(_row(system, read) for system, read in by_system.items())]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    left = len(key.systems) - len(marks)
    return f"{table}\n\n{left} of {len(key.systems)} poems are not marked" if left else table


def _saved(content: Any, path: Path, key: Key) -> dict[int, Mark]:
    if not isinstance(content, dict) or not isinstance(content.get("marks"), dict):
        raise BadData.at(path, "not the marks of a sheet", "give what the sheet saved")
    if content.get("sheet") != key.sheet:
        raise BadData.at(path, "marks of another sheet", "give the key that was written with it")
    marks = {}
    for number, mark in content["marks"].items():
        if not number.isdecimal() or not isinstance(mark, dict) or not all(map(_is_answer, mark.items())):
            raise BadData.at(path, f"not a mark: {mark!r:.80}", "give what the sheet saved", f"poem {number}")
        if len(mark) == len(_ANSWERS):  # incomplete marks are skipped
            marks[int(number)] = Mark(**mark)
    return marks


def _is_answer(answer: tuple[str, Any]) -> bool:
    name, value = answer
    return any(value == allowed and type(value) is type(allowed) for allowed in _ANSWERS.get(name, ()))


def _by_hand(text: str, path: Path) -> dict[int, Mark]:
    marks: dict[int, Mark] = {}
    for place, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            problem = f"NUMBER FAULT SENSE FIT SHOW is expected, as 12 n 4 5 y, not {line.strip()!r:.60}"
            raise BadData.at(path, problem, "correct the line", f"line {place}")
        number, fault, sense, fit, show = match.groups()
        if int(number) in marks:
            raise BadData.at(path, f"poem {number} is marked twice", "delete one of the lines", f"line {place}")
        marks[int(number)] = Mark(fault.lower() == "y", int(sense), int(fit), show.lower() == "y")
    return marks


def _row(system: str, read: Sequence[Mark]) -> tuple[str, ...]:
    return (
        system,
        str(len(read)),
        _share([not mark.fault for mark in read]),
        _mean([mark.sense for mark in read]),
        _mean([mark.fit for mark in read]),
        _share([mark.show for mark in read]),
    )


def _share(values: Sequence[bool]) -> str:
    if not values:
        return ""
    n = len(values)
    p, z = sum(values) / n, _Z**2 / n
    middle, half = (p + z / 2) / (1 + z), _Z * math.sqrt(p * (1 - p) / n + z / (4 * n)) / (1 + z)
    # For a share of 0 the lower bound is zero, but rounding may make it negative.
    return f"{100 * p:.0f} ({abs(100 * (middle - half)):.0f} to {100 * (middle + half):.0f})"


def _mean(values: Sequence[int]) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else ""
    mean, half = fmean(values), _Z * stdev(values) / math.sqrt(len(values))
    return f"{mean:.1f} ({max(1, mean - half):.1f} to {min(5, mean + half):.1f})"
