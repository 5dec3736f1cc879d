"""Photographs of a command line: a photograph that fails is reported, and the others are still processed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

import typer

from ..errors import BadImage, InvalidOption, NoPoem
from ..images.decode import Photo
from .console import shown, tell


def given(photo: str) -> Photo:
    """Return the photograph of an argument; ``-`` is standard input.

    Raises:
        BadImage: standard input is closed.
    """
    if photo != "-":
        return photo
    if sys.stdin is None:
        raise BadImage("standard input is closed: there is no photograph to read")
    return sys.stdin.buffer


def all_given(photos: Sequence[str]) -> list[Photo]:
    """Return the photographs of several arguments.

    Raises:
        InvalidOption: ``-`` occurs more than once.
        BadImage: an argument is ``-``, and standard input is closed.
    """
    if photos.count("-") > 1:
        raise InvalidOption("standard input is one photograph: give - once")
    return [given(photo) for photo in photos]


class Outcomes:
    """Records whether photographs of a command failed."""

    def __init__(self) -> None:
        self._failed = False

    @contextlib.contextmanager
    def of(self, photo: str) -> Iterator[None]:
        """Process ``photo``: report :class:`BadImage` and :class:`NoPoem` with its name, and suppress them."""
        try:
            yield
        except (BadImage, NoPoem) as error:
            self._failed = True
            tell(f"img2poem: {shown(photo)}: {error}")

    def end(self) -> None:
        """Exit with status 2 if a photograph failed."""
        if self._failed:
            raise typer.Exit(2)
