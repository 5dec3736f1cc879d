"""What callers send, brought within what a graph can compute with.

ONNX Runtime runs the requests of a batch in one call, and where that fails they all fail. So no value of an input may
make a graph fail, or change another row: token ids that do not exist are read as the unknown token, numbers out of
their range as the nearest within it, NaN as the value that does least. Where all is in range, nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from img2poem.decoding.noise import BITS
from img2poem.decoding.strategies import OPTIONS
from img2poem.text.vocabulary import UNK

#: Largest magnitude of a coordinate of an embedding, which is a unit vector; its products stay finite in float16 too.
_COORDINATE = 100.0
#: And of a recurrent state, whose numbers lie within 1 but for rounding.
_STATE = 2.0
#: And of a log-probability a token.
_SCORE = 1e4
#: Noise is between this and 1 less this; at 0 and 1 its logarithms are infinite.
_NOISE = 2.0 ** -(BITS + 1)


def token_ids(ids: Tensor, size: int) -> Tensor:
    """Return int64 ``ids`` of a vocabulary of ``size``, the unknown token for those that it does not have."""
    return torch.where((ids >= 0) & (ids < size), ids, UNK)


def embedding(x: Tensor) -> Tensor:
    """Return the float32 ``x`` as finite coordinates."""
    return _within(x, -_COORDINATE, _COORDINATE, 0.0)


def state(x: Tensor) -> Tensor:
    """Return the float32 ``x`` as a decoder's state."""
    return _within(x, -_STATE, _STATE, 0.0)


def scores(x: Tensor) -> Tensor:
    """Return the float32 ``x`` as finite scores, the lowest for NaN."""
    return _within(x, -_SCORE, _SCORE, -_SCORE)


def noise(x: Tensor) -> Tensor:
    """Return the float32 ``x`` as noise in (0, 1), as :func:`img2poem.decoding.noise.noise` makes it."""
    return _within(x, _NOISE, 1.0 - _NOISE, _NOISE)


def options(tensors: Sequence[Tensor], names: Sequence[str], may_be_greedy: bool = False) -> list[Tensor]:
    """Return option tensors, of ``names`` in their order, within the ranges of ``OPTIONS``.

    Args:
        tensors: each ``[B, 1]``, ``forbidden_tokens`` ``[B, MAX_FORBIDDEN]``.
        names: of the options.
        may_be_greedy: whether a temperature of 0 stands for greedy search.
    """
    return [_option(x, name, may_be_greedy) for x, name in zip(tensors, names, strict=True)]


def _option(x: Tensor, name: str, may_be_greedy: bool) -> Tensor:
    option = OPTIONS[name]
    if name == "forbidden_tokens":
        # Vocabularies differ in size; the rules know theirs.
        return x.clamp(min=0)
    if x.is_floating_point():
        within = _within(x, option.lowest, option.highest, option.lowest)
        return torch.where(x == 0, x, within) if name == "temperature" and may_be_greedy else within
    return x.clamp(int(option.lowest), int(option.highest))


def _within(x: Tensor, lowest: float, highest: float, nan: float) -> Tensor:
    return torch.where(x.isnan(), nan, x).clamp(lowest, highest)
