"""The errors that img2poem raises, all derived from :class:`Img2PoemError`."""

from __future__ import annotations


class Img2PoemError(Exception):
    """Base class of the errors that img2poem raises. The message says what is wrong and, where possible, what to do."""

    #: Id of the call that failed, which is also the request id in the server's traces. None outside a call.
    request_id: str | None = None

    @property
    def cause(self) -> BaseException | None:
        """The exception of another library that caused this error, if any."""
        return self.__cause__


class BadImage(Img2PoemError):
    """The photograph cannot be used: missing, not an image, truncated, or too large."""


class InvalidOption(Img2PoemError):
    """An option is unknown, out of range, or cannot be satisfied."""


class BadPackage(Img2PoemError):
    """A model package (``weights/<name>/``) is missing, incomplete or inconsistent."""


class BadRepository(Img2PoemError):
    """A model repository is missing, was not written by ``python -m export.all``, or was changed afterwards."""


class ContractMismatch(BadRepository):
    """Models of different model packages are mixed in one repository, server, or group of servers."""


class NoPoem(Img2PoemError):
    """No poem satisfies the options: no word is allowed, no line of the form was found, or a forbidden word came up."""


class ConnectionFailed(Img2PoemError):
    """No inference server answers at the given address, or the connection broke."""


class Timeout(Img2PoemError):
    """The answer did not come within the deadline."""


class NotReady(Img2PoemError):
    """The server answers, but it is starting or stopping, or a required model is not loaded."""


class Overloaded(Img2PoemError):
    """The server's queues are full, or a request waited in them for too long."""


class ServerError(Img2PoemError):
    """A request was rejected or failed, its response was invalid, or the server could not be started."""


class Cancelled(Img2PoemError):
    """The client was closed before or during the call."""


class WriteFailed(Img2PoemError):
    """A result cannot be written, for example because the disk is full or standard output is closed."""


class MissingDependency(Img2PoemError):
    """An optional library is not installed. The message names the extra that contains it."""
