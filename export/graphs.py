"""The served models that are built from ONNX operators, without a torch module."""

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
    """A hand-built model of the repository; it always runs on the CPU."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    build: Callable[[int], onnx.ModelProto]
    """Builds the graph for an opset."""
    check: Callable[[Path], parity.Parity]
    """Checks the written file; raises ``ParityError``."""
    max_batch: int = MAX_BATCH
    batched: bool = True
    """Whether requests may be batched."""
    instances: int = 1


def graph_models(config: PackageConfig, tokenizer: PoemTokenizer) -> list[GraphModel]:
    """Return the hand-built models for a package's vocabulary."""
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
            # The requests of a batch may have different n, which Triton cannot see in the tensors' shapes.
            batched=False,
        ),
        GraphModel(
            "poem_text",
            *poem_text.signature(steps),
            # All pieces, including those that only the aligner reads: clients build the tokenizer from them.
            partial(poem_text.build, tokenizer.pieces, steps),
            lambda path: parity.check_poem_text(path, tokenizer, len(tokenizer.pieces), steps),
            instances=INSTANCES,
        ),
    ]
