"""Targets (addresses of servers, or a folder), and options of the connections to servers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from ..artifacts.installed import default_repository
from ..errors import InvalidOption
from ..files.reading import check_readable

Target = str | os.PathLike[str] | Sequence[str]

FORMS = "grpc://HOST:PORT, grpcs://HOST:PORT, http://HOST[:PORT][/PATH], https://HOST[:PORT][/PATH] or a folder"


@dataclass(frozen=True)
class Tls:
    """PEM files for ``grpcs`` and ``https``.

    ``ca`` has the certificate authorities to trust (default: the system's for ``https``, gRPC's for ``grpcs``).
    ``certificate`` and ``key`` are the client's own, for servers that require them.

    Raises:
        InvalidOption: a file cannot be read, or only one of ``certificate`` and ``key`` is given.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidOption("certificate and key must be given together")
        for name in ("ca", "certificate", "key"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, as_path(name, path))
                check_readable(getattr(self, name))


@dataclass(frozen=True)
class Access:
    """Options of connections: headers of every request, TLS files, and low priority (``background``).

    Headers may be secrets: their values are not in the repr, nor in any error.

    Raises:
        InvalidOption: a header cannot be sent.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Tls = field(default_factory=Tls)
    background: bool = False

    @property
    def priority(self) -> int:
        """The priority level of the requests in the server's queues; 1 is the highest."""
        return 2 if self.background else 1

    def __post_init__(self) -> None:
        # httpx and gRPC would reject the header too, for example a key that ends with a newline, but show its value.
        for name, value in self.headers.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise InvalidOption(f"header {name!r} must be a string, not a {type(value).__name__}")
            if (
                not re.fullmatch(r"[\w.-]+", name, re.ASCII)
                or not re.fullmatch(r"[ -~]*", value)
                or value.strip() != value
            ):
                raise InvalidOption(f"header {name!r} must be printable ASCII, without spaces at either end")


def parse(target: Target | None) -> list[SplitResult] | Path:
    """Return the addresses in ``target``, or its folder. None means the default model repository.

    Raises:
        InvalidOption: ``target`` is empty or malformed, or mixes folders and addresses.
        BadRepository: ``target`` is None, and there is no default repository.
    """
    if target is None:
        return default_repository()
    several = [target] if isinstance(target, str | os.PathLike) or not isinstance(target, Iterable) else list(target)
    if not several or not all(isinstance(one, str | os.PathLike) and os.fspath(one) for one in several):
        raise InvalidOption(f"a target is needed: {FORMS}; not {target!r}")
    if len(several) == 1 and "://" not in str(several[0]):
        return _folder(Path(several[0]))
    return [_address(str(one)) for one in several]


def as_path(name: str, value: object) -> Path:
    """Return ``value`` as a ``Path``.

    Raises:
        InvalidOption: ``value`` is neither a path nor a string. The message calls it ``name``.
    """
    if not isinstance(value, str | os.PathLike):
        raise InvalidOption(f"{name} must be a path, not {value!r}")
    return Path(os.fsdecode(value))


def _folder(path: Path) -> Path:
    # Path() removes one of the two slashes of an address.
    if re.match(r"(grpcs?|https?):/", str(path), re.I):
        raise InvalidOption(f"{str(path)!r} is an address, not a folder: pass a string, or --url on the command line")
    return path


def _address(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    # A reverse proxy may serve HTTP under a path. gRPC addresses have no path.
    path = "" if parts.scheme.startswith("http") else parts.path.rstrip("/")
    whole = parts.hostname and not (path or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("grpc", "grpcs", "http", "https") or not whole:
        shown = re.sub(r"(?<=//).*@", "...@", url)  # without a password
        raise InvalidOption(f"{shown!r} is not of the form {FORMS}")
    if parts.scheme.startswith("grpc") and not port:
        raise InvalidOption(f"{url!r} lacks a port: {parts.scheme}://HOST:PORT")
    return parts
