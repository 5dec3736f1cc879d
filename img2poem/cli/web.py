"""``img2poem web``: run the page and the gateway."""

from __future__ import annotations

import socket
from typing import Annotated, Any

import typer

from ..errors import MissingDependency, ServerError
from ..serving.settings import LogLevel
from .console import reporting, tell, until_interrupted
from .source import Source, asks_models

_WHERE, _LIMITS = "Addresses", "Limits"
#: Seconds that poems under way get to come to their end.
_GRACE = 10


@asks_models
def web(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback opens the gateway.", rich_help_panel=_WHERE)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.", rich_help_panel=_WHERE)] = 8080,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name that browsers may address it by; repeat it for more.",
            show_default="on loopback its own names, else any",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="A site whose pages may use it from a browser (CORS), as https://app.example.org; * for any; "
            "repeat it for more.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="A reverse proxy whose X-Forwarded-For and -Proto are believed; repeat it for more.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    source: Source = Source(),
    rate: Annotated[
        str,
        typer.Option(help="Requests that one address may make, as 5/second; none for any.", rich_help_panel=_LIMITS),
    ] = "60/minute",
    max_mb: Annotated[int, typer.Option(help="Largest upload in MiB, 1 to 64.", rich_help_panel=_LIMITS)] = 64,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Requests that are worked for at once.", rich_help_panel=_LIMITS)
    ] = 4,
    waiting: Annotated[
        int,
        typer.Option(
            min=0, help="Further requests that may wait for their turn; any more are refused.", rich_help_panel=_LIMITS
        ),
    ] = 32,
    log_level: Annotated[
        LogLevel, typer.Option(help="How much is logged: info has a line for each request.")
    ] = LogLevel.info,
) -> None:
    """Serve the web page and the REST interface until Ctrl-C or SIGTERM."""
    with reporting():
        try:
            import uvicorn

            from ..web.app import create_app
            from ..web.settings import WebSettings, is_loopback
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
            tell(f"warning: listening on {host}: whoever reaches it can use it; put a proxy with TLS in front")
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
            # It tells of its start and end, as we do.
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING"},
        },
    }
