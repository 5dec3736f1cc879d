"""What a forked child must not share with its parent: connections, sessions, locks."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import Cancelled

T = TypeVar("T")

_ALL: weakref.WeakSet[PerProcess[object]] = weakref.WeakSet()


class PerProcess(Generic[T]):
    """A value that is made at its first use in each process, by whichever thread comes first.

    A forked child makes its own and leaves the inherited one alone: closing it would end connections of the parent.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._value: T | None = None
        self._inherited: list[T] = []
        self._closed = False
        self._lock = threading.Lock()
        _ALL.add(self)  # type: ignore[arg-type]

    def get(self) -> T:
        """Return this process's value.

        Raises:
            Cancelled: it was closed.
        """
        with self._lock:
            if self._closed:
                raise Cancelled("the client was closed")
            if self._value is None:
                self._value = self._make()
            return self._value

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def renew(self, value: T) -> None:
        """Make another at the next use, unless that was done already; ``value`` ends with those who use it still."""
        with self._lock:
            if self._value is value:
                self._value = None

    def close(self) -> T | None:
        """Return this process's value, if there is one, for the last time."""
        with self._lock:
            self._closed = True
            value, self._value = self._value, None
            return value

    def forked(self) -> None:
        """Start anew in a child, where another thread of the parent may hold the lock for ever."""
        self._lock = threading.Lock()
        if self._value is not None:
            self._inherited.append(self._value)
            self._value = None


def _after_fork() -> None:
    for one in _ALL:
        one.forked()


os.register_at_fork(after_in_child=_after_fork)
