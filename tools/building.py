"""Build the parts of a release: wheel and source distribution of the code, and the wheel of the models."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from img2poem import __version__
from img2poem.transports.local import MODELS

from . import distributions
from .compact import compact
from .distributions import ReleaseError
from .processes import git, run

#: Project folder of the models' wheel.
_LITE = Path("wheels/lite")


def build_code(root: Path, work: Path) -> tuple[Path, Path]:
    """Build wheel and source distribution from the files that git tracks in ``root``, and check them.

    Args:
        root: the project, a git working tree; files are taken in their current state.
        work: an empty folder for the build.

    Returns:
        The wheel and the source distribution, in ``work``.

    Raises:
        ReleaseError: the build fails, or its output is wrong.
    """
    tracked = [name for name in git(root, "ls-files", "-z").split("\0") if name and not name.startswith("weights/")]
    source = work / "source"
    for name in tracked:
        _copy(root / name, source / name)
    built = _build(source, work, "the build", {"HATCH_BUILD_HOOK_ENABLE_CUSTOM": "true"})
    wheel, sdist = built["whl"], built["gz"]
    distributions.check_wheel(wheel, [name for name in tracked if name.startswith("img2poem/")], __version__)
    distributions.check_sdist(sdist, tracked)
    for path in (wheel, sdist):
        distributions.check_metadata(path, __version__)
    return wheel, sdist


def build_lite(root: Path, repository: Path, weights: Path, work: Path) -> Path:
    """Build and check the wheel of the models.

    Args:
        root: the project.
        repository: an export of ``weights`` with the models of :data:`img2poem.transports.local.MODELS`.
        weights: the model package, whose card is added.
        work: an empty folder for the build.

    Returns:
        The wheel, in ``work``.

    Raises:
        ReleaseError: the build fails, or its output is wrong.
        BadRepository: ``repository`` lacks a model, or one of its files has changed.
    """
    source = work / "source"
    for name in filter(None, git(root, "ls-files", "-z", str(_LITE)).split("\0")):
        _copy(root / name, source / Path(name).relative_to(_LITE))
    card, licence = weights / "MODEL_CARD.md", root / "LICENSE"
    for path in (card, licence):
        _copy(path, source / path.name)
    models = source / "img2poem_lite" / "repository"
    models.mkdir(parents=True)
    compact(repository, MODELS, models, [card, licence])
    wheel = _build(source, work, "the build of the models", {"IMG2POEM_VERSION": __version__}, "--wheel")["whl"]
    module = source / "img2poem_lite"
    files = [path.relative_to(source).as_posix() for path in module.rglob("*") if path.is_file()]
    distributions.check_lite(wheel, files)
    distributions.check_metadata(wheel, __version__)
    return wheel


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(source, target)
    except FileNotFoundError:
        raise ReleaseError(f"{source} is missing; restore it, or git rm it") from None


def _build(source: Path, work: Path, what: str, variables: dict[str, str], *options: str) -> dict[str, Path]:
    """Build with this environment's hatchling, so that nothing is downloaded; return the files by suffix."""
    out = work / "dist"
    run([sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", out, source], work, what, variables)
    return {path.suffix.removeprefix("."): path for path in out.iterdir()}
