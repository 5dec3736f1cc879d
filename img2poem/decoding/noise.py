"""Seeded noise for sampling: the same bits in numpy and in the served graphs.

SplitMix64 (Steele, Lea and Flood 2014), used as a counter-based generator: each value is a hash of the seed and the
value's index, computed in 64-bit integers. The generator has no state, and the order of computation does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .strategies import MAX_TOKENS, TOP_TOKENS

#: Noise values per poem: one for each step and candidate.
DRAWS = MAX_TOKENS * TOP_TOKENS
#: SplitMix64: the counter's increment, and shift and factor of each hash round. The last round has no factor.
GAMMA = 0x9E3779B97F4A7C15
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31
#: Bits of a value. A value plus one half is exact in float32 and never 0 or 1, where Gumbel noise is infinite.
BITS = 23


def noise(seed: NDArray[np.int64], n: int = 1) -> NDArray[np.float32]:
    """Return uniform noise in (0, 1) for ``n`` samples per row.

    Args:
        seed: int64 ``[B, 1]``.
        n: number of samples; the noise of the first samples does not depend on it.

    Returns:
        float32 ``[B, n, MAX_TOKENS, TOP_TOKENS]``.
    """
    place = np.arange(1, n * DRAWS + 1, dtype=np.uint64)
    drawn = _hash(_hash(seed.astype(np.uint64)) + place * np.uint64(GAMMA)) >> np.uint64(64 - BITS)
    uniform = (drawn.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-BITS)
    return uniform.reshape(len(seed), n, MAX_TOKENS, TOP_TOKENS)


def drawn(options: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return ``options`` as the decoders take them: ``noise`` replaces ``seed`` and ``n``.

    Args:
        options: tensors of :meth:`img2poem.decoding.strategies.Strategy.tensors`; ``n`` must be equal in all rows.
    """
    rest = {name: value for name, value in options.items() if name not in ("seed", "n")}
    if "n" in options:
        return {**rest, "noise": noise(options["seed"], int(options["n"][0, 0]))}
    return {**rest, "noise": noise(options["seed"])[:, 0]} if "seed" in options else rest


def _hash(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in ROUNDS:
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    return value ^ (value >> np.uint64(LAST_SHIFT))
