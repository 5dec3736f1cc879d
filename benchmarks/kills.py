"""Kill commands that write files at random moments (SIGKILL) and restart them: nothing is corrupt, lost or duplicated.

    python -m benchmarks.kills --times 50 --data folder
    python -m benchmarks.kills --times 20 --only batch,download

Each writer is started, killed at a random moment of its usual run time, checked, and restarted on its remaining
files. If it finishes first, its results are checked and it starts again from nothing. Exit status 1 if a check failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from img2poem.artifacts.inspection import inspect
from img2poem.artifacts.installed import EXPORTED
from img2poem.errors import Img2PoemError

from .photographs import photographs

_PHOTOS = 40


class Writer(ABC):
    """A command that writes files, in its own folder.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that begins or resumes the work."""

    @abstractmethod
    def faults(self) -> list[str]:
        """Return the faults in the files that a kill left."""

    @abstractmethod
    def finished(self) -> list[str]:
        """Return the faults in finished work, and remove it so that the next run starts from nothing."""


class Export(Writer):
    """``python -m export.all`` of a few models, replacing an older repository."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._out, self._before = folder / "repository", ""

    def command(self) -> list[str]:
        """Export everything again."""
        return ["-m", "export.all", "--out", str(self._out), "--models", "decoder_init,poem_text,noise", "--force"]

    def faults(self) -> list[str]:
        """The repository is complete, or complete under its backup name, or was never written."""
        aside = self._out.with_name("repository.old")
        found = next((path for path in (self._out, aside) if path.exists()), None)
        if found is None:
            return ["the repository is lost"] if self._before else []
        self._before = str(found)
        try:
            return inspect(found).problems
        except Img2PoemError as error:
            return [str(error)]

    def finished(self) -> list[str]:
        """Keep the repository: the next export replaces it."""
        left = {path.name for path in self.folder.iterdir()} - {"repository", "repository.lock"}
        return self.faults() + [f"{name} stays behind" for name in sorted(left)]


class Training(Writer):
    """A stage of the training, which writes a checkpoint after each epoch."""

    data: Path | None = None

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._work, self._epoch = folder / "runs", -1

    def command(self) -> list[str]:
        """Resume from the last checkpoint."""
        options = ["--epochs", "60", "--accelerator", "cpu", "--data", str(self.data), "--work", str(self._work)]
        return ["-m", "training.sentiment", *options]

    def faults(self) -> list[str]:
        """Checkpoints load, and no epoch is lost."""
        told = []
        for path in self._work.rglob("*.ckpt"):
            try:
                epoch = torch.load(path, map_location="cpu", weights_only=True)["epoch"]
            except Exception as error:  # torch's errors for damaged files have no common type
                told.append(f"{path.name} does not load: {error}")
                continue
            if path.name == "last.ckpt":
                told += [f"epoch {self._epoch} is lost, {epoch} is the last"] if epoch < self._epoch else []
                self._epoch = epoch
        return told

    def finished(self) -> list[str]:
        """There is a result; the cached features are kept, the rest is removed."""
        told = self.faults() + ([] if [*self._work.rglob("result.safetensors")] else ["there is no result"])
        for stage in self._work.glob("*/sentiment"):
            shutil.rmtree(stage)
        self._epoch = -1
        return told


class Batch(Writer):
    """``img2poem batch`` over a folder of photographs."""

    repository = EXPORTED

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "photos").mkdir()
        for number, photo in enumerate(photographs(_PHOTOS)):
            (folder / "photos" / f"{number:03}.jpg").write_bytes(photo)
        self._out, self._kept = folder / "poems.jsonl", dict[str, str]()
        self._expected: dict[str, str] | None = None

    def command(self) -> list[str]:
        """Resume after the last complete line."""
        options = ["--out", str(self._out), "--engine", str(self.repository), "--strategy", "sample"]
        return ["-m", "img2poem", "batch", str(self.folder / "photos"), *options]

    def faults(self) -> list[str]:
        """Lines are complete, none is lost, and no photograph occurs twice."""
        content = self._out.read_bytes() if self._out.exists() else b""
        lines = content[: content.rfind(b"\n") + 1].splitlines()
        try:
            poems = [json.loads(line) for line in lines]
        except ValueError as error:
            return [f"a line is damaged: {error}"]
        twice = [name for name, times in Counter(poem["photo"] for poem in poems).items() if times > 1]
        found = {poem["photo"]: json.dumps(poem["lines"]) for poem in poems}
        lost = [name for name, text in self._kept.items() if found.get(name) != text]
        self._kept = found
        return [*(f"{name} comes twice" for name in twice), *(f"{name} is lost or another" for name in lost)]

    def finished(self) -> list[str]:
        """Every photograph has its poem, the same as in the first run."""
        told = self.faults() + ([] if len(self._kept) == _PHOTOS else [f"{len(self._kept)} of {_PHOTOS} poems"])
        told += [] if self._expected in (None, self._kept) else ["other poems than the first time"]
        self._expected, self._kept = self._kept, {}
        self._out.unlink()
        return told


