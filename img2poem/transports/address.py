"""Where the models are: addresses of servers or a folder, and how to reach them."""

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

    ``ca`` has the certificates that may have signed the server's (default: those that everybody trusts),
    ``certificate`` and ``key`` are shown to servers that ask for them.

    Raises:
        InvalidOption: a file cannot be read, or one of certificate and key is given alone.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidOption("a client's certificate and its key go together")
        for name in ("ca", "certificate", "key"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, as_path(name, path))
                check_readable(getattr(self, name))


@dataclass(frozen=True)
class Access:
    """How servers are reached: headers of every request (not shown in logs), TLS, and whether others go first.

    Raises:
        InvalidOption: a header cannot be sent; its value, which may be a secret, is not told.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Tls = field(default_factory=Tls)
    background: bool = False

    @property
    def priority(self) -> int:
        """The priority level of the requests in the server's queues, 1 the highest."""
        return 2 if self.background else 1

    def __post_init__(self) -> None:
        # The libraries below would put the value into their errors. A key from a file may end with a newline.
        for name, value in self.headers.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise InvalidOption(f"header {name!r} must be a text, not a {type(value).__name__}")
            if (
                not re.fullmatch(r"[\w.-]+", name, re.ASCII)
                or not re.fullmatch(r"[ -~]*", value)
                or value.strip() != value
            ):
                raise InvalidOption(f"header {name!r} must be of printable ASCII, without spaces around it")


def parse(target: Target | None) -> list[SplitResult] | Path:
    """Return the addresses of ``target``, or the folder that it is; for None the folder that is used by default.

    Raises:
        InvalidOption: an address is not of a known form, there is none, or a folder is among several.
        BadRepository: ``target`` is None, and there is no folder to use.
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
    """Return what is given as a path, or as its text.

    Raises:
        InvalidOption: it is neither; ``name`` says of what.
    """
    if not isinstance(value, str | os.PathLike):
        raise InvalidOption(f"{name} must be a path, not {value!r}")
    return Path(os.fsdecode(value))


def _folder(path: Path) -> Path:
    # A path has lost one of the address's slashes.
    if re.match(r"(grpcs?|https?):/", str(path), re.I):
        raise InvalidOption(f"{str(path)!r} is an address, not a folder: give it as text, on the command line by --url")
    return path


def _address(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    # Behind a proxy a server may be under a path; gRPC has none.
    path = "" if parts.scheme.startswith("http") else parts.path.rstrip("/")
    whole = parts.hostname and not (path or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("grpc", "grpcs", "http", "https") or not whole:
        shown = re.sub(r"(?<=//).*@", "...@", url)  # without a password
        raise InvalidOption(f"{shown!r} is not of the form {FORMS}")
    if parts.scheme.startswith("grpc") and not port:
        raise InvalidOption(f"{url!r} lacks a port: {parts.scheme}://HOST:PORT")
    return parts
