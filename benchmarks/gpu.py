"""Encoders and decoding on a GPU: latency of one, best throughput; by torch, and ONNX Runtime where it has CUDA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from img2poem import Greedy
from img2poem.decoding import MAX_TOKENS
from img2poem.nn.model import load_package
from img2poem.nn.rules import RowOptions
from img2poem.nn.search import GreedySearch

from .measure import side_by_side
from .report import Section

_BATCHES = (1, 32, 256)


def encoders_and_loops(package: Path, repository: Path, turns: int) -> Section | None:
    """Measure on the first CUDA device; None where there is none."""
    if not torch.cuda.is_available():
        return None
    model, tokenizer = load_package(package)
    model, device = model.cuda(), torch.cuda.get_device_name()
    search = GreedySearch(model.poem_decoder, tokenizer.pieces).cuda()
    section = Section(f"On {device}", ["", "batch", "ms", "a second"])
    for batch in _BATCHES:
        pixels = torch.zeros(batch, 224, 224, 3, dtype=torch.uint8, device="cuda")
        embedding = torch.nn.functional.normalize(torch.randn(batch, 512, device="cuda"), dim=-1)
        options = RowOptions(*(option.cuda() for option in RowOptions.of(Greedy(max_tokens=MAX_TOKENS), batch)))
        jobs: dict[str, Callable[[], object]] = {
            "encoders, torch": _finished(lambda p=pixels: model.image_encoder(p)),  # type: ignore[misc]
            "greedy, torch": _finished(lambda e=embedding, o=options: search(e, o)),  # type: ignore[misc]
            **_onnx(repository, batch),
        }
        for name, times in side_by_side(jobs, turns).items():
            section.rows.append([name, batch, times, f"{1000 * batch / times.median:.0f}"])
            section.numbers[f"{name}, batch {batch}: ms"] = times.median
    return section


def _finished(job: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        with torch.inference_mode():
            job()
        torch.cuda.synchronize()

    return run


def _onnx(repository: Path, batch: int) -> dict[str, Callable[[], object]]:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return {}
    from img2poem.engines.local import open_session

    encoder, decoder = (
        open_session(repository / name / "1" / "model.onnx", "cuda")
        for name in ("image_encoder", "poem_decoder_greedy")
    )
    pixels = np.zeros((batch, 224, 224, 3), np.uint8)
    embedding = np.random.default_rng(0).normal(size=(batch, 512)).astype(np.float32)
    options: dict[str, Any] = {name: np.repeat(value, batch, axis=0) for name, value in Greedy().tensors().items()}
    return {
        "encoders, ONNX Runtime": lambda: encoder.run(["embedding"], {"pixels": pixels}),
        "greedy, ONNX Runtime": lambda: decoder.run(["tokens"], {"embedding": embedding, **options}),
    }
