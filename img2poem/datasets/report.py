"""Report of a download: the outcome of each file."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from rich.table import Table

from ..files.atomic import write_atomically

#: ``downloaded``: fetched now. ``present``: existed before. ``dead``: the URL no longer works. ``invalid``: the content
#: is something else, or damaged. ``failed``: another attempt may succeed.
Outcome = Literal["downloaded", "present", "dead", "invalid", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class Result:
    """Outcome of one file; ``reason`` is a short category that can be counted, ``detail`` has more information."""

    url: str
    path: Path
    outcome: Outcome
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class DownloadReport:
    """Outcomes of all files, in the order of their paths."""

    results: tuple[Result, ...]

    @property
    def counts(self) -> dict[Outcome, int]:
        """Number of files by outcome; outcomes without files are 0."""
        counts = Counter(result.outcome for result in self.results)
        return {outcome: counts[outcome] for outcome in OUTCOMES}

    @property
    def lost(self) -> tuple[Result, ...]:
        """The files that could not be fetched."""
        return tuple(result for result in self.results if result.outcome not in ("downloaded", "present"))

    def reasons(self, outcome: Outcome) -> dict[str, int]:
        """Return the number of files with ``outcome`` by reason, the most frequent first."""
        return dict(Counter(r.reason for r in self.results if r.outcome == outcome and r.reason).most_common())

    def table(self) -> Table:
        """Return counts and reasons as a printable table."""
        table = Table("outcome", "files", "reasons")
        table.columns[1].justify = "right"
        for outcome, count in self.counts.items():
            reasons = ", ".join(f"{reason}: {number}" for reason, number in self.reasons(outcome).items())
            table.add_row(outcome, str(count), reasons)
        return table

    def write(self, path: Path) -> None:
        """Write counts, reasons and lost files to ``path`` as JSON, atomically."""
        lost = [
            {
                "file": os.path.relpath(result.path, path.parent),
                "url": result.url,
                "outcome": result.outcome,
                "reason": result.reason,
                "detail": result.detail,
            }
            for result in self.lost
        ]
        report = {
            "files": len(self.results),
            "counts": self.counts,
            "reasons": {outcome: self.reasons(outcome) for outcome in OUTCOMES if self.reasons(outcome)},
            "lost": lost,
        }
        write_atomically(path, json.dumps(report, indent=2) + "\n")
