"""What the commands share: how errors and signals end them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn

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


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """End the block quietly on Ctrl-C and SIGTERM: for a server that is how it is meant to end."""
    # SIGINT too: a shell starts what it runs in the background with that one ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        yield
    except KeyboardInterrupt:
        tell("stopped")


def tell(line: str) -> None:
    """Print a line on standard error."""
    typer.echo(line, err=True)


def _interrupted(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
