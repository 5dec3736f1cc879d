"""Texts in batches of similar length, so that padding is little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized

from rich.progress import track


def by_length(items: Sequence[Sized], name: str, size: int = 64) -> Iterator[list[int]]:
    """Yield the indices of all items in batches, shortest items first, under a progress bar called ``name``."""
    order = sorted(range(len(items)), key=lambda i: len(items[i]))
    for start in track(range(0, len(order), size), name, transient=True):
        yield order[start : start + size]
