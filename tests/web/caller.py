"""A caller of the application in this process, which can disconnect."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request
from starlette.types import Message


class Caller:
    """Waits for a response until it is told to disconnect."""

    def __init__(self, body: bytes = b"") -> None:
        self.leaves, self.body = asyncio.Event(), [{"type": "http.request", "body": body}] if body else []
        self.request = Request({"type": "http"}, self._receive)
        self.answer: list[Message] = []

    async def asks(self, app: FastAPI, path: str) -> None:
        """Send the request in the application's event loop."""
        path, _, query = path.partition("?")
        method = "POST" if self.body else "GET"
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": []}
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self.body:
            return self.body.pop()
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.answer.append(message)
