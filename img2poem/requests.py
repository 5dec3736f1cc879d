"""Calls to the models, independent of the transport: requests, answers, deadlines, timings.

Each operation of the client is a *flow*: a generator that yields requests and receives their answers. The same
flow runs in process, over gRPC and over HTTP, blocking and in asyncio.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from .errors import Img2PoemError, Timeout

Tensors = dict[str, NDArray[Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class Infer:
    """Request to run ``model`` on ``inputs``. The answer is an :class:`Answer` with ``outputs``."""

    model: str
    inputs: Tensors
    outputs: tuple[str, ...]

    def class_count(self, output: str) -> int:
        """Return the number of classes wanted of an output of scores; 0 for the tensor itself."""
        return 0


@dataclass(frozen=True)
class Classify(Infer):
    """Request to run ``model``, with the highest scores of some outputs instead of the whole tensors.

    An output ``[B, C]`` in ``counts`` is answered by its ``counts[output]`` highest scores, highest first, as strings
    ``score:index:name``: Triton's classification extension.
    """

    counts: dict[str, int]

    def class_count(self, output: str) -> int:
        """Return the number of classes wanted of an output; 0 for the tensor itself."""
        return self.counts.get(output, 0)


@dataclass(frozen=True)
class Follow(Infer):
    """Request to run ``model`` with a streamed response.

    ``line`` returns the :class:`Line` of a part, or None for the final part, which is the answer.
    """

    line: Callable[[Answer], Line | None]


@dataclass(frozen=True)
class Look:
    """Request for the metadata of ``model``. The answer is a :class:`ModelInfo`."""

    model: str


@dataclass(frozen=True)
class Answer:
    """Output tensors by name, batch dimension first, and the version of the model that computed them."""

    tensors: Tensors
    version: str


@dataclass(frozen=True)
class ModelInfo:
    """Metadata of a model.

    Args:
        name: name of the model.
        stamps: its stamps, without their prefix.
        steps: the models of a served ensemble.
        max_batch: most rows in a request; the default bounds the memory of a model in process.
    """

    name: str
    stamps: dict[str, str]
    steps: tuple[str, ...] = ()
    max_batch: int = 32


@dataclass(frozen=True)
class Line:
    """A finished line of a poem, and its index from 0."""

    index: int
    text: str


#: A flow yields requests and receives their answers. A streaming flow also yields lines.
Request = Infer | Look
Flow = Generator[Request | Line, Any, T]


@dataclass(frozen=True)
class CallEvent:
    """One attempt at one request, as hooks receive it. ``error`` is None if the attempt succeeded."""

    request_id: str
    model: str
    endpoint: str
    attempt: int
    seconds: float
    error: Img2PoemError | None

    def __str__(self) -> str:
        """Return a log line."""
        outcome = "answered" if self.error is None else f"{type(self.error).__name__}: {self.error}"
        where = f"{self.request_id} {self.model} at {self.endpoint}, attempt {self.attempt}"
        return f"{where}, {1000 * self.seconds:.1f} ms: {outcome}"


#: Called after each attempt, in the thread that made it. Its exceptions reach the caller.
Hook = Callable[[CallEvent], None]


class Deadline:
    """Time by which a whole call must end, with all its requests and retries."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the remaining seconds, more than 0.

        Raises:
            Timeout: no time is left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.missed()
        return left

    def share(self, parts: int) -> Deadline:
        """Return the deadline of the first of ``parts`` attempts that share the remaining time equally.

        Raises:
            Timeout: no time is left to share.
        """
        return self if parts <= 1 else Deadline(self.left() / parts)

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._end

    def missed(self) -> Timeout:
        """Return the error of a call that missed this deadline."""
        return Timeout(f"no answer within {self.seconds:g} s")


@dataclass
class Call:
    """One operation in progress: its deadline, its id, and the milliseconds spent on each model, retries included."""

    deadline: Deadline
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    timings: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def took(self, model: str, seconds: float) -> None:
        """Add ``seconds`` to the time of ``model``."""
        self.timings[model] = round(self.timings.get(model, 0.0) + 1000 * seconds, 1)

    def total(self) -> dict[str, float]:
        """Return the timings so far, with the ``total`` since the call began."""
        return {"total": round(1000 * (time.perf_counter() - self.started), 1), **self.timings}


def infer(model: str, inputs: Tensors, *outputs: str) -> Flow[tuple[NDArray[Any], ...]]:
    """Run ``model`` and return ``outputs``, in this order."""
    answer = cast("Answer", (yield Infer(model, inputs, outputs)))
    return tuple(answer.tensors[name] for name in outputs)


def infer_rows(model: str, inputs: Tensors, outputs: Sequence[str], most: int) -> Flow[tuple[NDArray[Any], ...]]:
    """Run ``model`` on any number of rows, in requests of at most ``most`` rows, and return ``outputs`` of all."""
    parts = []
    for start in range(0, len(next(iter(inputs.values()))), most):
        rows = {name: values[start : start + most] for name, values in inputs.items()}
        parts.append((yield from infer(model, rows, *outputs)))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def look(model: str) -> Flow[ModelInfo]:
    """Return the metadata of ``model``."""
    return cast("ModelInfo", (yield Look(model)))


def one_string(text: bytes) -> NDArray[np.object_]:
    """Return ``text`` as a string tensor ``[1, 1]``. NumPy's own bytes dtype would strip trailing zeros."""
    return np.array([[text]], np.object_)
