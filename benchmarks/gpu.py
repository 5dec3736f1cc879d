"""Encoders and decoding on a GPU, with torch and, if it has CUDA, ONNX Runtime, against the hardware's lower bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from img2poem import BeamSearch, Greedy
from img2poem.decoding.strategies import Strategy
from img2poem.nn import search
from img2poem.nn.model import load_package
from img2poem.nn.rules import RowOptions

from .measure import Times, decoder_inputs, milliseconds, side_by_side
from .report import Section

_BATCHES = (1, 8, 32)
#: Largest batch that models can be served with; torch is also measured beyond it.
_LARGEST = 256
_STRATEGIES: dict[str, Strategy] = {"greedy": Greedy(), "beam": BeamSearch(width=10)}


class Job(NamedTuple):
    """What is timed, and its lower bound: floating-point operations, and bytes of weights read."""

    run: Callable[[], object]
    operations: float
    bytes: float


def encoders_and_loops(package: Path, repository: Path, turns: int) -> Section | None:
    """Measure on the first CUDA device; return None without one."""
    if not torch.cuda.is_available():
        return None
    rate, bandwidth = _product_rate(), _bandwidth()
    columns = ["", "batch", "ms", "a second", "needs, ms", "times what it needs"]
    section = Section(f"On {torch.cuda.get_device_name()}", columns)
    section.notes.append(
        f"What it needs: operations over {rate / 1e12:.3g} TFLOP/s (a float32 product without TF32), or bytes of "
        f"weights over {bandwidth / 1e12:.3g} TB/s (a copy), whichever takes longer; both measured here."
    )
    for batch in (*_BATCHES, _LARGEST):
        jobs = {**dict(_torch(package, batch)), **(dict(_onnx(repository, batch)) if batch < _LARGEST else {})}
        needs = {name: 1000 * max(job.operations / rate, job.bytes / bandwidth) for name, job in jobs.items()}
        for name, times in side_by_side({name: job.run for name, job in jobs.items()}, turns).items():
            # The ONNX graphs compute the same as torch's modules.
            need = needs[name] or needs[name.replace("ONNX Runtime", "torch")]
            _add(section, name, batch, times, need)
    return section


def _add(section: Section, name: str, batch: int, times: Times, need: float) -> None:
    second = 1000 * batch / times.median
    section.rows.append([name, batch, times, f"{second:.0f}", f"{need:.3g}", f"{times.median / need:.3g}"])
    section.numbers[f"{name}, batch {batch}: ms"] = times.median
    section.numbers[f"{name}, batch {batch}: times what it needs"] = times.median / need


def _torch(package: Path, batch: int) -> Iterator[tuple[str, Job]]:
    model, tokenizer = load_package(package)
    model, decoder, pieces = model.cuda(), model.poem_decoder.cuda(), tokenizer.pieces
    pixels = torch.randint(0, 256, (batch, 224, 224, 3), dtype=torch.uint8, device="cuda")
    weights = _bytes(model.image_encoder)
    yield "encoders, torch", _job(lambda: model.image_encoder(pixels), weights, steps=1)
    embedding, length_penalty = _points(batch), torch.full((batch,), BeamSearch().length_penalty, device="cuda")
    width = torch.full((batch,), 10, device="cuda")
    greedy = search.GreedySearch(decoder, pieces).cuda()
    beam = search.BeamSearch(decoder, pieces, 10).cuda()
    on_gpu = {
        name: RowOptions(*(option.cuda() for option in RowOptions.of(strategy, batch)))
        for name, strategy in _STRATEGIES.items()
    }
    runs: dict[str, Callable[[], search.Hypotheses]] = {
        "greedy": lambda: greedy(embedding, on_gpu["greedy"]),
        "beam": lambda: beam(embedding, on_gpu["beam"], width, length_penalty),
    }
    for name, run in runs.items():
        with torch.inference_mode():
            steps = int(run().lengths.max())
        # A step reads only a few rows of the embedding tables.
        yield f"{name}, torch", _job(run, _bytes(decoder), steps)


def _job(run: Callable[[], object], weights: int, steps: int) -> Job:
    def finished() -> None:
        with torch.inference_mode():
            run()
        torch.cuda.synchronize()

    with FlopCounterMode(display=False) as counter:
        finished()
    return Job(finished, counter.get_total_flops(), weights * steps)


def _onnx(repository: Path, batch: int) -> Iterator[tuple[str, Job]]:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return
    from img2poem.artifacts.sessions import open_session

    pixels = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
    encoder = open_session(repository / "image_encoder" / "1" / "model.onnx", "cuda")
    yield "encoders, ONNX Runtime", Job(lambda: encoder.run(["embedding"], {"pixels": pixels}), 0, 0)
    embedding = _points(batch).cpu().numpy()
    for name, strategy in _STRATEGIES.items():
        decoder = open_session(repository / f"poem_decoder_{name}" / "1" / "model.onnx", "cuda")
        inputs = decoder_inputs(strategy, embedding)
        yield f"{name}, ONNX Runtime", Job(lambda d=decoder, i=inputs: d.run(["tokens"], i), 0, 0)  # type: ignore[misc]


def _points(batch: int) -> torch.Tensor:
    generator = torch.Generator("cuda").manual_seed(0)
    points = torch.randn(batch, 512, device="cuda", generator=generator)
    return torch.nn.functional.normalize(points, dim=-1)


def _bytes(module: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def _product_rate(size: int = 8192) -> float:
    """Return the operations per second of a large float32 product."""
    one, other = (torch.randn(size, size, device="cuda") for _ in range(2))
    return 2 * size**3 / _seconds(lambda: one @ other)


def _bandwidth(size: int = 2**30) -> float:
    """Return the bytes per second that a copy reads and writes."""
    one, other = (torch.empty(size, dtype=torch.uint8, device="cuda") for _ in range(2))
    return 2 * size / _seconds(lambda: other.copy_(one))


def _seconds(job: Callable[[], object]) -> float:
    def run() -> None:
        job()
        torch.cuda.synchronize()

    run()
    return min(milliseconds(run) for _ in range(5)) / 1000
