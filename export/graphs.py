"""The served models that are written as ONNX operators, with no torch module behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx

from img2poem.artifacts.package import PackageConfig
from img2poem.text.tokenizer import PoemTokenizer

from . import noise, parity, poem_text
from .served import INSTANCES, MAX_BATCH, MAX_BATCH_OF_CANDIDATES, TensorSpec


@dataclass(frozen=True)
class GraphModel:
    """A model of the repository that is built by hand; it always runs on the CPU."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    build: Callable[[int], onnx.ModelProto]
    """The graph, in an opset."""
    check: Callable[[Path], parity.Parity]
    """Compares the written file; raises ``ParityError``."""
    max_batch: int = MAX_BATCH
    batched: bool = True
    """Whether requests may be put together."""
    instances: int = 1


def graph_models(config: PackageConfig, tokenizer: PoemTokenizer) -> list[GraphModel]:
    """Return them for a package's vocabulary."""
    steps, dim = config.decoder.max_tokens, config.embedding_dim
    return [
        GraphModel(
            "noise",
            *noise.signature(False, dim),
            partial(noise.build, False, dim),
            partial(parity.check_noise, False, dim),
            instances=INSTANCES,
        ),
        GraphModel(
            "candidate_noise",
            *noise.signature(True, dim),
            partial(noise.build, True, dim),
            partial(parity.check_noise, True, dim),
            MAX_BATCH_OF_CANDIDATES,
            # The requests of a batch may want different n, which their tensors' shapes do not show.
            batched=False,
        ),
        GraphModel(
            "poem_text",
            *poem_text.signature(steps),
            # Of all that the aligner reads: a caller makes the tokenizer from it.
            partial(poem_text.build, tokenizer.pieces, steps),
            lambda path: parity.check_poem_text(path, tokenizer, len(tokenizer.pieces), steps),
            instances=INSTANCES,
        ),
    ]
