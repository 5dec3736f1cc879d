"""What became of each file of a download."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from rich.table import Table

from ..files.atomic import write_atomically

#: ``downloaded`` now or ``present`` before; else ``dead``: the address leads nowhere any more; ``invalid``: it
#: leads to something else, or something damaged; ``failed``: it may work another time.
Outcome = Literal["downloaded", "present", "dead", "invalid", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class Result:
    """What became of one file; ``reason`` is one of few to count by, ``detail`` may say more."""

    url: str
    path: Path
    outcome: Outcome
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class DownloadReport:
    """What became of all files, in the order of their paths."""

    results: tuple[Result, ...]

    @property
    def counts(self) -> dict[Outcome, int]:
        """The number of files by outcome; the numbers add up to the number of files."""
        counts = Counter(result.outcome for result in self.results)
        return {outcome: counts[outcome] for outcome in OUTCOMES}

    @property
    def lost(self) -> tuple[Result, ...]:
        """The files that are not there."""
        return tuple(result for result in self.results if result.outcome not in ("downloaded", "present"))

    def reasons(self, outcome: Outcome) -> dict[str, int]:
        """Return the number of files with ``outcome`` by reason, the commonest first."""
        return dict(Counter(r.reason for r in self.results if r.outcome == outcome and r.reason).most_common())

    def table(self) -> Table:
        """Return the counts as a table to print."""
        table = Table("outcome", "files", "reasons")
        table.columns[1].justify = "right"
        for outcome, count in self.counts.items():
            reasons = ", ".join(f"{reason}: {number}" for reason, number in self.reasons(outcome).items())
            table.add_row(outcome, str(count), reasons)
        return table

    def write(self, path: Path) -> None:
        """Write counts, reasons and the lost files to ``path`` as JSON, whole or not at all."""
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
