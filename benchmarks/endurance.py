"""Load a server while its processes are killed, models reloaded, its log's disk filled and its clock moved.

    python -m benchmarks.endurance --minutes 30

Every call must end, either with the poem that the same models write in process or with one of our errors. Memory of
the clients and of `img2poem serve` must not grow after the first fifth of the time. After the last fault, every poem
must succeed again. Exit status 1 if any of this fails.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from img2poem import BeamSearch, BestOf, Form, Greedy, Img2Poem, Img2PoemError, Sampling
from img2poem.artifacts.installed import EXPORTED
from img2poem.decoding.strategies import AnyStrategy
from img2poem.serving.server import Ports

from .endurance_faults import Faults
from .photographs import photographs
from .processes import commands_with, resident_mib

KEY = "endurance-key-0123456789"
#: Allowed growth of memory after the first fifth of the time, in MiB.
_MAY_GAIN = 32.0
_TIMEOUT = 60.0
#: Pause of a caller after an error, in seconds.
_AFTER_ERROR = 0.5


class Work(NamedTuple):
    """One kind of request."""

    photo: bytes
    strategy: AnyStrategy
    form: Form | None
    where: str | None
    streamed: bool = False

    def done(self, poet: Img2Poem) -> str:
        """Send the request and return the poem's text."""
        if self.streamed and isinstance(self.strategy, Sampling | Greedy):
            return "\n".join(line.text for line in poet.stream(self.photo, self.strategy, timeout=_TIMEOUT))
        poem = poet.write(self.photo, self.strategy, form=self.form, where=self.where, timeout=_TIMEOUT)  # type: ignore[arg-type]
        return poem.text


def works() -> list[Work]:
    """Return all kinds of requests for several photographs."""
    found = []
    for seed, photo in enumerate(photographs(4)):
        found += [
            Work(photo, Greedy(), None, None),
            Work(photo, BeamSearch(width=3), None, None),
            Work(photo, Sampling(seed=seed), None, None),
            Work(photo, BestOf(4, Sampling(seed=seed)), None, None),
            Work(photo, Sampling(seed=seed, max_lines=4), None, "client"),
            Work(photo, Greedy(), None, None, streamed=True),
            Work(photo, Greedy(), Form(lines=5), None),
        ]
    return found


@dataclass
class Tally:
    """Thread-safe counts of the calls' outcomes."""

    begun: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, work: Work, expected: str, poet: Img2Poem) -> bool:
        """Make one call and count its outcome; return whether the poem was right."""
        with self.lock:
            self.begun += 1
        how, wrong = "poem", ""
        try:
            if (text := work.done(poet)) != expected:
                how, wrong = "another poem", f"{work.strategy}: {text!r}, not {expected!r}"
        except Img2PoemError as error:
            how = type(error).__name__
            if error.request_id is None or not str(error):
                wrong = f"{how} without id or text"
        except BaseException as error:
            how, wrong = f"not ours: {type(error).__name__}", repr(error)
        with self.lock:
            self.ended[how] += 1
            self.wrong += [wrong] if wrong else []
        return how == "poem"


class Memory(NamedTuple):
    """Resident memory in MiB: this process with all clients, `img2poem serve`, and Triton with its models."""

    clients: float
    supervisor: float
    server: float

    @classmethod
    def now(cls, repository: Path, supervisor: int) -> Memory:
        """Measure the current memory."""
        served = sum(resident_mib(pid) for pid, _ in commands_with(repository) if pid != supervisor)
        return cls(resident_mib(os.getpid()), resident_mib(supervisor), served)


