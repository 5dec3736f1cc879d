"""Build, check and try a release: ``python -m tools.release``.

Wheel and source distribution are built from what git tracks, in a temporary folder. They go to ``dist/`` when all is
well: their contents and metadata are right, the changelog begins with their version, and the wheel, installed with
``[local]`` into an environment of its own, writes a poem.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.photographs import photographs
from img2poem import __version__
from img2poem.atomic import write_atomically
from img2poem.console import reporting, tell

from . import distributions
from .distributions import ReleaseError

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that one command may take.
_PATIENCE = 900


def build(root: Path, work: Path) -> list[Path]:
    """Build wheel and source distribution of the files that git tracks in ``root``, and check them.

    Args:
        root: the project, a git working tree; files are taken as they are there.
        work: an empty folder to build in.

    Returns:
        The wheel and the source distribution, in ``work``.

    Raises:
        ReleaseError: the build fails, or what it made is not right.
    """
    tracked = [name for name in _git(root, "ls-files", "-z").split("\0") if name and not name.startswith("weights/")]
    source, out = work / "source", work / "dist"
    for name in tracked:
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(root / name, copy)
        except FileNotFoundError:
            raise ReleaseError(f"git tracks {name}, which is not there; restore it or git rm it") from None
    # With the hatchling of this environment: its version is the project's affair, and nothing is fetched.
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)], work, "the build")
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    distributions.check_wheel(wheel, [name for name in tracked if name.startswith("img2poem/")])
    distributions.check_sdist(sdist, tracked)
    for path in (wheel, sdist):
        distributions.check_metadata(path, __version__)
    return [wheel, sdist]


def try_out(wheel: Path, repository: Path, photo: bytes, work: Path) -> str:
    """Install ``wheel`` with ``[local]`` into a new environment under ``work`` and return a poem that it writes.

    Args:
        wheel: to install; its dependencies are fetched.
        repository: what ``python -m export.all`` wrote.
        photo: an encoded photograph.
        work: a folder for the environment.

    Raises:
        ReleaseError: it cannot be installed, or writes no poem.
    """
    if not repository.is_dir():
        raise ReleaseError(f"{repository} is not there; write it first: python -m export.all")
    environment, picture = work / "environment", work / "photo.jpg"
    picture.write_bytes(photo)
    _run([sys.executable, "-m", "venv", str(environment)], work, "making an environment")
    python = environment / "bin" / "python"
    _run([str(python), "-m", "pip", "install", "--quiet", f"{wheel}[local]"], work, "installing the wheel")
    # From a folder that has no img2poem of its own to be imported.
    command = [str(environment / "bin" / "img2poem"), "write", str(picture), "--engine", str(repository.resolve())]
    poem = _run(command, work, "writing a poem with the installed wheel").strip()
    if not poem:
        raise ReleaseError("the installed wheel wrote an empty poem")
    return poem


def _git(root: Path, *arguments: str) -> str:
    return _run(["git", *arguments], root, "asking git")


def _run(command: Sequence[str], folder: Path, what: str) -> str:
    """Run a command in ``folder``, without this project on its path, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_PATIENCE)
    except FileNotFoundError:
        raise ReleaseError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"{what} took more than {_PATIENCE} s") from None
    if done.returncode:
        raise ReleaseError(f"{what} failed:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


def main(
    out: Annotated[Path, typer.Option(help="Folder that wheel and source distribution go to.")] = Path("dist"),
    repository: Annotated[Path, typer.Option(help="Exported model repository to try the wheel on.")] = Path(
        "triton_repo"
    ),
) -> None:
    """Build, check and try a release of the committed files."""
    with reporting():
        if changed := _git(ROOT, "status", "--porcelain", "--untracked-files=no").strip():
            raise ReleaseError(f"there are changes that are not committed:\n{changed}")
        distributions.check_changelog(ROOT / "CHANGELOG.md", __version__)
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            tell(f"building img2poem {__version__} ...")
            built = build(ROOT, work)
            tell("installing the wheel into an environment of its own ...")
            tell(f"\n{try_out(built[0], repository, photographs(1)[0], work)}\n")
            out.mkdir(parents=True, exist_ok=True)
            for path in built:
                data = path.read_bytes()
                write_atomically(out / path.name, data)
                typer.echo(f"{hashlib.sha256(data).hexdigest()}  {out / path.name}  ({len(data) / 1e3:.0f} kB)")


if __name__ == "__main__":
    typer.run(main)
