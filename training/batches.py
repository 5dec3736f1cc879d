"""Texts in batches of similar length, so that padding is little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized

from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from img2poem.nn.poem_encoder import pad
from img2poem.text.vocabulary import PAD

#: Of a padded length: so products have few shapes, for each of which oneDNN, or torch's compiler, makes a kernel.
MULTIPLE = 8


def by_length(items: Sequence[Sized], name: str, size: int = 64) -> Iterator[list[int]]:
    """Yield the indices of all items in batches, shortest items first, under a progress bar called ``name``."""
    order = sorted(range(len(items)), key=lambda i: len(items[i]))
    for start in track(range(0, len(order), size), name, transient=True):
        yield order[start : start + size]


def padded(rows: list[list[int]], multiple: int = 1) -> Tensor:
    """Return token rows as ``int64 [B, T]``, padded at the end to a length that is one more than a ``multiple``."""
    ids = pad(rows, PAD)[0]
    # One more: a row of T tokens is read as T - 1 inputs.
    return F.pad(ids, (0, -(ids.shape[1] - 1) % multiple), value=PAD)
