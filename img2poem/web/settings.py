"""What an operator decides about the gateway."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ..errors import InvalidOption
from ..images.decode import MAX_BYTES

_MOST_MB = MAX_BYTES // 2**20


@dataclass(frozen=True)
class WebSettings:
    """How the gateway treats its callers; the defaults are for one machine and its own users.

    Args:
        timeout: seconds for an upload, and again for a poem.
        concurrency: poems, descriptions and cards under way at once.
        waiting: requests more that wait for their turn; those beyond are refused (503).
        rate: requests that one address may make, as ``limits`` reads it (``60/minute``); None for any number.
        max_mb: largest upload in MiB.
        hosts: names by which callers may address it (``Host``), against DNS rebinding; empty for any.
        origins: of pages from elsewhere whose scripts may use it (CORS), as ``https://app.example.org``; ``*`` for any.

    Raises:
        InvalidOption: a value is out of its range, or ``rate`` or an origin cannot be read.
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
            raise InvalidOption("at least one request must be under way at once, and none or more wait")
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
        """Largest upload in bytes."""
        return self.max_mb * 2**20


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
