"""Settings of the gateway."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidOption
from ..images.decode import MAX_BYTES

_MOST_MB = MAX_BYTES // 2**20
#: Maximum size in bytes of what a request carries beside its photograph.
MAX_OTHER_BYTES = 2**16


@dataclass(frozen=True)
class WebSettings:
    """Limits and access rules of the gateway; the defaults suit a single machine with local users.

    Args:
        timeout: seconds that an upload may take, and that a poem may take.
        concurrency: requests processed at a time.
        waiting: maximum length of the queue; further requests are rejected (503).
        rate: limit of POST requests per client, in the syntax of ``limits`` (``60/minute``); None for no limit.
        max_mb: maximum size of an upload in MiB.
        hosts: accepted host names of requests (``Host``), against DNS rebinding; empty for any.
        origins: origins whose pages may call the gateway (CORS), such as ``https://app.example.org``; ``*`` for any.

    Raises:
        InvalidOption: a value is out of range, or ``rate`` or an origin is malformed.
    """

    timeout: float = 60.0
    concurrency: int = 4
    waiting: int = 32
    rate: str | None = "60/minute"
    max_mb: int = _MOST_MB
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.max_mb <= _MOST_MB:
            raise InvalidOption(f"the largest upload must be from 1 to {_MOST_MB} MiB, not {self.max_mb}")
        if self.concurrency < 1 or self.waiting < 0:
            raise InvalidOption("concurrency must be 1 or more, and waiting 0 or more")
        for origin in self.origins:
            if origin != "*" and not re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?", origin):
                raise InvalidOption(f"an origin looks like https://app.example.org, without a path, not {origin!r}")
        if self.rate is not None:
            from limits import parse

            try:
                parse(self.rate)
            except ValueError:
                raise InvalidOption(f"a rate looks like 60/minute or 5/second, not {self.rate!r}") from None

    @property
    def max_bytes(self) -> int:
        """Maximum size of an upload in bytes."""
        return self.max_mb * 2**20
