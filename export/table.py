"""What an export made or a check found, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from .writing import Row


def table(rows: Sequence[Row]) -> Table:
    """Return a line a model, by name."""
    found = Table(box=None, header_style="bold")
    for column in ("model", "format", "opset", "size", "largest difference", "ms a call", ""):
        found.add_column(column, justify="left" if column in ("model", "format", "") else "right", no_wrap=True)
    for row in sorted(rows, key=lambda row: row.model):
        cells = ["", "", "", ""]
        if row.made:
            made = row.made
            size = f"{row.size / 1e6:.1f} MB"
            cells = [str(made.opset or ""), size, f"{made.difference:.1e}", f"{made.milliseconds:.1f}"]
        found.add_row(row.model, row.format, *cells, "kept" if row.kept else "")
    return found