@contextlib.contextmanager
def serving(img2poem: list[str], repository: Path, ports: Ports, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `img2poem serve`, which restarts killed processes."""
    options = [f"--{kind}-port={port}" for kind, port in asdict(ports).items()]
    secret = repository.parent / "secret"
    secret.write_text(KEY, encoding="ascii")
    options += ["--model-control=explicit", f"--api-key-file={secret}", f"--log-file={log}", "--log-level=verbose"]
    # The injected faults are more frequent than real crashes: reset the count of restarts after 6 s.
    options += ["--restarts=1000", "--restart-window=0.1", "--drain-timeout=5"]
    process = subprocess.Popen(
        [*img2poem, "serve", str(repository), *options],
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def main(
    minutes: Annotated[float, typer.Option(min=0.5, help="Minutes with faults.")] = 30.0,
    callers: Annotated[int, typer.Option(min=1, help="Concurrent calls.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of faults and calls.")] = 0,
    repository: Annotated[Path, typer.Option(help="Model repository; a copy of it is served.")] = EXPORTED,
    pause: Annotated[float, typer.Option(min=1, help="Longest pause between faults, in seconds.")] = 30.0,
) -> None:
    """Run the test and print the results."""
    logging.getLogger("img2poem").setLevel(logging.ERROR)  # hides a warning for each failed attempt
    todo = works()
    with Img2Poem(repository) as poet:
        expected = [work.done(poet) for work in todo]
    with tempfile.TemporaryDirectory(prefix="endurance-") as temporary:
        folder = Path(temporary)
        copy = Path(shutil.copytree(repository, folder / "repository"))
        ports, tally = Ports.free(), Tally()
        faults = Faults(copy, f"127.0.0.1:{ports.grpc}", KEY, folder, seed)
        for told in faults.left_out:
            typer.echo(f"left out: {told}")
        served = serving(faults.img2poem, copy, ports, faults.log)
        with contextlib.closing(faults), served as server, contextlib.ExitStack() as stack:
            urls = f"grpc://127.0.0.1:{ports.grpc}", f"http://127.0.0.1:{ports.http}"
            poets = [stack.enter_context(Img2Poem(url)) for url in urls]
            _wait_until_ready(poets[0], server)
            over = threading.Event()
            threads = [_caller(i, seed, todo, expected, poets, tally, over) for i in range(callers)]
            threads.append(
                threading.Thread(target=faults.run, args=(over, (min(5.0, pause), pause), _tell), daemon=True)
            )
            looks = _looked(60 * minutes, threads, over, lambda: Memory.now(copy, server.pid))
            _wait_until_ready(poets[0], server)
            after = [work.done(poet) == text for poet in poets for work, text in zip(todo, expected, strict=True)]
            problems = [] if server.poll() is None else ["img2poem serve ended"]
        problems += [f"a process stays behind: {' '.join(command)[:100]}" for _, command in commands_with(copy)]
    problems += [*tally.wrong[:10], *_leaks(looks)]
    problems += [] if all(after) else [f"{after.count(False)} of {len(after)} poems are wrong once the faults are over"]
    if tally.begun != tally.ended.total():
        problems.append(f"{tally.begun} calls begun, {tally.ended.total()} ended")
    _report(tally, faults, looks, problems)
    raise typer.Exit(bool(problems))


def _looked(
    seconds: float, threads: list[threading.Thread], over: threading.Event, look: Callable[[], Memory]
) -> list[Memory]:
    """Let ``threads`` run for ``seconds`` and measure memory every 10 s."""
    for thread in threads:
        thread.start()
    looks, end = [], time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(10.0, left))
        looks.append(look())
    over.set()
    for thread in threads:
        thread.join(4 * _TIMEOUT)
    return looks


def _caller(
    number: int,
    seed: int,
    todo: list[Work],
    expected: list[str],
    poets: list[Img2Poem],
    tally: Tally,
    over: threading.Event,
) -> threading.Thread:
    def ask() -> None:
        chance = random.Random(f"{seed}:{number}")
        while not over.is_set():
            place = chance.randrange(len(todo))
            if not tally.call(todo[place], expected[place], poets[number % len(poets)]):
                over.wait(_AFTER_ERROR)

    return threading.Thread(target=ask, daemon=True)


def _wait_until_ready(poet: Img2Poem, server: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not all(health.ready for health in poet.health()):
        if server.poll() is not None or time.monotonic() > deadline:
            raise typer.Exit(_tell("the server did not become ready"))
        time.sleep(0.5)


def _leaks(looks: list[Memory]) -> list[str]:
    """List whose memory grew after the first fifth of the time; Triton, which restarts, is only reported."""
    settled, told = looks[len(looks) // 5 :], []
    for name in ("clients", "supervisor"):
        values = [getattr(look, name) for look in settled]
        half = max(1, len(values) // 2)
        if max(values[half:], default=0) > max(values[:half], default=0) + _MAY_GAIN:
            told.append(f"memory of {name} grew from {max(values[:half]):.0f} to {max(values[half:]):.0f} MiB")
    return told


def _report(tally: Tally, faults: Faults, looks: list[Memory], problems: list[str]) -> None:
    typer.echo(f"{tally.begun} calls: {', '.join(f'{n} {how}' for how, n in tally.ended.most_common())}")
    typer.echo(f"{faults.counts.total()} faults: {', '.join(f'{n} {name}' for name, n in faults.counts.most_common())}")
    for name in Memory._fields:
        values = [getattr(look, name) for look in looks]
        fifths = [max(values[len(values) * i // 5 : len(values) * (i + 1) // 5] or [0]) for i in range(5)]
        typer.echo(f"memory of {name}, highest of each fifth: {', '.join(f'{value:.0f}' for value in fifths)} MiB")
    for problem in problems:
        typer.echo(f"WRONG: {problem}")


def _tell(line: str) -> int:
    typer.echo(f"{time.strftime('%H:%M:%S')} {line}")
    return 1


if __name__ == "__main__":
    typer.run(main)
