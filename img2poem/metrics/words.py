"""Words, lines and n-grams of texts as all metrics read them: in the plain style of the data sets, split at spaces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..datasets.poems import plain

NGram = tuple[str, ...]


def words(text: str) -> list[str]:
    """Return the words of ``text`` in the plain style; line breaks count as spaces."""
    return plain(text).split()


def lines(poem: str) -> list[str]:
    """Return the lines of ``poem`` in the plain style, without empty ones."""
    return [line for line in map(plain, poem.splitlines()) if line]


def ngrams(poems: Iterable[str], n: int) -> Iterator[NGram]:
    """Yield the ``n``-grams of words, across the lines of a poem but not across poems.

    Raises:
        ValueError: ``n`` is less than 1.
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more, not {n}")
    for poem in poems:
        row = words(poem)
        yield from zip(*(row[start:] for start in range(n)), strict=False)


def share(part: int, whole: Sequence[object], what: str) -> float:
    """Return ``part`` divided by the length of ``whole``.

    Raises:
        ValueError: ``whole`` is empty; the message says that there are no ``what``.
    """
    if not whole:
        raise ValueError(f"there are no {what} to measure: pass at least one poem that has some")
    return part / len(whole)
