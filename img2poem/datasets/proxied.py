"""HTTP transport for downloads through the proxies that environment variables set."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from ..system.proxies import proxy_of


class Proxied(httpx.AsyncBaseTransport):
    """Sends each request through the proxy for its host, or directly; ``limits`` apply to each proxy separately."""

    def __init__(self, limits: httpx.Limits) -> None:
        self._limits = limits
        self._ways: dict[str | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            InvalidOption: the environment variable is not a valid proxy address.
        """
        proxy = proxy_of(urlsplit(str(request.url)))
        if proxy not in self._ways:
            self._ways[proxy] = httpx.AsyncHTTPTransport(limits=self._limits, proxy=proxy)
        return await self._ways[proxy].handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for way in self._ways.values():
            await way.aclose()
