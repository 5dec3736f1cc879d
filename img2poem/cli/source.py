"""Where the models are: the options of every command that asks them, declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ..client.client import Img2Poem
from ..errors import InvalidOption
from ..transports.address import FORMS, Target, Tls
from .options import DEFAULT

_PANEL = "Where the models are"


@dataclass(frozen=True)
class Source:
    """The values of the options; :func:`asks_models` makes options of the fields."""

    engine: Annotated[
        Path | None,
        typer.Option(help="Model repository to run in process.", show_default=DEFAULT, rich_help_panel=_PANEL),
    ] = None
    url: Annotated[
        list[str] | None,
        typer.Option(
            help="Server to ask instead, grpc://HOST:PORT or http://HOST:PORT/PATH (grpcs, https); repeat it for "
            "others that take over when it fails.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:VALUE",
            help="Header of every request to a server, as a key that it wants; repeat it for more.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM certificates that may have signed that of a server.",
            show_default="those that the system trusts",
            rich_help_panel=_PANEL,
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads of each model in process.",
            show_default="one for each core that this process may use",
            rich_help_panel=_PANEL,
        ),
    ] = None
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds that each photograph may take.", rich_help_panel=_PANEL)
    ] = 60.0

    @property
    def target(self) -> Target | None:
        """The folder or the addresses; None where neither is given.

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
        """What a client takes beside the target.

        Raises:
            InvalidOption: an option belongs to the other kind of target, a header has no colon or comes twice, or
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
            if not colon:  # what was given may be a secret
                raise InvalidOption("--header takes a name, a colon and a value, as 'authorization: Bearer …'")
            if name.strip().lower() in headers:
                raise InvalidOption(f"--header {name.strip()} is given twice")
            headers[name.strip().lower()] = value.strip()
        return {"headers": headers, "tls": Tls(ca=self.ca), "threads": self.threads}

    def poet(self, concurrency: int = 8, background: bool = False) -> Img2Poem:
        """Return the client.

        Raises:
            Img2PoemError: an option or the target cannot be used.
        """
        return Img2Poem(
            self.target, timeout=self.timeout, concurrency=concurrency, background=background, **self.access
        )


def asks_models(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in the place of its parameter ``source``, the options that a :class:`Source` is made of."""
    hints, options = get_type_hints(command, include_extras=True), get_type_hints(Source, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name != "source":
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        for field in fields(Source):
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            annotation = options[field.name]
            parameters.append(inspect.Parameter(field.name, kind, default=field.default, annotation=annotation))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        source = Source(**{field.name: given.pop(field.name) for field in fields(Source)})
        command(**given, source=source)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
