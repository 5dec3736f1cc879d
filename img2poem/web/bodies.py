"""The body of a request, which may be larger than is allowed."""

from __future__ import annotations

import anyio
from starlette.types import Message, Receive, Send

#: Seconds for which the rest of a body that was refused is read and dropped.
_LINGERS = 10.0


class Body:
    """Counts what comes, and answers so that the answer arrives.

    Closing a connection while its caller still sends resets it, and the answer is lost with it. So what is sent before
    the last part of the answer, all of which has gone by then, is read and dropped for a while.

    Args:
        receive: of the request.
        send: of the answer.
        most: bytes that may come.
        is_too_large: whether more are known to come.
    """

    def __init__(self, receive: Receive, send: Send, most: int, is_too_large: bool = False) -> None:
        self._receive, self._send, self._left, self._ended = receive, send, most, False
        self.is_too_large = is_too_large

    async def receive(self) -> Message:
        """Return the next part of the body."""
        message = await self._receive()
        self._ended = not message.get("more_body")
        self._left -= len(message.get("body", b""))
        self.is_too_large = self.is_too_large or self._left < 0
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer; behind the last one to a body that is too large, read on."""
        if self.is_too_large and message["type"] == "http.response.body" and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._drop()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _drop(self) -> None:
        with anyio.move_on_after(_LINGERS):
            while not self._ended:
                await self.receive()
