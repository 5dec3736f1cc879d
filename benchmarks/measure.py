"""Compare jobs in alternation, after a warmup, so that other load on the machine affects all of them equally."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2poem.decoding.noise import drawn
from img2poem.decoding.strategies import AnyStrategy


@dataclass
class Times:
    """Durations of one job in milliseconds, one per run."""

    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median duration."""
        return statistics.median(self.samples)

    def percentile(self, percent: int) -> float:
        """Return the duration that ``percent`` percent of the runs do not exceed."""
        if len(self.samples) == 1:
            return self.samples[0]
        return statistics.quantiles(self.samples, n=100, method="inclusive")[percent - 1]

    def over(self, other: Times) -> float:
        """Return how many times longer than ``other`` it takes: the median of the ratios of each turn."""
        return statistics.median(a / b for a, b in zip(self.samples, other.samples, strict=True))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.percentile(10):.3g} to {self.percentile(90):.3g})"


def decoder_inputs(strategy: AnyStrategy, embedding: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a decoder of ``strategy`` for ``embedding [B, embedding_dim]``."""
    options = {name: np.repeat(value, len(embedding), axis=0) for name, value in strategy.tensors().items()}
    return {"embedding": embedding, **drawn(options)}


def milliseconds(job: Callable[[], object]) -> float:
    """Run ``job`` once and return its duration."""
    started = time.perf_counter()
    job()
    return (time.perf_counter() - started) * 1000


def side_by_side(jobs: Mapping[str, Callable[[], object]], turns: int, warmup: int = 2) -> dict[str, Times]:
    """Run the jobs in alternation, ``turns`` times each, and return their durations by name."""
    for job in jobs.values():
        for _ in range(warmup):
            job()
    found = {name: Times() for name in jobs}
    for _ in range(turns):
        for name, job in jobs.items():
            found[name].samples.append(milliseconds(job))
    return found
