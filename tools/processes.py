"""Run the commands of a release."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .distributions import ReleaseError

#: Timeout of a command in seconds.
_PATIENCE = 1800


def run(command: Sequence[str | Path], folder: Path, what: str, more: Mapping[str, str] | None = None) -> str:
    """Run a command in ``folder``, without this project on its path, and return its output.

    Args:
        command: the program and its arguments.
        folder: the current folder of the command.
        what: name of the command in error messages.
        more: additional environment variables.

    Raises:
        ReleaseError: the command is not installed, fails, or exceeds the time limit.
    """
    line = [str(word) for word in command]
    try:
        done = subprocess.run(
            line, cwd=folder, env=environment(more), capture_output=True, text=True, timeout=_PATIENCE
        )
    except FileNotFoundError:
        raise ReleaseError(f"{line[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"{what} took more than {_PATIENCE} s") from None
    if done.returncode:
        raise ReleaseError(f"{what} failed:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return environment variables that hide this project and this environment from a command."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYENV_VERSION")
    return {**{name: value for name, value in os.environ.items() if name not in hidden}, **(more or {})}


def git(root: Path, *arguments: str) -> str:
    """Run git in ``root`` and return its output.

    Raises:
        ReleaseError: ``root`` is not a working tree.
    """
    return run(["git", *arguments], root, "asking git")
