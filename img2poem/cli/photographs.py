"""What several photographs come to: one that cannot be used is named, and the others go on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

import typer

from ..errors import BadImage, InvalidOption, NoPoem
from ..images.decode import Photo
from .console import shown, tell


def given(photo: str) -> Photo:
    """Return the photograph that a command was given; ``-`` is what comes on standard input.

    Raises:
        BadImage: standard input is closed.
    """
    if photo != "-":
        return photo
    if sys.stdin is None:
        raise BadImage("standard input is closed: there is no photograph to read")
    return sys.stdin.buffer


def all_given(photos: Sequence[str]) -> list[Photo]:
    """Return the photographs that a command was given.

    Raises:
        InvalidOption: standard input is to be more than one of them.
        BadImage: it is closed.
    """
    if photos.count("-") > 1:
        raise InvalidOption("standard input is one photograph: give - once")
    return [given(photo) for photo in photos]


class Outcomes:
    """Of the photographs of one command."""

    def __init__(self) -> None:
        self._failed = False

    @contextlib.contextmanager
    def of(self, photo: str) -> Iterator[None]:
        """Work on ``photo``; where it cannot be used, or no poem was found, say so with its name."""
        try:
            yield
        except (BadImage, NoPoem) as error:
            self._failed = True
            tell(f"img2poem: {shown(photo)}: {error}")

    def end(self) -> None:
        """End the command with exit status 2 when a photograph failed."""
        if self._failed:
            raise typer.Exit(2)
