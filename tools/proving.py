"""Test a release in fresh environments without a network, and measure its speed and size there."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from img2poem.serving.settings import Ports

from . import trial
from .distributions import ReleaseError
from .processes import environment, run

#: Environment of pip: it uses only the named folder, whatever the machine's configuration.
_OFFLINE = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
#: Timeout in seconds for the start of ``img2poem web``.
_STARTED = 120


@dataclass(frozen=True)
class Seconds:
    """Duration of a command: wall time, and processor time, which other work on the machine hardly affects."""

    elapsed: float
    processor: float


@dataclass(frozen=True)
class Trial:
    """Measurements in one environment: seconds, and resident memory in units of 10^6 bytes."""

    python: str
    install: Seconds
    poem: Seconds
    poem_again: Seconds
    poem_megabytes: float
    all_megabytes: float
    installed: tuple[str, ...]
    text: str


def interpreters(versions: Sequence[str]) -> dict[str, Path]:
    """Return the available interpreters of ``versions``, as ``3.10``: pyenv's, or those on the path."""
    found = {}
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for version in versions:
        on_path = shutil.which(f"python{version}")
        candidates = [*sorted(root.glob(f"versions/{version}.*/bin/python")), *([Path(on_path)] if on_path else [])]
        for candidate in candidates:
            with contextlib.suppress(ReleaseError):  # a pyenv shim whose version is not selected
                says = run(
                    [candidate, "-c", "import ensurepip, sys; print(*sys.version_info[:2], sep='.')"], root, "it"
                )
                if says.strip() == version:
                    found[version] = candidate
                    break
    return found


