"""Start a crashed server again: after a growing pause, and only so often."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InvalidOption, ServerError
from .server import TritonServer


@dataclass(frozen=True)
class RestartPolicy:
    """At most ``limit`` restarts within ``window`` seconds, after pauses that double.

    The pauses go from ``first_delay`` to ``longest_delay`` seconds.

    Raises:
        InvalidOption: a negative limit, or a window or pause that is not positive.
    """

    limit: int = 5
    window: float = 600.0
    first_delay: float = 1.0
    longest_delay: float = 30.0

    def __post_init__(self) -> None:
        if self.limit < 0 or min(self.window, self.first_delay, self.longest_delay) <= 0:
            raise InvalidOption("restarts cannot be fewer than 0, their window and pauses must be above 0 s")

    def delay(self, restart: int) -> float:
        """Return the pause in seconds before the ``restart``-th restart within the window, from 1."""
        return float(min(self.first_delay * 2 ** (restart - 1), self.longest_delay))


def supervise(server: TritonServer, policy: RestartPolicy, announce: Callable[[str], None]) -> None:
    """Return when a started server ends by itself without an error; start it again when it crashes.

    Args:
        server: running.
        policy: how often and how fast.
        announce: takes one line for each crash and each restart.

    Raises:
        ServerError: it crashed more often than the policy allows.
        Img2PoemError: it cannot be started again for another reason, a changed repository say.
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
