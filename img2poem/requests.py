"""What a call to the models is, apart from how it gets there: requests, answers, deadline, timings.

Each operation of the client is a *flow*: a generator that yields requests and is sent their answers. The same
flow runs in process, over gRPC and over HTTP, blocking and in asyncio.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from .errors import Img2PoemError, Timeout

Tensors = dict[str, NDArray[Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class Infer:
    """Run ``model`` on ``inputs``; its answer is an :class:`Answer` with ``outputs``."""

    model: str
    inputs: Tensors
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Follow(Infer):
    """Run ``model``, which answers in parts: its lines, as ``line`` finds them, and a closing one, where it is None.

    The closing one is the answer.
    """

    line: Callable[[Answer], Line | None]


@dataclass(frozen=True)
class Look:
    """Ask what ``model`` is; its answer is a :class:`ModelInfo`."""

    model: str


@dataclass(frozen=True)
class Answer:
    """Tensors by name, batch first, and the version of the model that made them."""

    tensors: Tensors
    version: str


@dataclass(frozen=True)
class ModelInfo:
    """A model's stamps (without their prefix) and, of an ensemble, the models it is made of."""

    name: str
    stamps: dict[str, str]
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A line of a poem that has just been written."""

    index: int
    text: str


#: What a flow yields: requests, which are answered, and, where it streams, lines, which are not.
Request = Infer | Look
Flow = Generator[Request | Line, Any, T]


@dataclass(frozen=True)
class CallEvent:
    """One attempt at one request, as hooks are told: ``model`` at ``endpoint`` took ``seconds``, or failed."""

    request_id: str
    model: str
    endpoint: str
    attempt: int
    seconds: float
    error: Img2PoemError | None

    def __str__(self) -> str:
        """Return a line for a log."""
        outcome = "answered" if self.error is None else f"{type(self.error).__name__}: {self.error}"
        where = f"{self.request_id} {self.model} at {self.endpoint}, attempt {self.attempt}"
        return f"{where}, {1000 * self.seconds:.1f} ms: {outcome}"


#: Called after each attempt, in the thread that made it; what it raises reaches the caller.
Hook = Callable[[CallEvent], None]


class Deadline:
    """A point in time that a whole call, with all of its requests and retries, must end by."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, above 0.

        Raises:
            Timeout: none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.missed()
        return left

    def share(self, parts: int) -> Deadline:
        """Return the deadline of the first of so many attempts, among which the time that is left is parted.

        Raises:
            Timeout: none is left.
        """
        return self if parts <= 1 else Deadline(self.left() / parts)

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._end

    def missed(self) -> Timeout:
        """Return the error of a call that did not make it."""
        return Timeout(f"no answer within {self.seconds:g} s")


@dataclass
class Call:
    """One operation under way: its deadline, its id, and how long each model took, in milliseconds."""

    deadline: Deadline
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    timings: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def took(self, model: str, seconds: float) -> None:
        """Add to the time of ``model``."""
        self.timings[model] = round(self.timings.get(model, 0.0) + 1000 * seconds, 1)

    def total(self) -> dict[str, float]:
        """Return the timings so far, with the ``total`` since the call began."""
        return {"total": round(1000 * (time.perf_counter() - self.started), 1), **self.timings}


def infer(model: str, inputs: Tensors, *outputs: str) -> Flow[tuple[NDArray[Any], ...]]:
    """Run ``model`` and return ``outputs`` in their order."""
    answer = cast("Answer", (yield Infer(model, inputs, outputs)))
    return tuple(answer.tensors[name] for name in outputs)


def look(model: str) -> Flow[ModelInfo]:
    """Return what ``model`` is."""
    return cast("ModelInfo", (yield Look(model)))


def one_string(text: bytes) -> NDArray[np.object_]:
    """Return ``text`` as a string tensor ``[1, 1]``; numpy's own bytes type would strip trailing zeros."""
    return np.array([[text]], np.object_)
