"""What the pieces of the decoder's vocabulary are to a poem, and how a word is spelt with them."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Longest n-gram that may be kept from coming twice.
MAX_NGRAM = 4

_MARK = "##"


def is_word(piece: str) -> bool:
    """Whether ``piece`` may stand in a line: a word or part of one, an apostrophe or a hyphen."""
    return bool(re.fullmatch(r"(##)?[a-z]+|['-]", piece))


def begins_line(piece: str) -> bool:
    """Whether a line may begin with ``piece``."""
    return bool(re.fullmatch(r"[a-z]+", piece))


def is_penalised(piece: str) -> bool:
    """Whether the repetition penalty counts uses of ``piece``.

    Not "i", "a", "of" or the parts of "don't", which no poem can do without.
    """
    return bool(re.fullmatch(r"[a-z]{3,}", piece))


def spell(word: str, ids: dict[str, int]) -> list[int]:
    """Return the ids that spell a lower-case ``word``: always the longest piece that fits, as WordPiece does.

    Raises:
        KeyError: the vocabulary ``ids`` lacks a letter of it.
    """
    spelt: list[int] = []
    while word:
        mark = _MARK if spelt else ""
        end = next((end for end in range(len(word), 0, -1) if mark + word[:end] in ids), 1)
        spelt.append(ids[mark + word[:end]])
        word = word[end:]
    return spelt


def forbidden_tokens(words: Sequence[str], pieces: Sequence[str]) -> list[int]:
    """Return the token that keeps each of ``words`` out of a poem.

    A word that is one piece is kept out by that piece. One of several pieces is kept out by the rarest
    of them, the one with the largest id, since pieces are ordered by falling frequency; other words that
    are spelt with it are then kept out too.
    """
    ids = {piece: i for i, piece in enumerate(pieces)}
    return [max(spell(word, ids)) for word in words]
