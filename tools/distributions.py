"""Checks of a release's wheels and source distribution."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Collection
from pathlib import Path

from packaging.metadata import ExceptionGroup, Metadata

from img2poem.errors import Img2PoemError

#: Size limit of the models' wheel in bytes.
LARGEST_LITE = 50_000_000


class ReleaseError(Img2PoemError):
    """A release cannot be made; the message says what to fix first."""


def check_wheel(path: Path, expected: Collection[str], version: str) -> None:
    """Check that the wheel of the code contains exactly the library's files.

    Args:
        path: the wheel.
        expected: names of the library's files.
        version: version of the models that the extra ``local`` must require.

    Raises:
        ReleaseError: a file is missing or unexpected, the command ``img2poem`` or the licence is missing, or the extra
            ``local`` does not require the models.
    """
    _check_files(path, expected)
    if "img2poem = img2poem.cli.app:app" not in _information(path, "entry_points.txt"):
        raise ReleaseError(f"{path.name} does not install the command img2poem; see project.scripts in pyproject.toml")
    needed = Metadata.from_email(_information(path, "METADATA"), validate=False).requires_dist or []
    if f"img2poem-lite=={version}; extra == 'local'" not in (str(one).replace('"', "'") for one in needed):
        raise ReleaseError(f"the extra local of {path.name} brings no models; see wheels/requires_lite.py")


def check_lite(path: Path, expected: Collection[str]) -> None:
    """Check that the wheel of the models contains exactly the files ``expected``, and check its size.

    Raises:
        ReleaseError: a file is missing (manifest, card and licence included) or unexpected, or the wheel is too large.
    """
    _check_files(path, expected)
    needed = {f"img2poem_lite/repository/{name}" for name in ("manifest.json", "MODEL_CARD.md", "LICENSE")}
    _compare(path, {*expected} & needed, needed)
    if (size := path.stat().st_size) > LARGEST_LITE:
        raise ReleaseError(f"{path.name} has {size / 1e6:.1f} MB, more than {LARGEST_LITE / 1e6:.0f}")


def _check_files(path: Path, expected: Collection[str]) -> None:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
    _compare(path, {name for name in names if ".dist-info/" not in name}, {*expected})
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        raise ReleaseError(f"{path.name} holds no LICENSE; see license-files in pyproject.toml")


def _information(path: Path, name: str) -> str:
    """Return the text of a file in a wheel's ``.dist-info``; empty if there is no such file."""
    with zipfile.ZipFile(path) as wheel:
        found = (one for one in wheel.namelist() if one.endswith(f".dist-info/{name}"))
        return next((wheel.read(one).decode() for one in found), "")


def check_sdist(path: Path, expected: Collection[str]) -> None:
    """Check that a source distribution contains all tracked files except the weights, and nothing else.

    Args:
        path: the ``.tar.gz``.
        expected: names of the files.

    Raises:
        ReleaseError: a file is missing or unexpected.
    """
    with tarfile.open(path) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if not member.isdir()}
    _compare(path, names - {"PKG-INFO"}, set(expected))


def check_metadata(path: Path, version: str) -> None:
    """Check the metadata of a wheel or a source distribution against the rules of the package index.

    Raises:
        ReleaseError: a field is malformed, the version differs, or the description is missing.
    """
    if path.suffix == ".whl":
        data = _information(path, "METADATA").encode()
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
    """Check that the newest section of the changelog describes ``version``.

    An empty section for unreleased changes may precede it.

    Raises:
        ReleaseError: the section describes another version, or there is no changelog.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReleaseError(f"{path.name} cannot be read: {error.strerror}; a release needs a changelog") from None
    sections = re.findall(r"^## \[?([^\]\s]+).*\n((?:(?!## ).*\n?)*)", text, re.M)
    if sections and sections[0][0].lower() == "unreleased" and not sections[0][1].strip():
        del sections[0]
    newest = sections[0][0] if sections else "nothing"
    if newest != version:
        raise ReleaseError(f"img2poem is version {version}, but {path.name} begins with {newest}; make them agree")


def _compare(path: Path, found: set[str], expected: set[str]) -> None:
    if missing := sorted(expected - found):
        raise ReleaseError(f"{path.name} lacks {_some(missing)}")
    if more := sorted(found - expected):
        raise ReleaseError(f"{path.name} holds what it should not: {_some(more)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
