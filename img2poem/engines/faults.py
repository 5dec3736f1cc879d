"""What a server's own words mean, over whatever protocol they came."""

from __future__ import annotations

from ..errors import BadImage, Img2PoemError, InvalidOption, NotReady, Overloaded, ServerError

_BAD_IMAGE, _INVALID_OPTION = "BadImage: ", "InvalidOption: "
_OVERLOADED = ("exceeds maximum queue size", "request timeout expired", "timed out in queue")
_NOT_READY = (
    "has no available versions",
    "is not at ready state",
    "is not ready",
    "server not ready",
    "server is stopping",
    "server exiting",
    "scheduler for model has stopped",
    # The process of a model died; `img2poem serve` starts the server again.
    "is not healthy",
)


def from_message(message: str, name: str) -> Img2PoemError:
    """Return the error for what the server ``name`` says went wrong."""
    said = message.lower()
    if _BAD_IMAGE in message:
        return BadImage(message.split(_BAD_IMAGE, 1)[1])
    if _INVALID_OPTION in message:
        return InvalidOption(message.split(_INVALID_OPTION, 1)[1])
    if any(words in said for words in _OVERLOADED):
        return Overloaded(f"{name} has too many requests waiting: {message}")
    if any(words in said for words in _NOT_READY):
        return NotReady(f"{name} is not ready: {message}")
    return ServerError(f"{name}: {message}")


def unreachable(name: str, reason: str) -> str:
    """Return the text for a server that does not answer."""
    return f"no inference server answers at {name} ({reason}); start one with: img2poem serve"
