"""Parity gate: a file enters the repository only if its outputs match torch's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from img2poem.artifacts.sessions import Device, open_session
from img2poem.decoding.noise import noise as noise_of
from img2poem.decoding.registry import OPTIONS
from img2poem.errors import BadRepository, Img2PoemError
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import BOS, EOS, FIRST_WORD, NEWLINE, PAD

from . import noise, poem_text, torchscript
from .served import FREE, Inputs, ServedModel, TensorSpec
from .settings import IR_VERSION, OPSETS

#: Batch sizes of the comparison. They exclude the example's (2), so that a frozen batch axis shows.
BATCHES = (1, 3, 8)
#: Largest accepted difference of a float32 output, absolute or relative, whichever is looser.
TOLERANCE = 2e-4
#: Rows, over all batches, whose tokens may differ because of ties, and nudged inputs per row that detect a tie.
MAX_TIES, _NUDGES = 3, 16
#: Outputs of the models that choose token by token; a row's other outputs depend on these choices.
_SEARCHED = {"tokens", "next_tokens", "candidates"}
#: Largest accepted root mean square of the difference, relative to that of the output, in a lower precision.
RMS_TOLERANCE = {"fp16": 0.02, "int8": 0.4}
#: Largest accepted difference, relative too, of an int8 file's float outputs with and without ONNX Runtime's
#: optimisations. These round differently, as other releases of ONNX Runtime do.
ROUNDING_TOLERANCE = 0.1


class ParityError(Img2PoemError):
    """An exported file differs from torch or from the contract."""


@dataclass(frozen=True)
class Parity:
    """The largest difference over all outputs and batch sizes, and the median time of a call at batch 1."""

    difference: float
    milliseconds: float


Run = Callable[[Inputs], list[NDArray[Any]]]


def check_model(
    served: ServedModel,
    path: Path,
    opset: int | None = None,
    precision: str = "fp32",
    seed: int = 1,
    device: Device = "cpu",
) -> Parity:
    """Compare the ONNX file at ``path`` with its torch module on random inputs of several batch sizes.

    Integer outputs (tokens, lengths) must be equal, floats within ``TOLERANCE``. Processors round differently, so
    a search may choose another token at a tie. Up to ``MAX_TIES`` rows may differ if torch's choice changes too when
    its input moves by ``TOLERANCE``. In a lower precision floats may differ by ``RMS_TOLERANCE``; models with token
    outputs are compared by the quality of their poems, in :mod:`export.quality`.

    Raises:
        ParityError: with the model, the output and the difference.
        BadRepository: the file cannot be loaded.
    """
    _check_versions(served.name, path, opset)
    session = open_session(path, device)
    _check_signature(served.name, session, served.inputs, served.outputs)
    if precision == "int8":
        _check_rounding(served, session, path, seed)
    return _check(served, lambda inputs: _run(session, served.name, inputs), seed, precision)


def check_torchscript(served: ServedModel, path: Path, seed: int = 1, device: Device = "cpu") -> Parity:
    """Compare the TorchScript file at ``path``, run on ``device``, with torch; see :func:`check_model`.

    A GPU computes as with ``NVIDIA_TF32_OVERRIDE=0``, which Triton must run with too: in TF32 no file would pass.

    Raises:
        ParityError: with the model, the output and the difference.
    """
    try:
        module = torchscript.load(path, device)
    except RuntimeError as error:
        raise BadRepository(f"{path} cannot be loaded ({error})") from error

    def run(inputs: Inputs) -> list[NDArray[Any]]:
        try:
            with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
                result = module(*(torch.from_numpy(inputs[spec.name]).to(device) for spec in served.inputs))
        except RuntimeError as error:
            batch = len(next(iter(inputs.values())))
            raise ParityError(f"{served.name} fails as TorchScript at batch {batch}: {error}") from error
        return [tensor.cpu().numpy() for tensor in (result if isinstance(result, tuple) else (result,))]

    return _check(served, run, seed)


def _check(served: ServedModel, run: Run, seed: int, precision: str = "fp32") -> Parity:
    random = np.random.default_rng(seed)
    largest, ties, in_tokens = 0.0, 0, any(spec.dtype is np.int64 for spec in served.outputs)
    searches = any(spec.name in _SEARCHED for spec in served.outputs)
    for batch in BATCHES:
        inputs = served.sample(batch, random)
        expected, found = _by_torch(served, inputs), run(inputs)
        tied = _ties(served, inputs, expected, found) if precision == "fp32" else np.zeros(batch, bool)
        ties += int(tied.sum())
        for spec, want, got in zip(served.outputs, expected, found, strict=True):
            where = f"{served.name}.{spec.name}, batch {batch}"
            if precision == "fp32":
                excused = tied & (ties <= MAX_TIES) & (searches or spec.dtype is np.int64)
                largest = max(largest, _compare(where, want, got, ~excused))
            else:
                limit = float("inf") if in_tokens else RMS_TOLERANCE[precision]
                largest = max(largest, _compare_loosely(where, want, got, limit))
    return Parity(largest, _milliseconds(run, served.sample(1, random)))


def _check_rounding(served: ServedModel, session: onnxruntime.InferenceSession, path: Path, seed: int) -> None:
    """Refuse an int8 file that amplifies differences in the last bit of a float.

    Releases of ONNX Runtime round the float32 operators between the products differently. A value near the middle
    between two integers then rounds to the other one, and the error propagates.
    """
    if any(spec.dtype is np.int64 for spec in served.outputs):
        return
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(str(path), options, providers=session.get_providers())
    inputs = served.sample(BATCHES[-1], np.random.default_rng(seed))
    answers = (_run(one, served.name, inputs) for one in (session, plain))
    for spec, want, got in zip(served.outputs, *answers, strict=True):
        relative = _relative(want.astype(np.float64), got.astype(np.float64))
        if not relative <= ROUNDING_TOLERANCE:
            raise ParityError(
                f"{served.name}.{spec.name}: different rounding changes it by {relative:.2g} of its "
                f"size, more than {ROUNDING_TOLERANCE:g}"
            )


def _relative(want: NDArray[np.float64], got: NDArray[np.float64]) -> float:
    """Return the root mean square of the difference, relative to that of ``want``."""
    return float(np.sqrt(((want - got) ** 2).mean() / max((want**2).mean(), 1e-12)))


def _by_torch(served: ServedModel, inputs: Inputs) -> list[NDArray[Any]]:
    with torch.inference_mode():
        result = served.module(*(torch.from_numpy(inputs[spec.name]) for spec in served.inputs))
    return [tensor.numpy() for tensor in (result if isinstance(result, tuple) else (result,))]


def _ties(
    served: ServedModel, inputs: Inputs, expected: list[NDArray[Any]], found: list[NDArray[Any]]
) -> NDArray[np.bool_]:
    """Return which rows differ in tokens because of a tie: torch's tokens change too when its input is nudged."""
    tied = _differ(expected, found)
    moved = [name for name in ("embedding", "hidden") if name in inputs]
    if not tied.any() or not moved:
        return np.zeros_like(tied)
    rows = np.flatnonzero(tied).repeat(_NUDGES)
    nudged, random = {name: value[rows] for name, value in inputs.items()}, np.random.default_rng(0)
    for name in moved:
        by = 1 + random.uniform(-TOLERANCE, TOLERANCE, nudged[name].shape)
        nudged[name] = (nudged[name] * by).astype(np.float32)
    changed = _differ([want[rows] for want in expected], _by_torch(served, nudged))
    tied[tied] = changed.reshape(-1, _NUDGES).any(axis=1)
    return tied


