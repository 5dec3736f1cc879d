"""What several photographs come to: one that cannot be used is named, and the others go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer

from ..console import shown, tell
from ..errors import BadImage, NoPoem


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