class Fresh:
    """An environment that contains only what is installed from a folder of distributions.

    Args:
        interpreter: creates the environment.
        work: an empty folder.
        built: the distributions of the release.
    """

    def __init__(self, interpreter: Path, work: Path, built: Sequence[Path]) -> None:
        self.work, self._dist, self.here = work, work / "dist", work / "here"
        for folder in (work, self._dist, self.here):
            folder.mkdir(parents=True, exist_ok=True)
        for path in built:
            shutil.copy2(path, self._dist)
        self._make(interpreter)

    def download(self, *requirements: str) -> None:
        """Download wheels of ``requirements`` and their dependencies."""
        line: list[str | Path] = [self._program("python"), "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
        run([*line, "--dest", self._dist, "--find-links", self._dist, *requirements], self.work, "downloading")

    def install(self, *requirements: str) -> Seconds:
        """Install without a network; return the time it took."""
        pip: list[str | Path] = [self._program("python"), "-m", "pip", "install", "--quiet"]
        offline: list[str | Path] = ["--no-index", "--find-links", self._dist]
        with _timed() as times:
            run([*pip, *offline, *requirements], self.work, f"installing {' '.join(requirements)} offline", _OFFLINE)
        return times[0]

    def installed(self) -> tuple[str, ...]:
        """Return the names of the installed distributions."""
        told = run([self._program("python"), "-m", "pip", "list", "--format", "json"], self.work, "pip list", _OFFLINE)
        return tuple(sorted(one["name"] for one in json.loads(told)))

    def command(self, *arguments: str | Path) -> str:
        """Run ``img2poem`` in a folder without models; return its output."""
        return run([self._program("img2poem"), *arguments], self.here, f"img2poem {arguments[0]}")

    def python(self, script: Path, *arguments: str | Path) -> str:
        """Run a copy of a script from another folder; return its output."""
        return run([self._program("python"), "-I", script, *arguments], self.here, script.name)

    @contextlib.contextmanager
    def web(self) -> Iterator[str]:
        """Run ``img2poem web`` during the block; yield its address.

        Raises:
            ReleaseError: it exits, or does not respond in time.
        """
        port = Ports.free().http
        line = [str(self._program("img2poem")), "web", "--port", str(port), "--log-level", "error"]
        log = self.work / "web.log"
        with log.open("wb") as told:
            process = subprocess.Popen(line, cwd=self.here, env=environment(), stdout=told, stderr=told)
        try:
            until = time.monotonic() + _STARTED
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise ReleaseError(f"img2poem web does not answer:\n{log.read_text(errors='replace')}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)

    def _make(self, interpreter: Path) -> None:
        run([interpreter, "-m", "venv", self.work / "environment"], self.work, "making an environment")

    def _program(self, name: str) -> Path:
        return self.work / "environment" / "bin" / name


def prove_wheels(fresh: Fresh, photo: Path) -> Trial:
    """Install both wheels offline and use them in Python, on the command line and over HTTP.

    Raises:
        ReleaseError: something does not work, or an unneeded package was installed.
    """
    fresh.download("img2poem[local,web]", "hatchling")
    seconds = fresh.install("img2poem[local]")
    installed = fresh.installed()
    if needless := {*trial.ABSENT} & {*installed}:
        raise ReleaseError(f"img2poem[local] installs unneeded packages: {', '.join(needless)}")
    with _timed() as first:
        poem = fresh.command("write", photo).strip()
    with _timed() as again:
        fresh.command("write", photo)
    seen = json.loads(fresh.python(Path(trial.__file__), photo))
    if poem != seen["poem"]:
        raise ReleaseError(f"the command line wrote\n{poem}\nand Python\n{seen['poem']}")
    _use_commands(fresh, photo)
    fresh.install("img2poem[web]")
    fresh.command("card", photo, "--out", "card.png")
    with fresh.web() as url:
        page, answer = _asked(url), json.loads(_asked(f"{url}/v1/poems", photo.read_bytes()))
    if b"<html" not in page or answer["text"] != poem:
        raise ReleaseError(f"the web page is not HTML, or the REST interface wrote another poem: {answer}")
    version = run([fresh.work / "environment/bin/python", "--version"], fresh.work, "python").split()[1]
    return Trial(version, seconds, first[0], again[0], seen["first_mb"], seen["all_mb"], installed, poem)


def prove_sdist(fresh: Fresh, sdist: Path, photo: Path, repository: Path) -> None:
    """Install the source distribution with the extra ``local`` offline, without models, and use it.

    Args:
        fresh: an environment of its own.
        sdist: the source distribution.
        photo: a photograph.
        repository: an export to write poems with.

    Raises:
        ReleaseError: it does not install or write, or does not say where to get models.
    """
    fresh.download(f"{sdist}[local]", "hatchling")
    fresh.install(f"{sdist}[local]")
    if "img2poem-lite" in fresh.installed():
        raise ReleaseError("the source distribution requires img2poem-lite; wheels/requires_lite.py was active")
    try:
        fresh.command("write", photo)
    except ReleaseError as error:
        if "img2poem[local]" not in str(error) or "export.all" not in str(error):
            raise
    else:
        raise ReleaseError("img2poem write did not fail, although there are no models")
    if not fresh.command("write", photo, "--engine", repository.resolve()).strip():
        raise ReleaseError("the installed source distribution wrote an empty poem")


def _use_commands(fresh: Fresh, photo: Path) -> None:
    """Run the commands that find the models themselves."""
    folder = fresh.here / "photos"
    folder.mkdir()
    shutil.copy2(photo, folder)
    for line in ("doctor", "inspect", "batch photos --out poems.jsonl"):
        fresh.command(*line.split())
    for name in ("stream", "describe", "embed"):
        fresh.command(name, photo)


@contextlib.contextmanager
def _timed() -> Iterator[list[Seconds]]:
    """Yield a list; after the block it contains the durations of the commands in it."""
    times: list[Seconds] = []
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    yield times
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    times.append(Seconds(time.perf_counter() - started, spent))


def _asked(url: str, photo: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, photo, {"content-type": "image/jpeg"} if photo else {})
    with urllib.request.urlopen(request, timeout=_STARTED) as answer:
        return bytes(answer.read())


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
