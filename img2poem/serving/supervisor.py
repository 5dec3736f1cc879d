"""Restart a crashed server, with exponential backoff and a limit of restarts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InvalidOption, ServerError
from .server import TritonServer


@dataclass(frozen=True)
class RestartPolicy:
    """At most ``limit`` restarts within ``window`` seconds, with exponential backoff.

    The delay before a restart doubles from ``first_delay`` up to ``longest_delay`` seconds.

    Raises:
        InvalidOption: ``limit`` is negative, or the window or a delay is not positive.
    """

    limit: int = 5
    window: float = 600.0
    first_delay: float = 1.0
    longest_delay: float = 30.0

    def __post_init__(self) -> None:
        if self.limit < 0 or min(self.window, self.first_delay, self.longest_delay) <= 0:
            raise InvalidOption("restarts must be 0 or more, and their window and delays above 0 s")

    def delay(self, restart: int) -> float:
        """Return the delay in seconds before restart number ``restart`` of the window, counted from 1."""
        return float(min(self.first_delay * 2 ** (restart - 1), self.longest_delay))


def supervise(server: TritonServer, policy: RestartPolicy, announce: Callable[[str], None]) -> None:
    """Restart a server whenever it crashes; return when it exits without an error.

    Args:
        server: a running server.
        policy: limit and delays of restarts.
        announce: called with one line for each crash and each restart.

    Raises:
        ServerError: it crashed more often than the policy allows.
        Img2PoemError: it cannot be restarted for another reason, such as a changed repository.
    """
    crashes: deque[float] = deque()
    crash = _end_of(server)
    while crash is not None:
        now = time.monotonic()
        while crashes and crashes[0] < now - policy.window:
            crashes.popleft()
        crashes.append(now)
        if len(crashes) > policy.limit:
            raise ServerError(
                f"{crash}; giving up after {policy.limit} restarts within {policy.window / 60:g} minutes: "
                "its log says why (--log-file)"
            ) from crash
        pause = policy.delay(len(crashes))
        announce(f"{crash}; starting it again in {pause:g} s ({len(crashes)} of {policy.limit} restarts)")
        server.stop()
        time.sleep(pause)
        crash = _start(server, announce) or _end_of(server)


def _start(server: TritonServer, announce: Callable[[str], None]) -> ServerError | None:
    try:
        server.start()
    except ServerError as error:
        return error
    announce(f"ready again: {server.grpc_url} {server.http_url}")
    return None


def _end_of(server: TritonServer) -> ServerError | None:
    try:
        server.wait()
    except ServerError as error:
        return error
    return None
