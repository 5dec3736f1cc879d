"""What both dispatchers share, without any input or output: which endpoint is next, when to try again, who is told."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConnectionFailed, ContractMismatch, Img2PoemError, InvalidOption, NotReady, Overloaded, Timeout
from ..requests import Call, CallEvent, Deadline, Flow, Hook, ModelInfo, look
from ..validation.numbers import at_least

#: The models only compute, so that asking again is safe; these errors are worth it.
RETRIED = (ConnectionFailed, NotReady, Overloaded)
#: Seconds of the first pause, which then doubles, and the longest; each is drawn at random up to that.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: Seconds for which an endpoint that did not answer in time is passed over while another one may answer.
PASSED_OVER = 30.0

_log = logging.getLogger("img2poem")
_log.addHandler(logging.NullHandler())  # a library logs nowhere unless asked


@dataclass
class Known:
    """What is known of one endpoint since it was last reached: its models, and which of them were compared."""

    models: dict[str, ModelInfo] = field(default_factory=dict)
    compared: set[str] = field(default_factory=set)


class Failover:
    """The endpoints in their order of preference, and what is known of them; for many threads at once.

    Args:
        names: of the endpoints.
        retries: how often a request is tried again.
        hooks: told of each attempt.
    """

    def __init__(self, names: Sequence[str], retries: int, hooks: Sequence[Hook]) -> None:
        retries = at_least(0, "retries", retries)
        if not isinstance(hooks, Iterable) or not all(map(callable, hooks)):
            raise InvalidOption(f"hooks must be a list of functions, not {hooks!r}")
        self.names, self.known = list(names), [Known() for _ in names]
        #: The contract hash that every model of every endpoint must have; None until the first one is seen.
        self.contract: str | None = None
        self._retries, self._hooks = retries, tuple(hooks)
        self._current = 0
        self._passed_over_until = [0.0 for _ in names]
        self._lock = threading.Lock()

    def policy(self, call: Call) -> dict[str, Any]:
        """Return the arguments of tenacity's ``Retrying``: the other endpoints at once, then after growing pauses."""
        import tenacity

        pause = tenacity.wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)

        def wait(state: tenacity.RetryCallState) -> float:
            untried = state.attempt_number < len(self.names) and not isinstance(_raised(state), Overloaded)
            return 0.0 if untried else pause(state)

        def stop(state: tenacity.RetryCallState) -> bool:
            if state.attempt_number > self._retries + len(self.names) - 1:
                return True
            # What cannot be tried again within the deadline has failed for the reason it failed for.
            return state.upcoming_sleep >= call.deadline.left()

        def again(error: BaseException) -> bool:
            # Out of its share of the time alone; another endpoint may answer within the rest.
            return isinstance(error, RETRIED) or (isinstance(error, Timeout) and not call.deadline.over)

        return {
            "retry": tenacity.retry_if_exception(again),
            "wait": wait,
            "stop": stop,
            "reraise": True,
        }

    def current(self) -> int:
        """Return the place of the endpoint to ask."""
        return self._current

    @contextlib.contextmanager
    def attempt(self, place: int, model: str, call: Call, number: int) -> Iterator[Call]:
        """Time one attempt, tell the hooks, and turn to the next endpoint when this one fails.

        Yields the call as the attempt is to make it: with a share of the time, so that some is left for each endpoint
        that was not tried. (:meth:`renew` gives it a new one.)
        """
        started, failure = time.perf_counter(), None
        try:
            yield dataclasses.replace(call, deadline=self._share(call, number))
        except Img2PoemError as error:
            failure = error
            if isinstance(error, (*RETRIED, Timeout)):
                self._turn_from(place, silent=isinstance(error, Timeout))
            if isinstance(error, Timeout) and call.deadline.over:
                failure = call.deadline.missed()
                raise failure from error
            raise
        finally:
            seconds = time.perf_counter() - started
            call.took(model, seconds)
            event = CallEvent(call.request_id, model, self.names[place], number, seconds, failure)
            _log.log(logging.WARNING if isinstance(failure, RETRIED) else logging.DEBUG, "%s", event)
            for hook in self._hooks:
                hook(event)

    def renew(self, attempt: Call, call: Call, number: int) -> None:
        """Give an attempt that has answered in part a new share of the time for the next part."""
        attempt.deadline = self._share(call, number)

    def _share(self, call: Call, number: int) -> Deadline:
        return call.deadline.share(len(self.names) - number + 1)

    def _turn_from(self, place: int, silent: bool) -> None:
        if len(self.names) == 1 and silent:
            return
        with self._lock:
            # A server that comes back may serve another package.
            self.known[place] = Known()
            now = time.monotonic()
            if silent:
                self._passed_over_until[place] = now + PASSED_OVER
            if self._current == place:
                others = [(place + i) % len(self.names) for i in range(1, len(self.names) + 1)]
                self._current = next((one for one in others if self._passed_over_until[one] <= now), others[0])

    def comparison(self, place: int, model: str) -> Flow[None]:
        """Look at ``model`` and what it is made of: one contract for all, or ``ContractMismatch``."""
        whole = yield from look(model)
        parts = [whole]
        for step in whole.steps:
            parts.append((yield from look(step)))
        stamps = {part.name: part.stamps.get("contract", "") for part in parts}
        with self._lock:
            expected = self.contract or stamps[model]
            if set(stamps.values()) != {expected} or not expected:
                listed = ", ".join(f"{name} {stamp[:8] or 'none'}" for name, stamp in stamps.items())
                raise ContractMismatch(
                    f"{self.names[place]} serves models of different packages ({listed}; expected "
                    f"{expected[:8] or 'one'}); export the repository anew"
                )
            self.contract = expected
            self.known[place].compared.add(model)


def _raised(state: Any) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
