"""``img2poem web``: run the web page and the REST gateway."""

from __future__ import annotations

import socket
from typing import Annotated, Any

import typer

from ..errors import MissingDependency, ServerError
from ..serving.settings import LogLevel
from ..system.hosts import is_loopback
from .console import reporting, tell, until_interrupted
from .grouped import grouped
from .source import Source

_WHERE, _LIMITS = "Addresses", "Limits"
#: Seconds that running requests get to finish at shutdown.
_GRACE = 10


@grouped
def web(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback exposes the gateway.", rich_help_panel=_WHERE)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.", rich_help_panel=_WHERE)] = 8080,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Accepted host name of requests (Host header); repeat for more names.",
            show_default="on loopback the names of loopback, else any",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Origin whose pages may call the gateway (CORS), such as https://app.example.org, or * for any; "
            "repeat for more origins.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Reverse proxy whose X-Forwarded-For and X-Forwarded-Proto are trusted; repeat for more proxies.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    source: Source = Source(),
    rate: Annotated[
        str,
        typer.Option(help="Limit of POST requests per client, such as 5/second; or none.", rich_help_panel=_LIMITS),
    ] = "60/minute",
    max_mb: Annotated[int, typer.Option(help="Maximum upload in MiB, 1 to 64.", rich_help_panel=_LIMITS)] = 64,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Requests processed at a time.", rich_help_panel=_LIMITS)
    ] = 4,
    waiting: Annotated[
        int,
        typer.Option(
            min=0, help="Requests that may wait in the queue; further ones are rejected.", rich_help_panel=_LIMITS
        ),
    ] = 32,
    log_level: Annotated[LogLevel, typer.Option(help="Log level; info logs one line per request.")] = LogLevel.info,
) -> None:
    """Serve the web page and the REST interface until Ctrl-C or SIGTERM."""
    with reporting():
        try:
            import uvicorn

            from ..web.app import create_app
            from ..web.settings import WebSettings
        except ImportError as error:
            raise MissingDependency(f"the web page needs {error.name}; pip install 'img2poem[web]'") from None
        local = is_loopback(host)
        names = tuple(name.lower() for name in allow_host or ())
        settings = WebSettings(
            timeout=source.timeout,
            concurrency=concurrency,
            waiting=waiting,
            rate=None if rate == "none" else rate,
            max_mb=max_mb,
            hosts=(*names, host, "localhost", "127.0.0.1", "[::1]") if local or names else (),
            origins=tuple(origin.lower() for origin in allow_origin or ()),
        )
        app = create_app(source.target, settings, **source.access)
        listening = _listening(host, port)
        config = uvicorn.Config(
            app,
            proxy_headers=bool(proxy),
            forwarded_allow_ips=proxy or [],
            timeout_graceful_shutdown=_GRACE,
            access_log=False,
            server_header=False,
            log_config=_logging("DEBUG" if log_level is LogLevel.verbose else log_level.value.upper()),
        )
        if not local:
            tell(f"warning: listening on {host}: anyone who can reach it can use it; put a proxy with TLS in front")
        with listening, until_interrupted():
            tell(f"ready: http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C stops)")
            uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        detail = getattr(error, "strerror", None) or error
        raise ServerError(
            f"cannot listen on {host}, port {port}: {detail}; choose others by --host and --port"
        ) from None


def _logging(level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "loggers": {
            "img2poem": {"handlers": ["stderr"], "level": level},
            # At INFO, uvicorn would repeat our messages about start and end.
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING"},
        },
    }
