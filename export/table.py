"""The results of an export or a check as a table for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from .writing import Row

_TO_THE_LEFT = ("model", "format")
_COLUMNS = (*_TO_THE_LEFT, "opset", "MB", "difference", "ms a call", "")


def console() -> Console:
    """Return a console that does not cut lines if the output is no terminal."""
    # The exporter's output is silenced by replacing sys.stdout; this console keeps the original.
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)


def table(rows: Sequence[Row]) -> Table:
    """Return a table with one line per model and its largest difference from torch; it fits 80 columns."""
    found = Table(box=None, header_style="bold", pad_edge=False)
    for column in _COLUMNS:
        found.add_column(column, justify="left" if column in _TO_THE_LEFT else "right", no_wrap=True)
    for row in sorted(rows, key=lambda row: row.model):
        made = row.made
        cells = [str(made.opset or ""), f"{row.size / 1e6:.1f}"] if made else ["", ""]
        cells += [f"{made.difference:.1e}", f"{made.milliseconds:.1f}"] if made else ["", ""]
        found.add_row(row.model, row.format, *cells, "kept" if row.kept else "")
    return found
