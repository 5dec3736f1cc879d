"""Request bodies with a size limit."""

from __future__ import annotations

import anyio
from starlette.types import Message, Receive, Send

#: Seconds for which the remainder of a rejected body is read and discarded.
_LINGERS = 10.0


class Body:
    """Counts the bytes of a request body, and delivers the response even if the body is too large.

    Closing a connection while the client is still sending resets it, and the client may lose the response. So the
    response to a body that is too large ends only after the remaining body has been read and discarded, or after a
    timeout.

    Args:
        receive: ASGI callable of the request.
        send: ASGI callable of the response.
        most: maximum size of the body in bytes.
        is_too_large: whether the body is already known to be larger.
    """

    def __init__(self, receive: Receive, send: Send, most: int, is_too_large: bool = False) -> None:
        self._receive, self._send, self._left, self._ended = receive, send, most, False
        self.is_too_large = is_too_large

    async def receive(self) -> Message:
        """Return the next message of the request, and count its bytes."""
        message = await self._receive()
        self._ended = not message.get("more_body")
        self._left -= len(message.get("body", b""))
        self.is_too_large = self.is_too_large or self._left < 0
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the response; before the end of a response to a too large body, discard that body."""
        if self.is_too_large and message["type"] == "http.response.body" and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._drop()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _drop(self) -> None:
        with anyio.move_on_after(_LINGERS):
            while not self._ended:
                await self.receive()
