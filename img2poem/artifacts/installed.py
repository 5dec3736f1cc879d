"""The models that are used when nobody says where they are: an export in this folder, else the installed package."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
from pathlib import Path

from ..errors import BadRepository
from ..version import __version__

#: Folder that ``python -m export.all`` writes.
EXPORTED = Path("triton_repo")
#: Package that carries the shipped models, of the same version as this one.
DISTRIBUTION = "img2poem-lite"
_MODULE = "img2poem_lite"


def default_repository() -> Path:
    """Return the repository to run in process when no target is named.

    That is ``triton_repo`` in the current folder, if it is there in whatever state, else the installed package.

    Raises:
        BadRepository: neither is there, or the package is of another version.
    """
    if EXPORTED.exists():
        return EXPORTED
    folder = installed_repository()
    if folder is None:
        raise BadRepository(
            f"no models are here: pip install 'img2poem[local]' brings some; or, in a clone, python -m export.all "
            f"writes {EXPORTED}; or name a folder or a server"
        )
    return folder


def installed_repository() -> Path | None:
    """Return the folder of the installed package, which is looked up and not imported; None without one.

    Raises:
        BadRepository: the package is of another version.
    """
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:  # without an origin it is some folder of that name
        return None
    _check_version()
    return Path(spec.origin).parent / "repository"


def how_to_mend(repository: Path) -> str:
    """Return what to do about a repository that is missing or damaged."""
    spec = importlib.util.find_spec(_MODULE)
    if spec is not None and spec.origin is not None and Path(spec.origin).parent in repository.absolute().parents:
        return f"pip install --force-reinstall --no-deps {DISTRIBUTION}=={__version__}"
    return f"make one with: python -m export.all --out {repository}"


def _check_version() -> None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a bundle may carry the files alone
        found = importlib.metadata.version(DISTRIBUTION)
        if found != __version__:
            raise BadRepository(
                f"{DISTRIBUTION} {found} is installed beside img2poem {__version__}; "
                f"pip install {DISTRIBUTION}=={__version__}"
            )
