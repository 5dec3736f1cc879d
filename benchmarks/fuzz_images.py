"""Decode damaged and hostile photographs: each must give pixels or ``BadImage``, within limits of time and memory.

    python -m benchmarks.fuzz_images --files 20000 --served 2000       # mutations, all bombs, and the real server
    python -m benchmarks.fuzz_images --files 0 --only "GIF of"         # bombs whose names contain this

Files are decoded in separate processes, as in the server. A file that exceeds a limit is written to ``--keep``, and
the exit status is 1. The same ``--seed`` makes the same files.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from img2poem.artifacts.installed import EXPORTED
from img2poem.errors import BadImage
from img2poem.images.decode import FORMATS, check, decode

from .hostile_images import mutated
from .image_bombs import bombs

T = TypeVar("T")

#: Limits for one file: seconds of processor time, and MiB beyond the file itself.
SECONDS, MIB = 2.0, 512
#: Seconds after which a process that does not respond is killed, and its memory limit in MiB.
_PATIENCE, _AT_MOST = 60.0, 8192


class Outcome(NamedTuple):
    """The result for one file."""

    name: str
    format: str
    verdict: str  # pixels, BadImage, or another outcome
    seconds: float = 0.0  # of processor time
    mib: float = 0.0  # peak memory beyond that of the process before
    detail: str = ""

    @property
    def broken(self) -> bool:
        """Whether the file exceeded a limit."""
        within = self.seconds <= SECONDS and self.mib <= MIB
        return self.verdict not in ("pixels", "BadImage") or not within


def content(name: str, seed: int) -> tuple[str, bytes]:
    """Return the format and content of a file by its name: the number of a mutation, or the name of a bomb."""
    return mutated(int(name), seed) if name.isdecimal() else (name.split()[0], bombs()[name]())


def tried(name: str, format: str, data: bytes) -> Outcome:
    """Decode one file in this process, as client and server do."""
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak memory
    before, started = _highest(), time.process_time()
    try:
        check(data)
        pixels = decode(data)
        right = pixels.shape == (224, 224, 3) and pixels.dtype == np.uint8
        verdict, detail = ("pixels", "") if right else ("other pixels", str(pixels.shape))
    except BadImage as error:
        verdict, detail = "BadImage", str(error)
        if "memory" in detail:
            verdict = "out of memory"
    except BaseException as error:
        verdict, detail = type(error).__name__, str(error)
    return Outcome(name, format, verdict, time.process_time() - started, _highest() - before, detail)


def outcomes(names: list[str], seed: int, jobs: int) -> Iterator[Outcome]:
    """Yield the result for each file, from ``jobs`` processes."""
    todo = iter(names)
    workers = [_Worker(seed) for _ in range(jobs)]
    busy = [worker for worker in workers if worker.take(next(todo, None))]
    while busy:
        wait([worker.connection for worker in busy], timeout=1.0)
        for worker in [*busy]:
            outcome = worker.answer()
            if outcome is not None:
                yield outcome
                if not worker.take(next(todo, None)):
                    busy.remove(worker)
    for worker in workers:
        worker.stop()


class _Worker:
    """A decoding process, restarted if a file kills it."""

    def __init__(self, seed: int) -> None:
        self._seed, self._name, self._since = seed, "", 0.0
        self._start()

    def take(self, name: str | None) -> bool:
        """Begin with a file; return False if there is none."""
        if name is None:
            return False
        self._name, self._since = name, time.monotonic()
        self.connection.send(name)
        return True

    def answer(self) -> Outcome | None:
        """Return the result, if it is ready."""
        if self.connection.poll():
            try:
                found: Outcome = self.connection.recv()
            except EOFError:
                self._process.join()
                found = Outcome(self._name, "", f"died with {self._process.exitcode}")
                self._start()
            return found
        if time.monotonic() - self._since < _PATIENCE:
            return None
        self.stop()
        self._start()
        return Outcome(self._name, "", "does not end", _PATIENCE)

    def stop(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, self._seed), daemon=True)
        self._process.start()
        other.close()


def _work(connection: Connection, seed: int) -> None:
    _silence()
    limit = _AT_MOST * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        try:
            name = connection.recv()
        except EOFError:
            return
        connection.send(tried(name, *content(name, seed)))


def _silence() -> None:
    """Silence libtiff, which reports every damaged file on standard error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _highest() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def served(names: list[str], seed: int, repository: Path) -> Iterator[str]:
    """Yield for each file how the real server's ``decode_image`` differs from this process; empty if it does not."""
    from tritonclient.utils import InferenceServerException

    from img2poem.serving.server import Ports, TritonServer

    from .streams import client_of, inputs_of

    _silence()
    with TritonServer(repository, Ports.free()) as server:
        client, pid = client_of(server), server.pid
        for name in names:
            _, data = content(name, seed)
            image = inputs_of({"image": np.array([[data]], np.object_)})
            try:
                there = client.infer("decode_image", image, client_timeout=_PATIENCE).as_numpy("pixels")[0]
            except InferenceServerException as error:
                there = "BadImage" if "BadImage: " in str(error) else str(error)
            try:
                here: Any = decode(data)
            except BadImage:
                here = "BadImage"
            alive = "" if server.pid == pid else "the server ended"
            yield alive or ("" if np.array_equal(there, here) else f"{name}: the server has {there}, not {here}")
        client.close()


