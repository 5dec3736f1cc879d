"""Find the photographs of a folder, recursively."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InvalidOption
from ..images.decode import SUFFIXES
from .console import shown, tell

#: Folder of thumbnails that Synology's servers create in every folder of photographs.
_PREVIEWS = "@eaDir"


def photographs_in(folder: Path) -> list[str]:
    """Return the paths of the photographs, found by suffix, relative to ``folder`` and sorted.

    Hidden files and folders are skipped. Links to folders are followed, but no folder is visited twice. A folder that
    cannot be read is reported on standard error and skipped.

    Raises:
        InvalidOption: ``folder`` is not a folder, or holds no photograph.
    """
    if not folder.is_dir():
        raise InvalidOption(f"{folder} is not a folder")
    found = sorted(Path(path).relative_to(folder).as_posix() for path in _files(folder))
    if not found:
        raise InvalidOption(f"{folder} holds no photograph ({', '.join(SUFFIXES)})")
    return found


def _files(top: Path) -> Iterator[str]:
    waiting, visited = [str(top)], set[tuple[int, int]]()
    while waiting:
        # Links come last, so that a folder within ``top`` gets its own path and not that of a link to it.
        for here, folders, files in os.walk(waiting.pop(0), onerror=_left_out):
            place = os.stat(here)
            if (place.st_dev, place.st_ino) in visited:
                folders.clear()
                continue
            visited.add((place.st_dev, place.st_ino))
            folders[:] = sorted(name for name in folders if not _is_hidden(name))
            waiting += [path for path in (os.path.join(here, name) for name in folders) if os.path.islink(path)]
            yield from (os.path.join(here, name) for name in files if _is_photograph(here, name))


def _is_photograph(folder: str, name: str) -> bool:
    return not _is_hidden(name) and name.lower().endswith(SUFFIXES) and os.path.isfile(os.path.join(folder, name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == _PREVIEWS


def _left_out(error: OSError) -> None:
    tell(f"img2poem: {shown(str(error.filename))} is left out: it cannot be read: {error.strerror}")
