"""Errors for the messages and faults of a server, independent of the protocol."""

from __future__ import annotations

from ..errors import BadImage, Img2PoemError, InvalidOption, NotReady, Overloaded, ServerError
from ..system.proxies import without_password

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
    # The process of a model died; `img2poem serve` restarts the server.
    "is not healthy",
)
#: What TLS libraries report when a server answers a TLS handshake in plain text.
_NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "UNEXPECTED_MESSAGE",
    "PACKET_LENGTH_TOO_LONG",
    "UNEXPECTED_EOF",
)


def from_message(message: str, name: str) -> Img2PoemError:
    """Return the error for an error message of the server ``name``."""
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


def unreachable(name: str, reason: str, proxy: str | None = None) -> str:
    """Return the error message for a server that cannot be reached, directly or through ``proxy``."""
    said = reason.upper().replace(" ", "_")
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return (
            f"{name} has a certificate that is not trusted ({reason}); pass the certificate of its authority: "
            "Tls(ca=...) or --ca, or in the environment SSL_CERT_FILE (gRPC: GRPC_DEFAULT_SSL_ROOTS_FILE_PATH)"
        )
    if any(words in said for words in _NO_TLS):
        return f"{name} does not speak TLS ({reason}); without it, addresses begin with http:// or grpc://"
    if proxy:
        shown = without_password(proxy)
        return f"{name} cannot be reached through the proxy {shown} ({reason}); correct it, or add the host to no_proxy"
    return f"no inference server answers at {name} ({reason}); start one with: img2poem serve"


def refused(name: str, reason: str) -> ServerError:
    """Return the error for a server that denies access."""
    return ServerError(f"{name} denies access ({reason}); pass its key or token in the headers")


def stranger(name: str, reason: str) -> ServerError:
    """Return the error for an address that another service answers."""
    return ServerError(f"{name} is no Triton server, or not under this address ({reason})")
