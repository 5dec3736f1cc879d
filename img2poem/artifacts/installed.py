"""The default models: an export in the current folder, else the installed package."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
from pathlib import Path

from ..errors import BadRepository
from ..version import __version__

#: Folder that ``python -m export.all`` writes by default: the models for CPUs.
EXPORTED = Path("triton_repo.cpu")
#: Folder that ``python -m export.all --device gpu`` writes by default; a clone has it, without weights.
EXPORTED_FOR_GPUS = Path("triton_repo")
#: Package with the released models; its version must equal this package's.
DISTRIBUTION = "img2poem-lite"
_MODULE = "img2poem_lite"


def default_repository() -> Path:
    """Return the repository to run in process by default.

    That is ``triton_repo.cpu`` in the current folder if it exists, even if it is damaged; else the installed package.

    Raises:
        BadRepository: neither exists, or the package has another version.
    """
    if EXPORTED.exists():
        return EXPORTED
    folder = installed_repository()
    if folder is None:
        raise BadRepository(
            f"no models found: pip install 'img2poem[local]'; or, in a clone, run python -m export.all, which writes "
            f"{EXPORTED}; or name a folder or a server"
        )
    return folder


def installed_repository() -> Path | None:
    """Return the repository folder of the installed package, without importing it; None if it is not installed.

    Raises:
        BadRepository: the package has another version.
    """
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:  # without an origin, it is just a folder of that name
        return None
    _check_version()
    return Path(spec.origin).parent / "repository"


def how_to_mend(repository: Path) -> str:
    """Return the command that restores a missing or damaged repository."""
    spec = importlib.util.find_spec(_MODULE)
    if spec is not None and spec.origin is not None and Path(spec.origin).parent in repository.absolute().parents:
        return f"pip install --force-reinstall --no-deps {DISTRIBUTION}=={__version__}"
    device = " --device gpu" if repository.name == EXPORTED_FOR_GPUS.name else ""
    return f"make one with: python -m export.all{device} --out {repository}"


def _check_version() -> None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a bundle may hold the files without metadata
        found = importlib.metadata.version(DISTRIBUTION)
        if found != __version__:
            raise BadRepository(
                f"{DISTRIBUTION} {found} is installed beside img2poem {__version__}; "
                f"pip install {DISTRIBUTION}=={__version__}"
            )
