"""Reads the files of data sets; errors name the file, the record and the remedy."""

from __future__ import annotations

import csv
import io
import json
import lzma
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import BadData, MissingData

FETCH_ANEW = "fetch the file anew"

#: Fields of a record by name, and the types that each may have.
Fields = Mapping[str, tuple[type, ...]]


def read_bytes(path: Path) -> bytes:
    """Return the content of ``path``.

    Raises:
        MissingData: the file does not exist.
        BadData: it cannot be read.
    """
    require(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadData.at(path, f"cannot be read: {error.strerror}", "check its type and permissions") from error


def require(path: Path) -> Path:
    """Return ``path`` if it exists.

    Raises:
        MissingData: it does not exist.
    """
    if not path.exists():
        raise MissingData.at(path, "no such file", "put it there or give the folder that holds it")
    return path


def text_of(data: bytes, path: Path) -> str:
    """Decode UTF-8 ``data`` of the file ``path``, with or without a byte-order mark.

    Raises:
        BadData: not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData.at(path, f"not UTF-8 text: {error}", FETCH_ANEW) from error


def json_of(data: bytes, path: Path, record: str | None = None) -> Any:
    """Parse JSON ``data`` of the file ``path``.

    Raises:
        BadData: not UTF-8 or not JSON.
    """
    try:
        return json.loads(text_of(data, path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadData.at(path, f"not JSON: {error}", FETCH_ANEW, record) from error


def json_records(data: bytes, path: Path, fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and content of each object in a JSON list, after checking its fields.

    Raises:
        BadData: not a list of objects, a field is missing or has another type, or a poem is empty.
    """
    records = json_of(data, path)
    if not isinstance(records, list):
        raise BadData.at(path, f"a list of records is expected, not {type(records).__name__}", FETCH_ANEW)
    for number, record in enumerate(records, start=1):
        name = f"record {number}"
        if isinstance(record, dict) and "id" in record:
            name += f" (id {record['id']})"
        check_record(record, path, name, fields)
        yield name, record


def xz_json_records(data: bytes, path: Path, fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name (``line N``) and content of each object in XZ-compressed JSON lines, after checking its fields.

    Raises:
        BadData: not an XZ file, a line is not an object, a field is missing or has another type, or a poem is empty.
    """
    try:
        lines = lzma.decompress(data).splitlines()
    except (lzma.LZMAError, EOFError) as error:
        raise BadData.at(path, f"not an XZ file, or damaged: {error}", FETCH_ANEW) from error
    for number, line in enumerate(lines, start=1):
        name = f"line {number}"
        record = json_of(line, path, name)
        check_record(record, path, name, fields)
        yield name, record


def check_record(record: object, path: Path, name: str, fields: Fields) -> None:
    """Check that ``record`` is an object with the ``fields``; a field that may be ``None`` may also be missing.

    Raises:
        BadData: it is not an object, a field is missing or has another type, or its ``poem`` is empty.
    """
    remedy = f"correct or delete the record; its fields are {', '.join(fields)}"
    if not isinstance(record, dict):
        raise BadData.at(path, f"an object is expected, not {type(record).__name__}", remedy, name)
    for field, types in fields.items():
        if field not in record and type(None) not in types:
            raise BadData.at(path, f"no field {field!r}", remedy, name)
        value = record.get(field)
        # Exact types: JSON's true must not count as the number 1.
        if type(value) not in types:
            wanted = " or ".join(t.__name__ for t in types)
            raise BadData.at(path, f"{field!r} must be {wanted}, not {value!r:.80}", remedy, name)
    if "poem" in fields and not record["poem"].strip():
        raise BadData.at(path, "the poem is empty", "correct or delete the record", name)


def csv_rows(data: bytes, path: Path, columns: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield name (``line N``) and the ``columns`` of each row of a CSV file with a header line.

    Raises:
        BadData: not CSV, a column is missing, or a row has too few cells.
    """
    reader = csv.DictReader(io.StringIO(text_of(data, path), newline=""))
    try:
        header = reader.fieldnames or []
        if missing := [column for column in columns if column not in header]:
            found = ", ".join(header)
            raise BadData.at(path, f"no column {', '.join(missing)}; found: {found:.200}", FETCH_ANEW, "line 1")
        for row in reader:
            name = f"line {reader.line_num}"
            if any(row[column] is None for column in columns):
                raise BadData.at(path, "fewer cells than columns", "correct or delete the line", name)
            yield name, {column: row[column].strip() for column in columns}
    except csv.Error as error:
        raise BadData.at(path, f"not CSV: {error}", FETCH_ANEW, f"line {reader.line_num}") from error


def number_of(text: str, path: Path, record: str, kind: type[int] | type[float]) -> Any:
    """Parse ``text`` as an ``int`` or ``float``.

    Raises:
        BadData: ``text`` is not such a number.
    """
    try:
        return kind(text)
    except ValueError:
        raise BadData.at(path, f"{text!r:.80} is not a number", "correct or delete the line", record) from None
