"""What the commands share: how errors end them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer

from .errors import BadImage, Img2PoemError, InvalidOption


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Turn our errors into one line and exit status 1 (2 for wrong options and photographs), Ctrl-C into 130."""
    try:
        yield
    except Img2PoemError as error:
        typer.echo(f"img2poem: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, BadImage | InvalidOption) else 1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