def _differ(some: list[NDArray[Any]], others: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which rows of two outputs have different integers; unequal shapes are skipped and checked elsewhere."""
    differ = np.zeros(len(some[0]), bool)
    for one, other in zip(some, others, strict=False):
        if one.dtype.kind == "i" and one.shape == other.shape:
            differ |= (one != other).reshape(len(one), -1).any(axis=1)
    return differ


def _milliseconds(run: Run, inputs: Inputs) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        run(inputs)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def _check_versions(name: str, path: Path, opset: int | None) -> None:
    """Refuse a file that the ONNX Runtime of the oldest supported Triton could not read."""
    try:
        proto = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise BadRepository(f"{path} cannot be loaded ({error})") from error
    found = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    allowed = sorted({*chain(*OPSETS.values())}) if opset is None else (opset,)
    if len(found) != 1 or found[0] not in allowed:
        raise ParityError(f"{name}: the file has opset {found}, not {' or '.join(map(str, allowed))}")
    if proto.ir_version > IR_VERSION:
        raise ParityError(f"{name}: the file has IR version {proto.ir_version}, more than {IR_VERSION}")


def check_poem_text(path: Path, tokenizer: PoemTokenizer, vocabulary_size: int, steps: int, seed: int = 1) -> Parity:
    """Compare ``poem_text`` with the tokenizer on random token rows with many punctuation marks and line ends."""
    session = open_session(path)
    _check_signature("poem_text", session, *poem_text.signature(steps))
    random = np.random.default_rng(seed)
    for batch in (*BATCHES, 64):
        tokens = random.integers(EOS + 1, vocabulary_size, (batch, steps))
        often = random.random(tokens.shape) < 0.4
        tokens[often] = random.integers(NEWLINE, FIRST_WORD, int(often.sum()))
        tokens[random.random(tokens.shape) < 0.15] = NEWLINE
        for row, length in zip(tokens, random.integers(1, steps + 1, batch), strict=True):
            row[length - 1] = EOS
            row[length:] = PAD
        tokens[0, 0] = BOS
        got, again, spelt = _run(session, "poem_text", {"tokens": tokens})
        if not np.array_equal(again, tokens):
            raise ParityError("poem_text does not return its input tokens unchanged")
        if not np.array_equal(spelt, np.array(tokenizer.pieces, object)[tokens]):
            raise ParityError("poem_text.pieces are not those of the tokenizer")
        for row, text in zip(tokens, got[:, 0], strict=True):
            if (want := tokenizer.decode(row)) != text:
                raise ParityError(f"poem_text gives {text!r} where the tokenizer gives {want!r}")
    one = {"tokens": tokens[:1]}
    return Parity(0.0, _milliseconds(lambda inputs: _run(session, "poem_text", inputs), one))


def check_noise(several: bool, embedding_dim: int, path: Path, seed: int = 1) -> Parity:
    """Compare ``candidate_noise`` if ``several``, else ``noise``, with numpy's bit by bit."""
    name, session = "candidate_noise" if several else "noise", open_session(path)
    _check_signature(name, session, *noise.signature(several, embedding_dim))
    random, option = np.random.default_rng(seed), OPTIONS["seed"]
    for batch in BATCHES:
        seeds = option.random(batch, random).astype(np.int64)
        seeds[0, 0] = random.choice([0, int(option.highest)])
        count = int(random.integers(2, 6)) if several else 1
        rest: Inputs = {"embedding": np.zeros((batch, embedding_dim), np.float32)}
        if several:
            rest["n"] = np.full((batch, 1), count)
        [got] = _run(session, name, {"seed": seeds, **rest})
        want = noise_of(seeds, count)
        if not np.array_equal(got, want if several else want[:, 0]):
            raise ParityError(f"{name} does not give the noise of img2poem.decoding.noise at batch {batch}")
    return Parity(0.0, _milliseconds(lambda inputs: _run(session, name, inputs), {"seed": seeds, **rest}))


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


def _compare_loosely(where: str, want: NDArray[Any], got: NDArray[Any], limit: float) -> float:
    _check_shape(where, want, got)
    if want.dtype.kind == "i":
        return 0.0
    possible = want != -np.inf  # impossible candidates are -inf
    want, got = want[possible].astype(np.float64), got[possible].astype(np.float64)
    relative = _relative(want, got)
    if not np.isfinite(got).all() or relative > limit:
        raise ParityError(f"{where}: differs from torch by {relative:.2g} of its size, more than {limit:g}")
    return float(np.abs(want - got).max())


def _check_shape(where: str, want: NDArray[Any], got: NDArray[Any]) -> None:
    if want.shape != got.shape or want.dtype != got.dtype:
        raise ParityError(f"{where}: torch gives {want.dtype}{want.shape}, the file {got.dtype}{got.shape}")


def _compare(where: str, want: NDArray[Any], got: NDArray[Any], rows: NDArray[np.bool_]) -> float:
    """Return the largest difference in ``rows``; raise if it is too large."""
    _check_shape(where, want, got)
    want, got = want[rows], got[rows]
    if want.dtype.kind == "i":
        if (want != got).any():
            raise ParityError(f"{where}: {int((want != got).sum())} of {want.size} values differ from torch")
        return 0.0
    # Impossible candidates are -inf in both.
    difference = np.abs(np.subtract(want, got, out=np.zeros(want.shape), where=want != got, dtype=np.float64))
    relative = difference / np.maximum(np.abs(want.astype(np.float64)), 1.0)
    if not np.isfinite(difference).all() or relative.max(initial=0.0) > TOLERANCE:
        raise ParityError(f"{where}: differs from torch by {relative.max():.2g}, more than {TOLERANCE:g}")
    return float(difference.max(initial=0.0))
