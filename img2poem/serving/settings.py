"""Settings of the server, and the ``tritonserver`` options for them."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from ..errors import InvalidOption
from ..files.reading import check_readable
from ..system.hosts import is_loopback
from ..transports.address import as_path

#: Interfaces that can read the host's memory, replace a model by the caller's code, or write files. Only callers with
#: the key can use them.
RESTRICTED = ("shared-memory", "model-repository", "trace", "logging")
#: The header that carries the key; over gRPC it takes the prefix ``triton-grpc-protocol-``.
KEY_HEADER = "img2poem-key"


class LogLevel(str, Enum):
    """Log level of the server."""

    error = "error"
    warning = "warning"
    info = "info"
    verbose = "verbose"


class ModelControl(str, Enum):
    """Who may change the loaded models of a running server."""

    #: Nobody: the models loaded at the start stay.
    none = "none"
    #: Callers of the model-repository interface, who need the key.
    explicit = "explicit"
    #: Anyone who can write to the repository: the server polls it every 15 s.
    poll = "poll"


@dataclass(frozen=True)
class Ports:
    """Ports of the server."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002

    @classmethod
    def free(cls) -> Ports:
        """Return three ports that are free at the moment."""
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        try:
            return cls(*(s.getsockname()[1] for s in sockets))
        finally:
            for s in sockets:
                s.close()


@dataclass(frozen=True)
class ServerTls:
    """PEM files for TLS on gRPC; with ``ca``, clients need a certificate signed by it (mutual TLS).

    Raises:
        InvalidOption: a file cannot be read.
    """

    certificate: Path
    key: Path
    ca: Path | None = None

    def __post_init__(self) -> None:
        for name in ("certificate", "key", "ca"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, as_path(name, path))
                check_readable(getattr(self, name))


@dataclass(frozen=True)
class ServerSettings:
    """Settings of the server; the defaults suit a single machine with local users.

    Args:
        host: IPv4 address for gRPC.
        http_host: IPv4 address for REST and metrics. Triton serves both without TLS and without a limit on the size
            of requests, so expose it to a reverse proxy at most.
        tls: certificate and key for gRPC.
        api_key: key for the ``RESTRICTED`` interfaces; without a key nobody can use them.
        log_level: log level of the server.
        model_control: who may change the loaded models.
        drain_timeout: seconds that running requests get to finish at shutdown.
        trace: settings for Triton's ``--trace-config``, such as ``mode=opentelemetry``.
        cache_mb: size in MiB of the response cache, for models whose config enables it; 0 for none. The cache ignores
            which outputs a request names, so all callers must request the same outputs.
        verify: whether to check every file against the repository's manifest before the start.

    Raises:
        InvalidOption: a value cannot be used.
    """

    host: str = "127.0.0.1"
    http_host: str = "127.0.0.1"
    tls: ServerTls | None = None
    api_key: str | None = field(default=None, repr=False)
    log_level: LogLevel = LogLevel.info
    model_control: ModelControl = ModelControl.none
    drain_timeout: float = 20.0
    trace: tuple[str, ...] = ()
    cache_mb: int = 0
    verify: bool = True

    def __post_init__(self) -> None:
        _check_address(self.host)
        _check_address(self.http_host)
        # Triton splits the option at commas, colons and equals signs, and compares headers byte by byte.
        if self.api_key is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,}", self.api_key):
            raise InvalidOption("the key must have at least 16 letters, digits, - or _")
        if any("=" not in setting for setting in self.trace):
            raise InvalidOption("trace settings have the form SETTING=VALUE or MODE,SETTING=VALUE")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return not self.open_addresses

    @property
    def open_addresses(self) -> str:
        """The addresses that other machines can reach, and what listens there; empty if there are none."""
        listeners = {"gRPC": self.host, "REST and metrics": self.http_host}
        return ", ".join(f"{host} ({name})" for name, host in listeners.items() if not is_loopback(host))

    def arguments(self, ports: Ports, caches: Path) -> list[str]:
        """Return the options for ``tritonserver``; ``caches`` is the folder of its cache implementations."""
        return [
            *self._addresses(ports),
            # Adds quantiles of the latencies to their sums.
            "--metrics-config=summary_latencies=true",
            *self._logging(),
            *self._control(),
            *self._restrictions(),
            *self._encryption(),
            *(f"--trace-config={setting}" for setting in self.trace),
            *self._cache(caches),
        ]

    def _addresses(self, ports: Ports) -> list[str]:
        return [
            f"--http-address={self.http_host}",
            f"--http-port={ports.http}",
            f"--grpc-address={self.host}",
            f"--grpc-port={ports.grpc}",
            f"--metrics-address={self.http_host}",
            f"--metrics-port={ports.metrics}",
        ]

    def _logging(self) -> list[str]:
        level = list(LogLevel).index(self.log_level)
        return [
            f"--log-warning={str(level >= 1).lower()}",
            f"--log-info={str(level >= 2).lower()}",
            f"--log-verbose={int(level >= 3)}",
        ]

    def _control(self) -> list[str]:
        load = ["--load-model=*"] if self.model_control is ModelControl.explicit else []
        return [f"--model-control-mode={self.model_control.value}", *load]

    def _restrictions(self) -> list[str]:
        # Without a configured key, a random one that nobody knows.
        setting = f"{','.join(RESTRICTED)}:{KEY_HEADER}={self.api_key or secrets.token_urlsafe(32)}"
        return [f"--grpc-restricted-protocol={setting}", f"--http-restricted-api={setting}"]

    def _encryption(self) -> list[str]:
        if self.tls is None:
            return []
        options = [f"--grpc-server-cert={self.tls.certificate}", f"--grpc-server-key={self.tls.key}"]
        if self.tls.ca is None:
            return ["--grpc-use-ssl=true", *options]
        return ["--grpc-use-ssl-mutual=true", *options, f"--grpc-root-cert={self.tls.ca}"]

    def _cache(self, caches: Path) -> list[str]:
        if not self.cache_mb:
            return []
        return [f"--cache-directory={caches}", f"--cache-config=local,size={self.cache_mb * 2**20}"]


def reachable(host: str) -> str:
    """Return the address at which clients on this machine reach a server that listens on ``host``."""
    return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104


def _check_address(host: str) -> None:
    # Triton's REST accepts no host names, and its gRPC and REST expect IPv6 addresses in different forms.
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        raise InvalidOption(f"{host!r} is not an IPv4 address; 0.0.0.0 means all addresses of this machine") from None
