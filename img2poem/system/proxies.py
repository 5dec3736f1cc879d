"""Which proxy leads to an address, by the environment: ``http_proxy``, ``https_proxy``, ``all_proxy``, ``no_proxy``.

Read here because the libraries disagree: httpx fails on exceptions that are IPv6 addresses or networks, and gRPC sends
what is meant for this machine to the proxy.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

from ..errors import InvalidOption

_SCHEMES = ("http", "https", "socks5", "socks5h")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def proxy_of(url: SplitResult) -> str | None:
    """Return the address of the proxy for ``url``; None where it is reached directly, as this machine always is.

    Raises:
        InvalidOption: the environment's value is no address of a proxy.
    """
    grpc = url.scheme.startswith("grpc")
    known = _of_grpc(os.environ) if grpc else getproxies_environment()
    names = ("grpc", "https", "http") if grpc else (url.scheme, "all")
    found = next((known[name] for name in names if known.get(name)), None)
    if found is None or _is_direct(url, known.get("no", "")):
        return None
    whole = found if "://" in found else f"http://{found}"
    try:
        parts = urlsplit(whole)
        usable = parts.scheme in _SCHEMES and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise InvalidOption(
            f"the proxy of the environment must be http://HOST:PORT or socks5://…, not {without_password(whole)!r}"
        )
    return whole


def _of_grpc(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what gRPC itself reads: lower case alone."""
    found = {name: environment.get(f"{name}_proxy", "") for name in ("grpc", "https", "http")}
    exceptions = (environment.get(name, "") for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"))
    return {**found, "no": next(filter(None, exceptions), "")}


def _is_direct(url: SplitResult, exceptions: str) -> bool:
    host, port = (url.hostname or "").rstrip("."), url.port or _DEFAULT_PORTS.get(url.scheme)
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        address = None
    if host == "localhost" or host.endswith(".localhost") or (address and address.is_loopback):
        return True
    return any(_covers(one.strip().lower(), host, address, port) for one in exceptions.split(","))


def _covers(
    exception: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int | None
) -> bool:
    """Whether an exception is meant for a host: ``*``, a name and all below it, an address, a network; with a port."""
    if exception == "*":
        return True
    name, colon, number = exception.rpartition(":")
    if colon and number.isdecimal() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        exception = name
    exception = exception.removeprefix("[").removesuffix("]")
    if address is not None:
        try:
            return address in ipaddress.ip_network(exception, strict=False)
        except ValueError:
            return False
    exception = exception.removeprefix("*").removeprefix(".")
    return bool(exception) and (host == exception or host.endswith(f".{exception}"))


def without_password(proxy: str) -> str:
    """Return the address of a proxy as it may be shown."""
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
