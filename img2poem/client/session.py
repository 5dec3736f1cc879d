"""Retry, failover and contract check as one generator without input or output.

:meth:`Session.steps` turns an operation's requests into steps: send a request to an endpoint, read the next part of a
stream, pause. The drivers in :mod:`img2poem.client.drivers` perform the steps, blocking or in asyncio, and throw the
errors of the endpoints back into the generator.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import random
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from ..errors import ConnectionFailed, ContractMismatch, Img2PoemError, InvalidOption, NotReady, Overloaded, Timeout
from ..requests import Answer, Call, CallEvent, Deadline, Flow, Follow, Hook, Infer, Line, Look, ModelInfo, Request
from ..validation.numbers import at_least

#: Errors after which a request is sent again. The models only compute, so a repeated request is harmless.
RETRIED = (ConnectionFailed, NotReady, Overloaded)
#: Upper bound of the first pause in seconds, which doubles with each retry, and of the longest. Each pause is drawn
#: uniformly from 0 to its bound ("full jitter").
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: Seconds for which an endpoint that timed out is skipped while another one may answer.
SKIPPED = 30.0

T = TypeVar("T")

_log = logging.getLogger("img2poem")
_log.addHandler(logging.NullHandler())  # a library logs nowhere unless asked


@dataclass(frozen=True)
class Send:
    """Send ``request`` to endpoint number ``endpoint``; the result is its answer."""

    endpoint: int
    request: Request
    call: Call


@dataclass(frozen=True)
class Open:
    """Start a streamed request at endpoint number ``endpoint``, and close the stream opened before."""

    endpoint: int
    request: Follow
    call: Call


@dataclass(frozen=True)
class Next:
    """Read the open stream; the result is its next part, or None at its end."""


@dataclass(frozen=True)
class Pause:
    """Wait for ``seconds``."""

    seconds: float


#: A line goes to the caller; the driver performs every other step.
Step = Line | Send | Open | Next | Pause
Steps = Generator[Step, Any, T]


@dataclass
class _Known:
    """State of one endpoint since its last failure: metadata of its models, and the models with a checked contract."""

    models: dict[str, ModelInfo] = field(default_factory=dict)
    checked: set[str] = field(default_factory=set)


@dataclass
class _Progress:
    """Attempts since the last line of a stream (or since the start), and the lines so far."""

    attempt: int = 1
    lines: int = 0


class Session:
    """The endpoints of a client in order of preference, and what is known about them; safe to share among threads.

    Args:
        names: names of the endpoints.
        retries: further attempts at a request, or at the next line of a stream, after its first failure. Each endpoint
            after the first adds one.
        hooks: called after each attempt.

    Raises:
        InvalidOption: an argument is invalid.
    """

    def __init__(self, names: Sequence[str], retries: int, hooks: Sequence[Hook]) -> None:
        retries = at_least(0, "retries", retries)
        if not isinstance(hooks, Iterable) or not all(map(callable, hooks)):
            raise InvalidOption(f"hooks must be a list of functions, not {hooks!r}")
        self.names = list(names)
        self._attempts, self._hooks = retries + len(self.names), tuple(hooks)
        self._known = [_Known() for _ in names]
        self._contract: str | None = None  # that of every model of every endpoint, once the first one is seen
        self._current = 0
        self._skipped_until = [0.0 for _ in names]
        self._lock = threading.Lock()

    def steps(self, flow: Flow[T], call: Call) -> Steps[T]:
        """Yield the steps that run ``flow`` to its end, and return its result.

        Raises:
            Img2PoemError: the error of the last attempt, if all attempts at a request failed.
            ContractMismatch: an endpoint serves another package than the endpoints or models used before.
        """
        reply: Any = None
        with closing(flow):
            while True:
                try:
                    request = flow.send(reply)
                except StopIteration as end:
                    return cast("T", end.value)
                if isinstance(request, Line):
                    reply = yield request
                else:
                    reply = yield from self._answered(request, call)

    def _answered(self, request: Request, call: Call) -> Steps[Answer | ModelInfo]:
        progress = _Progress()
        while True:
            endpoint = self._current
            try:
                with self._attempt(endpoint, request.model, call, progress.attempt) as tried:
                    if isinstance(request, Follow):
                        return (yield from self._followed(endpoint, request, tried, call, progress))
                    return (yield from self._sent(endpoint, request, tried))
            except Img2PoemError as error:
                if (pause := self._pause_after(error, progress.attempt, call)) is None:
                    raise
            if pause:
                yield Pause(pause)
            progress.attempt += 1

    def _sent(self, endpoint: int, request: Request, call: Call) -> Steps[Answer | ModelInfo]:
        if isinstance(request, Look):
            return (yield from self._looked(endpoint, request.model, call))
        yield from self._check_contract(endpoint, request, call)
        return cast("Answer", (yield Send(endpoint, request, call)))

    def _looked(self, endpoint: int, model: str, call: Call) -> Steps[ModelInfo]:
        known = self._known[endpoint].models
        if model not in known:
            known[model] = yield Send(endpoint, Look(model), call)
        return known[model]

    def _followed(self, endpoint: int, request: Follow, tried: Call, call: Call, progress: _Progress) -> Steps[Answer]:
        """Yield the lines of a stream and return its final part.

        A retried stream repeats the same lines, so those already yielded are skipped.
        """
        first = progress.attempt
        yield from self._check_contract(endpoint, request, tried)
        yield Open(endpoint, request, tried)
        while (part := cast("Answer | None", (yield Next()))) is not None:
            if (line := request.line(part)) is None:
                return part
            if line.index == progress.lines:
                progress.attempt, progress.lines = 1, progress.lines + 1
                yield line
            tried.deadline = self._share(call, first)
        raise ConnectionFailed(f"{self.names[endpoint]} ended the stream before its final part")

    def _check_contract(self, endpoint: int, request: Infer, call: Call) -> Steps[None]:
        """Compare the contract hashes of the model and its ensemble steps with those of all models used before."""
        known, model = self._known[endpoint], request.model
        if model in known.checked:
            return
        whole = yield from self._looked(endpoint, model, call)
        stamps = {model: whole.stamps.get("contract", "")}
        for part in whole.steps:
            stamps[part] = (yield from self._looked(endpoint, part, call)).stamps.get("contract", "")
        with self._lock:
            expected = self._contract or stamps[model]
            if set(stamps.values()) != {expected} or not expected:
                listed = ", ".join(f"{name} {stamp[:8] or 'none'}" for name, stamp in stamps.items())
                raise ContractMismatch(
                    f"{self.names[endpoint]} serves models of different packages ({listed}; expected "
                    f"{expected[:8] or 'one'}); export the repository anew"
                )
            self._contract = expected
            known.checked.add(model)

    @contextlib.contextmanager
    def _attempt(self, endpoint: int, model: str, call: Call, number: int) -> Iterator[Call]:
        """Time one attempt, call the hooks, and switch to the next endpoint if this one fails.

        Yields the call with the deadline of this attempt: a share of the remaining time, so that each untried endpoint
        has a share too.
        """
        started, failure = time.perf_counter(), None
        try:
            yield dataclasses.replace(call, deadline=self._share(call, number))
        except Img2PoemError as error:
            failure = error
            if isinstance(error, (*RETRIED, Timeout)):
                self._turn_from(endpoint, timed_out=isinstance(error, Timeout))
            if isinstance(error, Timeout) and call.deadline.over:
                failure = call.deadline.missed()
                raise failure from error
            raise
        finally:
            seconds = time.perf_counter() - started
            call.took(model, seconds)
            event = CallEvent(call.request_id, model, self.names[endpoint], number, seconds, failure)
            _log.log(logging.WARNING if isinstance(failure, RETRIED) else logging.DEBUG, "%s", event)
            for hook in self._hooks:
                hook(event)

    def _pause_after(self, error: Img2PoemError, attempt: int, call: Call) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there is no further attempt.

        An untried endpoint is tried at once, except after ``Overloaded``.
        """
        # A timeout before the call's deadline ends only this attempt's share; another endpoint may still answer.
        again = isinstance(error, RETRIED) or (isinstance(error, Timeout) and not call.deadline.over)
        if not again or attempt >= self._attempts:
            return None
        if attempt < len(self.names) and not isinstance(error, Overloaded):
            return 0.0
        pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)))
        return pause if pause < call.deadline.left() else None

    def _share(self, call: Call, attempt: int) -> Deadline:
        return call.deadline.share(len(self.names) - attempt + 1)

    def _turn_from(self, endpoint: int, timed_out: bool) -> None:
        if len(self.names) == 1 and timed_out:
            return
        with self._lock:
            # After a restart a server may serve another package.
            self._known[endpoint] = _Known()
            now = time.monotonic()
            if timed_out:
                self._skipped_until[endpoint] = now + SKIPPED
            if self._current == endpoint:
                others = [(endpoint + i) % len(self.names) for i in range(1, len(self.names) + 1)]
                self._current = next((one for one in others if self._skipped_until[one] <= now), others[0])
