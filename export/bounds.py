"""Clamp the inputs of a graph to values that it can compute with.

ONNX Runtime runs the requests of a batch in one call. If that call fails, all of them fail. So no input value may
make a graph fail or change another row. An unknown token id becomes the unknown token, a number out of range becomes
the nearest bound, and NaN becomes the value with the least effect. Values in range do not change.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from img2poem.decoding.noise import BITS
from img2poem.decoding.registry import OPTIONS
from img2poem.text.vocabulary import UNK

#: Largest absolute coordinate of an embedding, a unit vector. Products of coordinates stay finite even in float16.
_COORDINATE = 100.0
#: Largest absolute value of a recurrent state, whose values lie within 1 except for rounding.
_STATE = 2.0
#: Largest absolute log-probability per token.
_SCORE = 1e4
#: Noise lies between this and 1 minus this: at 0 and 1 its logarithms are infinite.
_NOISE = 2.0 ** -(BITS + 1)


def token_ids(ids: Tensor, size: int) -> Tensor:
    """Return int64 ``ids`` with ids outside a vocabulary of ``size`` replaced by the unknown token."""
    return torch.where((ids >= 0) & (ids < size), ids, UNK)


def embedding(x: Tensor) -> Tensor:
    """Return float32 ``x`` clamped to finite coordinates."""
    return _within(x, -_COORDINATE, _COORDINATE, 0.0)


def state(x: Tensor) -> Tensor:
    """Return float32 ``x`` clamped to the range of a decoder's state."""
    return _within(x, -_STATE, _STATE, 0.0)


def scores(x: Tensor) -> Tensor:
    """Return float32 ``x`` as finite scores; NaN becomes the lowest."""
    return _within(x, -_SCORE, _SCORE, -_SCORE)


def noise(x: Tensor) -> Tensor:
    """Return float32 ``x`` clamped to (0, 1), the range of :func:`img2poem.decoding.noise.noise`."""
    return _within(x, _NOISE, 1.0 - _NOISE, _NOISE)


def options(tensors: Sequence[Tensor], names: Sequence[str], may_be_greedy: bool = False) -> list[Tensor]:
    """Return the option tensors clamped to the ranges of ``OPTIONS``.

    Args:
        tensors: each ``[B, 1]``, except ``forbidden_tokens``: ``[B, MAX_FORBIDDEN]``.
        names: the options' names, in the same order.
        may_be_greedy: whether a temperature of 0 is allowed and selects greedy search.
    """
    return [_option(x, name, may_be_greedy) for x, name in zip(tensors, names, strict=True)]


def _option(x: Tensor, name: str, may_be_greedy: bool) -> Tensor:
    option = OPTIONS[name]
    if name == "forbidden_tokens":
        # The rules drop ids beyond their vocabulary.
        return x.clamp(min=0)
    if x.is_floating_point():
        within = _within(x, option.lowest, option.highest, option.lowest)
        return torch.where(x == 0, x, within) if name == "temperature" and may_be_greedy else within
    return x.clamp(int(option.lowest), int(option.highest))


def _within(x: Tensor, lowest: float, highest: float, nan: float) -> Tensor:
    return torch.where(x.isnan(), nan, x).clamp(lowest, highest)
