"""Downloads through the proxies of the environment."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from ..system.proxies import proxy_of


class Proxied(httpx.AsyncBaseTransport):
    """Sends each request through the proxy that leads to its host, or directly; ``limits`` are those of each way."""

    def __init__(self, limits: httpx.Limits) -> None:
        self._limits = limits
        self._ways: dict[str | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            InvalidOption: the environment's value is no address of a proxy.
        """
        proxy = proxy_of(urlsplit(str(request.url)))
        if proxy not in self._ways:
            self._ways[proxy] = httpx.AsyncHTTPTransport(limits=self._limits, proxy=proxy)
        return await self._ways[proxy].handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for way in self._ways.values():
            await way.aclose()
