"""Verify that a model repository is byte for byte what ``python -m export.all`` wrote from one package."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..artifacts import manifest
from ..artifacts.inspection import is_package, no_repository
from ..artifacts.manifest import named
from ..errors import BadRepository, ContractMismatch

_CONTRACT = "img2poem.contract"


def verify(repository: Path) -> None:
    """Raise the first error of :func:`faults`, if there is one.

    Raises:
        BadRepository: there is no manifest, or a file is missing, changed, or not listed in it.
        ContractMismatch: a model was exported from another model package than the manifest says.
    """
    for fault in faults(repository):
        raise fault


def faults(repository: Path) -> Iterator[BadRepository]:
    """Yield an error for each fault of a repository; its message says what to do."""
    advice = f"make it anew with: python -m export.all --force --out {repository}"
    if is_package(repository):  # packages have a manifest too, but no models to serve
        yield no_repository(repository)
        return
    try:
        found = manifest.read(repository)
        contract = str(found.about["contract"])
    except (OSError, KeyError):
        yield no_repository(repository)
        return
    except ValueError as error:
        yield BadRepository(f"{repository} has changed since it was exported: {error}; {advice}")
        return
    missing, changed, unlisted = manifest.differences(repository, found.files)
    if missing:
        yield BadRepository(f"{repository} lacks {named(missing)}; {advice}")
    if changed:
        yield BadRepository(f"{repository} has changed since it was exported: {named(changed)}; {advice}")
    # An added file is dangerous: Triton runs any model.py that it finds.
    if unlisted:
        yield BadRepository(f"{repository} holds what no export wrote: {named(unlisted)}; remove it, or {advice}")
    whole = [name for name in found.files if name not in {*missing, *changed}]
    foreign = [name for name in whole if _stamp(repository / name) not in (None, contract)]
    if foreign:
        yield ContractMismatch(
            f"{repository} was exported from another model package than its manifest says: {named(foreign)}; {advice}"
        )


def _stamp(path: Path) -> str | None:
    """Return the contract hash that a config or an ONNX file carries; None for files that carry none."""
    if path.name == "config.pbtxt":
        pattern = rf'key:\s*"{re.escape(_CONTRACT)}"\s*value\s*:?\s*\{{\s*string_value:\s*"([^"]*)"'
        found = re.search(pattern, path.read_text(encoding="utf-8"))
        return found.group(1) if found else ""
    if path.suffix == ".onnx":
        return _onnx_metadata(path).get(_CONTRACT, "")
    return None


def _onnx_metadata(path: Path) -> dict[str, str]:
    """Return the ``metadata_props`` (field 14) of an ONNX file without reading its weights."""
    with path.open("rb") as file:
        entries = [entry for _, entry in _fields(file, path.stat().st_size, {14})]
    pairs = (dict(_fields(io.BytesIO(entry), len(entry), {1, 2})) for entry in entries)
    return {pair.get(1, b"").decode(): pair.get(2, b"").decode() for pair in pairs}


def _fields(message: BinaryIO, end: int, wanted: set[int]) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the ``wanted`` length-delimited fields of a protobuf message; skip all others."""
    while message.tell() < end:
        tag = _varint(message)
        if tag & 7 == 0:
            _varint(message)
        elif tag & 7 == 2:
            size = _varint(message)
            if tag >> 3 in wanted:
                yield tag >> 3, message.read(size)
            else:
                message.seek(size, 1)
        else:
            return  # ONNX models use no other wire types, so this is not one


def _varint(message: BinaryIO) -> int:
    value = shift = 0
    while octet := message.read(1):
        value |= (octet[0] & 0x7F) << shift
        if not octet[0] & 0x80:
            break
        shift += 7
    return value