def main(
    files: Annotated[int, typer.Option(min=0, help="Number of mutated files.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of the mutations.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that decode.")] = 2,
    only: Annotated[str, typer.Option(help="Only bombs whose names contain this.")] = "",
    with_bombs: Annotated[bool, typer.Option("--bombs/--no-bombs", help="Decode the bombs too.")] = True,
    through: Annotated[int, typer.Option("--served", min=0, help="Number of files to send to a real server too.")] = 0,
    repository: Annotated[Path, typer.Option(help="Model repository to serve.")] = EXPORTED,
    keep: Annotated[Path, typer.Option(help="Folder for files that exceed a limit.")] = Path("build/fuzz"),
) -> None:
    """Decode hostile files; exit with status 1 if one exceeds a limit."""
    console, started = Console(), time.perf_counter()
    large = [name for name in bombs() if only in name] if with_bombs else []
    names = [*large, *map(str, range(files))]
    found = []
    for outcome in _shown(outcomes(names, seed, jobs), len(names), "decoded", console):
        found.append(outcome)
        if outcome.broken:
            keep.mkdir(parents=True, exist_ok=True)
            path = keep / f"{seed}-{outcome.name.replace(' ', '-').replace('/', '-')}"
            path.write_bytes(content(outcome.name, seed)[1])
            console.print(f"BROKEN {_told(outcome)}; kept as {path}", markup=False)
    _summarise(found, console)
    numbers = [name for name in names if name.isdecimal()][:through]
    differences = [told for told in _shown(served(numbers, seed, repository), len(numbers), "served", console) if told]
    for told in differences:
        console.print(told, markup=False)
    console.print(f"{len(numbers)} files served, {len(differences)} answered otherwise")
    broken = sum(outcome.broken for outcome in found)
    console.print(f"{len(found)} files, {broken} broke a bound; {time.perf_counter() - started:.0f} s")
    raise typer.Exit(bool(broken or differences))


def _summarise(found: list[Outcome], console: Console) -> None:
    counts = Counter((outcome.format, outcome.verdict) for outcome in found)
    for format in FORMATS:
        console.print(f"{format:5} {counts[format, 'pixels']:6} pixels {counts[format, 'BadImage']:6} BadImage")
    for title, place in (("slowest", 3), ("largest", 4)):
        worst = sorted(found, key=lambda outcome: -float(outcome[place]))[:3]
        for outcome in worst:
            console.print(f"{title}: {_told(outcome)}", markup=False)


def _told(outcome: Outcome) -> str:
    return (
        f"{outcome.format} {outcome.name}: {outcome.verdict}, {outcome.seconds:.2f} s, {outcome.mib:.0f} MiB"
        f"{', ' if outcome.detail else ''}{outcome.detail[:100]}"
    )


def _shown(items: Iterator[T], total: int, title: str, console: Console) -> Iterator[T]:
    """Yield ``items`` with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        for item in items:
            yield item
            bar.advance(task)


if __name__ == "__main__":
    typer.run(main)
