"""The gate: an exported file enters the repository only when it computes what torch computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from img2poem.engines.local import open_session
from img2poem.errors import Img2PoemError
from img2poem.text import BOS, EOS, NEWLINE, PAD, PoemTokenizer

from . import poem_text
from .served import FREE, Inputs, ServedModel, TensorSpec

#: Batch sizes of the comparison; none is the example's (2), so that a frozen axis shows.
BATCHES = (1, 3, 8)
#: Largest accepted difference of a float32 output, absolute or relative, whichever is looser.
TOLERANCE = 2e-4


class ParityError(Img2PoemError):
    """An exported file differs from torch, or from what the contract says of its tensors."""


@dataclass(frozen=True)
class Parity:
    """The largest difference found, over all outputs and batch sizes."""

    largest_difference: float


def check_model(served: ServedModel, path: Path, seed: int = 1) -> Parity:
    """Compare the file at ``path`` with its torch module on random inputs of several batch sizes.

    Integer outputs (tokens, lengths) must be equal, floats within ``TOLERANCE``.

    Raises:
        ParityError: with the model, the output and the difference.
    """
    session = open_session(path)
    _check_signature(served.name, session, served.inputs, served.outputs)
    random = np.random.default_rng(seed)
    largest = 0.0
    for batch in BATCHES:
        inputs = served.sample(batch, random)
        with torch.inference_mode():
            result = served.module(*(torch.from_numpy(inputs[spec.name]) for spec in served.inputs))
        expected = [tensor.numpy() for tensor in (result if isinstance(result, tuple) else (result,))]
        for spec, want, got in zip(served.outputs, expected, _run(session, served.name, inputs), strict=True):
            largest = max(largest, _compare(f"{served.name}.{spec.name}, batch {batch}", want, got))
    return Parity(largest)


def check_poem_text(path: Path, tokenizer: PoemTokenizer, vocabulary_size: int, steps: int, seed: int = 1) -> Parity:
    """Compare ``poem_text`` with the tokenizer on random token rows."""
    session = open_session(path)
    _check_signature("poem_text", session, *poem_text.signature(steps))
    random = np.random.default_rng(seed)
    for batch in (*BATCHES, 64):
        tokens = random.integers(EOS + 1, vocabulary_size, (batch, steps))
        tokens[random.random(tokens.shape) < 0.15] = NEWLINE
        for row, length in zip(tokens, random.integers(1, steps + 1, batch), strict=True):
            row[length - 1] = EOS
            row[length:] = PAD
        tokens[0, 0] = BOS
        got, again, spelt = _run(session, "poem_text", {"tokens": tokens})
        if not np.array_equal(again, tokens):
            raise ParityError("poem_text does not pass its tokens on")
        if not np.array_equal(spelt, np.array(tokenizer.pieces, object)[tokens]):
            raise ParityError("poem_text.pieces are not those of the tokenizer")
        for row, text in zip(tokens, got[:, 0], strict=True):
            if (want := tokenizer.decode(row)) != text:
                raise ParityError(f"poem_text gives {text!r} where the tokenizer gives {want!r}")
    return Parity(0.0)


def _check_signature(
    name: str, session: onnxruntime.InferenceSession, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    kinds = {np.float32: "float", np.int64: "int64", np.uint8: "uint8", np.object_: "string"}
    for specs, nodes in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
        found = [(n.name, n.type, tuple(d if isinstance(d, int) else FREE for d in n.shape[1:])) for n in nodes]
        wanted = [(spec.name, f"tensor({kinds[spec.dtype]})", spec.dims) for spec in specs]
        if found != wanted:
            raise ParityError(f"{name}: the file has the tensors {found}, the contract says {wanted}")
        for node in nodes:
            if isinstance(node.shape[0], int):
                raise ParityError(f"{name}.{node.name}: the batch axis is frozen at {node.shape[0]}")


def _run(session: onnxruntime.InferenceSession, name: str, inputs: Inputs) -> list[NDArray[np.generic]]:
    try:
        return list(session.run(None, inputs))
    except Exception as error:  # onnxruntime's exceptions have no common base
        batch = len(next(iter(inputs.values())))
        raise ParityError(f"{name} fails on ONNX Runtime at batch {batch}: {error}") from error


def _compare(where: str, want: NDArray[np.generic], got: NDArray[np.generic]) -> float:
    if want.shape != got.shape or want.dtype != got.dtype:
        raise ParityError(f"{where}: torch gives {want.dtype}{want.shape}, the file {got.dtype}{got.shape}")
    if want.dtype.kind == "i":
        if (want != got).any():
            raise ParityError(f"{where}: {int((want != got).sum())} of {want.size} values differ from torch")
        return 0.0
    difference = np.abs(want.astype(np.float64) - got.astype(np.float64))
    relative = difference / np.maximum(np.abs(want.astype(np.float64)), 1.0)
    if not np.isfinite(difference).all() or relative.max() > TOLERANCE:
        raise ParityError(f"{where}: differs from torch by {relative.max():.2g}, more than {TOLERANCE:g}")
    return float(difference.max())
