"""Selection of the proxy for an address from environment variables.

HTTP uses ``http_proxy`` or ``https_proxy``, then ``all_proxy``, with exceptions in ``no_proxy``. gRPC uses
``grpc_proxy``, ``https_proxy`` or ``http_proxy``, with exceptions in ``no_grpc_proxy`` or ``no_proxy``.

The libraries disagree, so img2poem selects the proxy itself: httpx fails on IPv6 addresses and networks in
``no_proxy``, and gRPC sends requests for this machine to the proxy.
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
    """Return the address of the proxy for ``url``, or None for a direct connection. Loopback is always direct.

    Raises:
        InvalidOption: the environment variable is not the address of a proxy.
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
    """Return the variables that gRPC itself reads, which are lower case, and ``NO_PROXY``."""
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
    """Whether an entry of ``no_proxy`` covers a host.

    An entry is ``*``, a domain (subdomains included), an address or a network. It may end with a port.
    """
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
    """Return the address of a proxy without its user name and password."""
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
