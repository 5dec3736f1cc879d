"""Whether a wheel and a source distribution are what a release should hold."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Collection
from pathlib import Path

from packaging.metadata import ExceptionGroup, Metadata

from img2poem.errors import Img2PoemError


class ReleaseError(Img2PoemError):
    """A release cannot be made; the message says what to mend first."""


def check_wheel(path: Path, expected: Collection[str]) -> None:
    """Check that a wheel holds the files of the library and nothing else.

    Args:
        path: the wheel.
        expected: names of the library's files.

    Raises:
        ReleaseError: a file is missing or too many, or the command ``img2poem`` or the licence is not there.
    """
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        points = next((wheel.read(name).decode() for name in names if name.endswith("/entry_points.txt")), "")
    _compare(path, {name for name in names if ".dist-info/" not in name}, set(expected))
    if "img2poem = img2poem.cli:app" not in points:
        raise ReleaseError(f"{path.name} does not install the command img2poem; see project.scripts in pyproject.toml")
    if not any(name.endswith("/LICENSE") for name in names):
        raise ReleaseError(f"{path.name} holds no LICENSE; see license-files in pyproject.toml")


def check_sdist(path: Path, expected: Collection[str]) -> None:
    """Check that a source distribution holds all the files that are tracked but the weights, and nothing else.

    Args:
        path: the ``.tar.gz``.
        expected: names of the files.

    Raises:
        ReleaseError: a file is missing or too many.
    """
    with tarfile.open(path) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if not member.isdir()}
    _compare(path, names - {"PKG-INFO"}, set(expected))


def check_metadata(path: Path, version: str) -> None:
    """Check the metadata of a wheel or a source distribution by the rules of the package index.

    Raises:
        ReleaseError: a field is malformed, or there is another version or no description.
    """
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            data = wheel.read(next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")))
    else:
        with tarfile.open(path) as sdist:
            file = sdist.extractfile(next(name for name in sdist.getnames() if name.endswith("/PKG-INFO")))
            assert file is not None
            data = file.read()
    try:
        found = Metadata.from_email(data, validate=True)
    except ExceptionGroup as group:
        told = "; ".join(str(error) for error in group.exceptions)
        raise ReleaseError(f"the metadata of {path.name} are malformed: {told}") from group
    if str(found.version) != version:
        raise ReleaseError(f"{path.name} says that it is version {found.version}, not {version}")
    if not found.description or found.description_content_type != "text/markdown":
        raise ReleaseError(f"{path.name} carries no description in Markdown; see readme in pyproject.toml")


def check_changelog(path: Path, version: str) -> None:
    """Check that the newest section of the changelog is ``version``'s.

    An empty section of what is not released may stand above it.

    Raises:
        ReleaseError: it is another one's, or there is no changelog.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReleaseError(f"{path.name} cannot be read: {error.strerror}; it tells what has changed") from None
    sections = re.findall(r"^## \[?([^\]\s]+).*\n((?:(?!## ).*\n?)*)", text, re.M)
    if sections and sections[0][0].lower() == "unreleased" and not sections[0][1].strip():
        del sections[0]
    newest = sections[0][0] if sections else "nothing"
    if newest != version:
        raise ReleaseError(f"img2poem is version {version}, but {path.name} begins with {newest}; bring them together")


def _compare(path: Path, found: set[str], expected: set[str]) -> None:
    if missing := sorted(expected - found):
        raise ReleaseError(f"{path.name} lacks {_some(missing)}")
    if more := sorted(found - expected):
        raise ReleaseError(f"{path.name} holds what it should not: {_some(more)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
