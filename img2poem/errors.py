"""The errors that img2poem raises. Every one is an :class:`Img2PoemError`."""

from __future__ import annotations


class Img2PoemError(Exception):
    """Base of every error that img2poem raises on purpose; its text says what to do."""

    #: Id of the request that failed, as the server's traces have it; None where no request was made.
    request_id: str | None = None

    @property
    def cause(self) -> BaseException | None:
        """What another library raised, where that is what went wrong."""
        return self.__cause__


class BadImage(Img2PoemError):
    """The photograph cannot be used: missing, not an image, truncated, or too large."""


class InvalidOption(Img2PoemError):
    """An option is outside its range, unknown, or asks for what cannot be done."""


class BadPackage(Img2PoemError):
    """A model package (``weights/<name>/``) is missing, incomplete or inconsistent."""


class BadRepository(Img2PoemError):
    """A folder is not a model repository that ``python -m export.all`` wrote."""


class ContractMismatch(BadRepository):
    """Models of different model packages are mixed in one repository, server, or group of servers."""


class NoPoem(Img2PoemError):
    """The options leave no poem: no word could come, no line of the form was found, or a forbidden word came."""


class ConnectionFailed(Img2PoemError):
    """No inference server answers at the given address, or the connection broke."""


class Timeout(Img2PoemError):
    """The answer did not come within the deadline."""


class NotReady(Img2PoemError):
    """A server answers, but it is starting or stopping, or a model that is needed is not loaded."""


class Overloaded(Img2PoemError):
    """The server has more requests waiting than it takes."""


class ServerError(Img2PoemError):
    """The inference server refused or failed a request, answered nonsense, or could not be started."""


class Cancelled(Img2PoemError):
    """The call was given up: its client was closed meanwhile or before."""


class WriteFailed(Img2PoemError):
    """A result cannot be written: the disk is full, say, or standard output is closed."""


class MissingDependency(Img2PoemError):
    """An optional library is not installed; the message names the extra that brings it."""
