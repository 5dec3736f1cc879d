"""``img2poem serve`` in separate processes, and checks of what remains of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.processes import commands_with, servers_of
from img2poem.serving.server import Ports

from ..conftest import ROOT
from ..waiting import eventually


def processes_of(repository: Path) -> list[str]:
    """Return the command lines of running processes that name the repository, except this one."""
    return [" ".join(arguments) for _, arguments in commands_with(repository)]


def server_of(repository: Path) -> int:
    """Return the process id of ``tritonserver``."""
    [server] = servers_of(repository)
    return server


def shared_memory_of(repository: Path) -> Callable[[], list[Path]]:
    """Return a function that lists the remaining shared memory regions of the now running server."""
    names = (name for command in processes_of(repository) for name in command.split())
    prefix = next(name for name in names if "shm-region-prefix-name=" in name).rpartition("=")[2]
    return lambda: [*Path("/dev/shm").glob(f"{prefix}*")]  # noqa: S108


@contextmanager
def serving(repository: Path, ports: Ports, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Like :func:`started`; if the block fails before stopping the server, it is stopped."""
    process = started(repository, ports, *more)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def started(repository: Path, ports: Ports, *more: str) -> subprocess.Popen[str]:
    """Start ``img2poem serve`` in a separate process."""
    options = [f"--{kind}-port={port}" for kind, port in asdict(ports).items()]
    command = [sys.executable, "-m", "img2poem", "serve", str(repository), *options, *more]
    # With SIGINT ignored, as in a shell's background jobs.
    ignoring = ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    return subprocess.Popen([*ignoring, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """Wait for a line on its standard error; fail if the process ends without one."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"{text!r} is not in {seen}")


def gone(repository: Path, seconds: float = 20) -> bool:
    """Return whether all its processes end within ``seconds``."""
    return eventually(lambda: not processes_of(repository), seconds)
