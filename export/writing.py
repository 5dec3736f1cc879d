"""Write and check models in parallel processes: tracing is Python code, which uses one core."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import onnx as onnx_format
import torch

from img2poem.artifacts.package import Package, PackageConfig
from img2poem.artifacts.sessions import Device
from img2poem.nn.model import PhotoToPoem, load_package
from img2poem.system.cores import allowed
from img2poem.text.tokenizer import PoemTokenizer

from . import onnx, parity, placement, torchscript, triton
from .precision import Converter
from .repository import sources
from .reuse import Earlier, Made, key_of
from .served import served_models
from .settings import Settings


class Row(NamedTuple):
    """A line of the final table, and the manifest's record of a checked file."""

    model: str
    format: str
    size: int = 0
    made: Made | None = None
    kept: bool = False


@dataclass(frozen=True)
class Job:
    """A file to write: its model, format and name, and the hash of its dependencies."""

    model: str
    format: str
    name: str
    key: str


class Writer:
    """Writes a package's models into a folder and checks them, or keeps earlier files with new stamps.

    Args:
        package: the model package.
        folder: folder of the repository.
        settings: options of the export.
    """

    def __init__(self, package: Package, folder: Path, settings: Settings) -> None:
        self.made_of = (package, folder, settings)
        self.model, self.tokenizer = _load(package, settings)
        self.served = {
            one.name: replace(one, max_batch=settings.largest_batch(one.max_batch))
            for one in served_models(self.model, self.tokenizer)
        }
        self.converter = Converter(settings, self.model.config.preprocessing.size)
        self._contract, self._folder, self._settings = package.contract, folder, settings

    def stamps(self, name: str) -> dict[str, str]:
        """Return the stamps of the file ``name``."""
        config, pieces = self.model.config, self.tokenizer.pieces
        return onnx.stamps_of(config, pieces, self._contract, name, self._settings.precision)

    def jobs(self, names: Sequence[str]) -> list[Job]:
        """Return the files, among ``names``, that are exported from torch modules."""
        made_from = {
            **sources(),
            "precision": self._settings.precision,
            "data": self._settings.photographs,
            "config": _computed_by(self.model.config),
        }
        found = []
        for one in self.served.values():
            if one.name in names:
                key = key_of(one, {**made_from, "format": "onnx", "opset": self._settings.opset})
                found.append(Job(one.name, "onnx", one.name, key))
            if (name := one.name + torchscript.SUFFIX) in names:
                key = key_of(one, {**made_from, "format": "torchscript"})
                found.append(Job(one.name, "torchscript", name, key))
        return found

    def keep(self, job: Job, earlier: Earlier) -> Row | None:
        """Copy the job's earlier file with new stamps; None if there is no file to reuse."""
        path = self._path(job)
        found = earlier.find(job.name, job.key, path.name)
        if found is None:
            return None
        source, made = found
        if job.format == "onnx":
            onnx.write(onnx_format.load(source), path, self.stamps(job.name))
        else:
            torchscript.restamp(source, path, self.stamps(job.name))
        return Row(job.name, job.format, path.stat().st_size, made, kept=True)

    def write(self, job: Job) -> Row:
        """Write and check one file.

        Raises:
            ParityError: it differs from torch.
            PlacementError: it is for GPUs and has operators without a CUDA kernel.
        """
        served, path, opset = self.served[job.model], self._path(job), self._settings.opset
        if job.format == "onnx":
            model = self.converter.convert(served, onnx.export_module(served, opset))
            onnx.write(model, path, self.stamps(job.name))
            if self._settings.device == "gpu":
                placement.check(job.name, model, self._settings.target)
        else:
            torchscript.write(served, path, self.stamps(job.name))
        return self.check(job)

    def check(self, job: Job, device: Device = "cpu") -> Row:
        """Compare an existing file, run on ``device``, with torch on the CPU.

        Raises:
            ParityError: it differs.
        """
        served, path, opset = self.served[job.model], self._path(job), self._settings.opset
        if job.format == "torchscript":
            opset, found = 0, parity.check_torchscript(served, path, device=device)
        else:
            tried = replace(served, sample=self.converter.sample(served.sample))
            found = parity.check_model(tried, path, opset, self._settings.precision, device=device)
        return Row(job.name, job.format, path.stat().st_size, Made(job.key, job.format, opset, **asdict(found)))

    def _path(self, job: Job) -> Path:
        file = triton.ONNX_FILE if job.format == "onnx" else triton.TORCHSCRIPT_FILE
        return self._folder / job.name / "1" / file


def written(writer: Writer, jobs: Sequence[Job], processes: int) -> Iterator[Row]:
    """Run ``jobs`` in at most ``processes`` processes; yield each row when it is done.

    Raises:
        ParityError: a file differs from torch.
        BrokenProcessPool: a process was killed, for example for lack of memory.
    """
    processes = min(processes, len(jobs) // 2)
    if processes < 2:
        yield from map(writer.write, jobs)
        return
    before = {*multiprocessing.active_children()}
    threads = max(1, allowed() // processes)
    # Not forked: torch has threads, and a forked process would inherit their locks, never released.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (threads, *writer.made_of)) as pool:
        futures = [pool.submit(_write, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            for process in {*multiprocessing.active_children()} - before:
                process.terminate()
            raise


_writer: Writer | None = None


def _begin(threads: int, package: Package, folder: Path, settings: Settings) -> None:
    global _writer
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _writer = Writer(package, folder, settings)


def _end_with_parent() -> None:
    """End at once if the export was killed: nobody would read the files."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write(job: Job) -> Row:
    assert _writer is not None
    return _writer.write(job)


def _computed_by(config: PackageConfig) -> dict[str, Any]:
    """Return the parts of a package's config that a graph may hold as constants.

    Forbidden words are not among them: they are in the decoder's tables.
    """
    encoder, decoder = asdict(config.image_encoder), asdict(replace(config.decoder, forbidden_words=[]))
    return {"image_encoder": encoder, "bert": config.poem_encoder.bert, "decoder": decoder}


def _load(package: Package, settings: Settings) -> tuple[PhotoToPoem, PoemTokenizer]:
    model, tokenizer = load_package(package)
    if settings.forbidden_words is not None:
        decoder = replace(model.config.decoder, forbidden_words=[*settings.forbidden_words])
        model.config, model.poem_decoder.config = replace(model.config, decoder=decoder), decoder
    return model, tokenizer
