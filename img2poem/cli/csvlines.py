"""CSV files with one row per poem, for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .jsonl import LONGEST, Lines

#: Columns: fields of a poem. Objects are written as JSON.
COLUMNS = tuple("photo seed text score relevance finish_reason strategy form model request_id".split())
#: First characters by which spreadsheets recognise a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


#: The writer quotes cells with a character of its line terminator: a poem without commas needs that too.
_END = "\r\n"


def _row(cells: Iterable[object]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=_END).writerow(cells)
    return buffer.getvalue().removesuffix(_END)


class CsvLines(Lines):
    """A CSV file with a header and one row per poem; newlines within a cell separate the lines of a poem.

    A path that a spreadsheet would read as a formula gets the prefix ``./``.
    """

    head = _row(COLUMNS)

    @staticmethod
    def line(fields: Mapping[str, Any]) -> str:
        """Return the row of a poem, without the final newline."""
        row = _row(_cell(name, fields[name]) for name in COLUMNS)
        # Bytes of a path that are not UTF-8 are surrogates here; they are escaped as in JSON.
        return row.encode(errors="backslashreplace").decode()

    def read(self) -> tuple[list[Any], int]:
        """Return photograph, strategy and form of each complete row, and the size of header and rows in bytes.

        Raises:
            ValueError: the header or a row has other columns.
        """
        rows, rest = self._rows()
        head = f"{self.head}\n".encode()
        if not rows and head.startswith(rest):
            return [], 0
        if rows[:1] != [head]:
            raise ValueError("other columns")
        return [_fields(row.decode()) for row in rows[1:]], sum(map(len, rows))

    def _rows(self) -> tuple[list[bytes], bytes]:
        """Return the complete rows with their newlines, and the incomplete row that a killed run may have left."""
        self._file.seek(0)
        rows, row = [], b""
        while line := self._file.readline(LONGEST):
            row += line
            if len(row) >= LONGEST:
                raise ValueError("a row has no end")
            # A newline ends the row only outside a quoted cell, where the number of quotes so far is even.
            if row.endswith(b"\n") and row.count(b'"') % 2 == 0:
                rows.append(row)
                row = b""
        return rows, row


def _cell(name: str, value: object) -> object:
    if isinstance(value, Mapping):
        return json.dumps(value)
    return f"./{value}" if name == "photo" and str(value).startswith(_FORMULAS) else value


def _fields(row: str) -> dict[str, Any]:
    try:
        [cells] = csv.reader(io.StringIO(row, newline=""), strict=True)
        found = dict(zip(COLUMNS, cells, strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    photo = re.sub(r"\\u(dc[89a-f][0-9a-f])", lambda code: chr(int(code[1], 16)), found["photo"].removeprefix("./"))
    form = json.loads(found["form"]) if found["form"] else None
    return {"photo": photo, "strategy": json.loads(found["strategy"]), "form": form}
