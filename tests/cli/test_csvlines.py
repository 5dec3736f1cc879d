"""Rows of CSV: any cell comes back as it was."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from img2poem.cli.csvlines import COLUMNS, CsvLines

FIELDS = {**dict.fromkeys(COLUMNS, 1), "photo": "a.jpg", "strategy": {}, "form": None, "model": {}}


@given(st.text(st.sampled_from("a ,.\"\n\r'")))
def test_a_poem_comes_back_with_its_lines(text: str) -> None:
    row = CsvLines.line({**FIELDS, "text": text})
    [cells] = csv.reader(io.StringIO(row, newline=""), strict=True)
    assert dict(zip(COLUMNS, cells, strict=True))["text"] == text


def test_lines_without_a_comma_stay_in_one_cell() -> None:
    """The first poems all had commas; one without was four rows of a spreadsheet."""
    row = CsvLines.line({**FIELDS, "text": "A dog runs\nto the sea."})
    assert [cells[2] for cells in csv.reader(io.StringIO(row, newline=""))] == ["A dog runs\nto the sea."]
