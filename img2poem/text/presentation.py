"""Tokens as the text that people read: capitals, and spaces where they belong.

The served graph ``poem_text`` is made of the same tables (:mod:`export.poem_text`), so that every engine gives the same
text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .vocabulary import EOS, FINAL_MARKS, GLUE, HYPHEN, MARKS, NEWLINE, PAD, SPECIAL_TOKENS

_CONTINUED = "##"
# Words that always have a capital, and are hardly ever another word; "march" and "may" are.
_NAMES = frozenset(
    "i o monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays"
    " saturdays sundays january february april june july august september october november december christmas easter"
    " halloween america american africa african europe european asia asian china chinese england english france french"
    " india indian italy italian japan japanese london paris spanish".split()
)
_ABBREVIATIONS = frozenset({"tv", "dj", "ok"})


def text_of(ids: Iterable[int], pieces: Sequence[str]) -> str:
    """Return the text of token ids: sentences, names and "I" with capitals; special tokens are left out.

    A sentence goes on over the end of a line. A newline at the very end, before the end token or padding, is left out.
    """
    tokens, text, before, previous = [*ids], "", PAD, PAD
    for token, after in zip(tokens, [*tokens[1:], PAD], strict=False):
        if token == NEWLINE and after not in (EOS, PAD):
            text += "\n"
        elif token >= len(SPECIAL_TOKENS):
            begins = ends_sentence(previous) or (previous == NEWLINE and ends_sentence(before))
            space = "" if is_joined(token, pieces[token]) or is_joining(previous) else " "
            text += space + written(token, pieces[token], begins)
        before, previous = previous, token
    return text


def written(token: int, piece: str, begins: bool = False) -> str:
    """Return a token's own characters, at the beginning of a sentence or within; none of a special token."""
    if token < len(SPECIAL_TOKENS):
        return "\n" if token == NEWLINE else ""
    if piece.startswith(_CONTINUED):
        return piece.removeprefix(_CONTINUED)
    if piece in _ABBREVIATIONS:
        return piece.upper()
    return piece[:1].upper() + piece[1:] if begins or piece in _NAMES else piece


def is_joined(token: int, piece: str) -> bool:
    """Whether no space stands before a token, whatever comes before it."""
    return token in GLUE or token in MARKS or token < len(SPECIAL_TOKENS) or piece.startswith(_CONTINUED)


def is_joining(token: int) -> bool:
    """Whether no space stands behind a token."""
    return token == HYPHEN or token < len(SPECIAL_TOKENS)


def ends_sentence(token: int) -> bool:
    """Whether a sentence begins behind a token; behind a newline it depends on what stands before that."""
    return token in FINAL_MARKS or (token < len(SPECIAL_TOKENS) and token != NEWLINE)
