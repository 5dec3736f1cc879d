"""Options that name the models and how to reach them, shared by all commands that call models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..client.client import Img2Poem
from ..errors import InvalidOption
from ..transports.address import FORMS, Target, Tls
from .options import DEFAULT

_PANEL = "Where the models are"


@dataclass(frozen=True)
class Source:
    """Values of the options; :func:`img2poem.cli.grouped.grouped` declares one option per field."""

    engine: Annotated[
        Path | None,
        typer.Option(help="Model repository to run in process.", show_default=DEFAULT, rich_help_panel=_PANEL),
    ] = None
    url: Annotated[
        list[str] | None,
        typer.Option(
            help="Server to use instead, grpc://HOST:PORT or http://HOST:PORT/PATH (or grpcs, https); repeat for "
            "failover.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:VALUE",
            help="Header of every request to a server, such as an API key; repeat for more headers.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM CA certificates that verify the server's certificate.",
            show_default="the system's CA certificates",
            rich_help_panel=_PANEL,
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads per model that runs in process.",
            show_default="one per core available to this process",
            rich_help_panel=_PANEL,
        ),
    ] = None
    timeout: Annotated[
        float, typer.Option("--timeout", help="Timeout per photograph in seconds.", rich_help_panel=_PANEL)
    ] = 60.0

    @property
    def target(self) -> Target | None:
        """The model repository or the servers' addresses; None if neither is given.

        Raises:
            InvalidOption: both are given, or ``--url`` is a folder.
        """
        if self.engine is not None and self.url:
            raise InvalidOption("give --engine or --url, not both")
        if self.url and not all("://" in one for one in self.url):
            raise InvalidOption(f"--url takes {FORMS.rpartition(' or ')[0]}")
        return self.url or self.engine

    @property
    def access(self) -> dict[str, Any]:
        """Further keyword arguments of the client: headers, TLS and threads.

        Raises:
            InvalidOption: an option belongs to the other kind of target, a header has no colon or is given twice, or
                the certificates cannot be read.
        """
        for option, given in (("--header", self.header), ("--ca", self.ca)):
            if given and not self.url:
                raise InvalidOption(f"{option} goes with --url")
        if self.threads is not None and self.url:
            raise InvalidOption("--threads goes with --engine: a server has its own")
        headers: dict[str, str] = {}
        for one in self.header or ():
            name, colon, value = one.partition(":")
            if not colon:  # the message omits the value, which may be a secret
                raise InvalidOption("--header takes a name, a colon and a value, as 'authorization: Bearer …'")
            if name.strip().lower() in headers:
                raise InvalidOption(f"--header {name.strip()} is given twice")
            headers[name.strip().lower()] = value.strip()
        return {"headers": headers, "tls": Tls(ca=self.ca), "threads": self.threads}

    def poet(self, concurrency: int = 8, background: bool = False) -> Img2Poem:
        """Return a client for the target.

        Raises:
            Img2PoemError: an option or the target cannot be used.
        """
        return Img2Poem(
            self.target, timeout=self.timeout, concurrency=concurrency, background=background, **self.access
        )
