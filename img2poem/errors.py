"""The errors that img2poem raises. Every one is an :class:`Img2PoemError`."""

from __future__ import annotations


class Img2PoemError(Exception):
    """Base of every error that img2poem raises on purpose; its text says what to do."""


class BadImage(Img2PoemError):
    """The photograph cannot be used: missing, not an image, truncated, or too large."""


class InvalidOption(Img2PoemError):
    """A decoding option is outside its range or unknown to the engine."""


class BadPackage(Img2PoemError):
    """A model package (``weights/<name>/``) is missing, incomplete or inconsistent."""


class BadRepository(Img2PoemError):
    """A folder is not a model repository that ``python -m export.all`` wrote."""


class ContractMismatch(BadRepository):
    """Models of different model packages are mixed in one repository or server."""


class ConnectionFailed(Img2PoemError):
    """No inference server answers at the given address."""


class Timeout(Img2PoemError):
    """The server did not answer within the deadline."""


class ServerError(Img2PoemError):
    """The inference server refused or failed a request, or could not be started."""


class MissingDependency(Img2PoemError):
    """An optional library is not installed; the message names the extra that brings it."""
