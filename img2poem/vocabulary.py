"""What the pieces of the decoder's vocabulary are to a poem, and how a word is spelt with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "\n")
PAD, BOS, EOS, UNK, NEWLINE = range(5)

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


def joined(piece: str) -> str:
    """Return a piece without WordPiece's continuation mark."""
    return piece.removeprefix(_MARK)


def needs_no_space(piece: str, previous: str) -> bool:
    """Whether ``piece`` follows the character ``previous`` ("" at the start) without a space."""
    return piece.startswith(_MARK) or piece in ("'", "-") or previous in ("", "\n", "'", "-")


def text_of(ids: Iterable[int], pieces: Sequence[str]) -> str:
    """Return the text of token ids: special tokens left out, pieces joined."""
    text = ""
    for i in ids:
        piece = pieces[i]
        if i == NEWLINE:
            text += piece
        elif i >= len(SPECIAL_TOKENS):
            text += joined(piece) if needs_no_space(piece, text[-1:]) else " " + piece
    return text.removesuffix("\n")


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