class Download(Writer):
    """The data sets' downloader, with a slow server in this process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._photos = {f"/{number}.jpg": photo for number, photo in enumerate(photographs(_PHOTOS))}
        self._asked: Counter[str] = Counter()
        self._done: set[str] = set()
        self._into = folder / "photos"
        writer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                writer.serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a killed client closes its connection

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request, slowly."""
        photo = self._photos[request.path]
        self._asked[request.path] += request.path in self._done
        request.send_response(200)
        request.send_header("Content-Length", str(len(photo)))
        request.send_header("ETag", '"1"')
        request.end_headers()
        for start in range(0, len(photo), 4096):
            request.wfile.write(photo[start : start + 4096])
            time.sleep(0.02)

    def command(self) -> list[str]:
        """Download the missing files."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        lines = [
            "from pathlib import Path",
            "from img2poem.datasets.download import Download, DownloadOptions, download",
            f"into, names = Path({str(self._into)!r}), {[name[1:] for name in self._photos]!r}",
            f"items = [Download(f'{address}/{{name}}', into / name) for name in names]",
            "download(items, into, DownloadOptions(quiet=True, concurrency=4))",
        ]
        return ["-c", "\n".join(lines)]

    def faults(self) -> list[str]:
        """Files with their final names are intact, remain, and are not downloaded again."""
        told = []
        for name, photo in self._photos.items():
            path = self._into / name[1:]
            if path.exists():
                if hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(photo).digest():
                    told.append(f"{name} is damaged")
                self._done.add(name)
            elif name in self._done:
                told.append(f"{name} is lost")
        return told + [f"{name} is fetched again" for name, times in self._asked.items() if times]

    def finished(self) -> list[str]:
        """All files are there, without leftovers."""
        told = self.faults() + ([] if len(self._done) == _PHOTOS else [f"{len(self._done)} of {_PHOTOS} files"])
        left = [path.name for path in self._into.iterdir() if ".part" in path.name]
        shutil.rmtree(self._into)
        self._done, self._asked = set(), Counter()
        return told + [f"{name} stays behind" for name in left]


WRITERS: dict[str, type[Writer]] = {"export": Export, "training": Training, "batch": Batch, "download": Download}


def killed(writer: Writer, times: int, chance: random.Random, progress: Progress) -> tuple[int, list[str]]:
    """Kill ``writer`` ``times`` times; return how often it finished before a kill, and the faults."""
    task = progress.add_task(type(writer).__name__.lower(), total=times)
    began = time.monotonic()
    told = _to_its_end(writer)
    whole, ended, kills = time.monotonic() - began, 0, 0
    while kills < times:
        process = _started(writer)
        try:
            process.wait(chance.uniform(0, whole))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            progress.advance(task)
            told += [f"kill {kills}: {fault}" for fault in writer.faults()]
            continue
        ended += 1
        told += writer.finished() if process.returncode == 0 else [f"it ended with {process.returncode}"]
    return ended, told + _to_its_end(writer)


def _to_its_end(writer: Writer) -> list[str]:
    status = _started(writer).wait()
    return [f"it ended with {status}"] if status else writer.finished()


def _started(writer: Writer) -> subprocess.Popen[bytes]:
    command = [sys.executable, *writer.command()]
    log = open(writer.folder.with_suffix(".log"), "ab")  # noqa: SIM115
    with log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def main(
    times: Annotated[int, typer.Option(min=1, help="Number of kills for each writer.")] = 50,
    only: Annotated[str, typer.Option(help="Only these writers, separated by commas.")] = ",".join(WRITERS),
    data: Annotated[Path | None, typer.Option(help="Training data for the writer training.")] = None,
    repository: Annotated[Path, typer.Option(help="Model repository for the writer batch.")] = Batch.repository,
    seed: Annotated[int, typer.Option(help="Seed of the random moments.")] = 0,
) -> None:
    """Kill the writers; exit with status 1 if a check of their files fails."""
    names = only.split(",")
    if unknown := set(names) - WRITERS.keys():
        raise typer.BadParameter(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(WRITERS)}")
    if "training" in names and data is None:
        raise typer.BadParameter("training needs --data; or name the others with --only")
    Training.data, Batch.repository = data, repository
    console, failed = Console(), False
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    for name in names:
        with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
            folder = Path(temporary) / name
            folder.mkdir()
            started = time.monotonic()
            with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
                ended, told = killed(WRITERS[name](folder), times, random.Random(seed), progress)
            seconds = time.monotonic() - started
            console.print(f"{name}: {times} kills, {ended} runs to the end, {len(told)} faults; {seconds:.0f} s")
            for fault in told[:10]:
                console.print(f"  WRONG: {fault}", markup=False)
            if told:
                console.print(folder.with_suffix(".log").read_text(errors="replace")[-1000:], markup=False)
            failed |= bool(told)
    raise typer.Exit(failed)


if __name__ == "__main__":
    typer.run(main)
