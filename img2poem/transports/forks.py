"""What a forked child must not share with its parent, nor one event loop with another: connections, sessions, locks."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

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


class PerLoop(Generic[T]):
    """A value that is made at its first use in each event loop, of a process: a connection works in its own loop alone.

    Args:
        make: makes it, in the running loop.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: PerProcess[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T]] = PerProcess(
            weakref.WeakKeyDictionary
        )
        self._lock = PerProcess(threading.Lock)

    def get(self) -> T:
        """Return the running loop's value.

        Raises:
            Cancelled: it was closed.
        """
        values, loop = self._values.get(), asyncio.get_running_loop()
        with self._lock.get():
            if loop not in values:
                for ended in [one for one in values if one.is_closed()]:
                    del values[ended]
                values[loop] = self._make()
            return values[loop]

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._values.closed

    def renew(self, value: T) -> None:
        """Make another at the running loop's next use, unless that was done already."""
        values, loop = self._values.get(), asyncio.get_running_loop()
        with self._lock.get():
            if values.get(loop) is value:
                del values[loop]

    def close(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Return the values of the loops that are open still, for the last time."""
        values: dict[asyncio.AbstractEventLoop, T] = dict(self._values.close() or {})
        return [(loop, value) for loop, value in values.items() if not loop.is_closed()]


async def close_each(
    values: list[tuple[asyncio.AbstractEventLoop, T]], close: Callable[[T], Coroutine[Any, Any, None]]
) -> None:
    """Close what a :class:`PerLoop` had, each value in its own loop."""
    running = asyncio.get_running_loop()
    for loop, value in values:
        if loop is running:
            await close(value)
        elif loop.is_running():
            asyncio.run_coroutine_threadsafe(close(value), loop)


def _after_fork() -> None:
    for one in _ALL:
        one.forked()


os.register_at_fork(after_in_child=_after_fork)
