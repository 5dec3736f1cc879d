"""Values per process and per event loop: connections, sessions and locks must not be shared between them."""

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
    """A value created at its first use in each process. Safe to share among threads.

    A forked child creates its own value. It never closes the inherited one, which would end the parent's connections.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._value: T | None = None
        self._inherited: list[T] = []
        self._closed = False
        self._lock = threading.Lock()
        _ALL.add(self)  # type: ignore[arg-type]

    def get(self) -> T:
        """Return the value of this process, and create it if needed.

        Raises:
            Cancelled: :meth:`close` was called.
        """
        with self._lock:
            if self._closed:
                raise Cancelled("the client was closed")
            if self._value is None:
                self._value = self._make()
            return self._value

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def renew(self, value: T) -> None:
        """Discard ``value`` if it is current, so that the next use creates a new one. Current users keep it."""
        with self._lock:
            if self._value is value:
                self._value = None

    def close(self) -> T | None:
        """Return the value of this process, if any, and create no more."""
        with self._lock:
            self._closed = True
            value, self._value = self._value, None
            return value

    def forked(self) -> None:
        """Reset the value in a forked child, and the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()
        if self._value is not None:
            self._inherited.append(self._value)
            self._value = None


class PerLoop(Generic[T]):
    """A value created at its first use in each event loop of each process. A connection works only in its own loop.

    Args:
        make: creates the value, in the running loop.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: PerProcess[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T]] = PerProcess(
            weakref.WeakKeyDictionary
        )
        self._lock = PerProcess(threading.Lock)

    def get(self) -> T:
        """Return the value of the running loop, and create it if needed.

        Raises:
            Cancelled: :meth:`close` was called.
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
        """Whether :meth:`close` was called."""
        return self._values.closed

    def renew(self, value: T) -> None:
        """Discard ``value`` if it is the running loop's, so that the next use creates a new one."""
        values, loop = self._values.get(), asyncio.get_running_loop()
        with self._lock.get():
            if values.get(loop) is value:
                del values[loop]

    def close(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Return the values of all open loops, and create no more."""
        values: dict[asyncio.AbstractEventLoop, T] = dict(self._values.close() or {})
        return [(loop, value) for loop, value in values.items() if not loop.is_closed()]


async def close_each(
    values: list[tuple[asyncio.AbstractEventLoop, T]], close: Callable[[T], Coroutine[Any, Any, None]]
) -> None:
    """Close the values of a :class:`PerLoop`, each in its own loop. Values of stopped loops are skipped."""
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
