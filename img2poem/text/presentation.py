"""Renders tokens as readable text: capitals and spacing.

The served graph ``poem_text`` is built from the same tables (:mod:`export.poem_text`), so every engine gives the same
text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .vocabulary import EOS, FINAL_MARKS, GLUE, HYPHEN, MARKS, NEWLINE, PAD, SPECIAL_TOKENS

_CONTINUED = "##"
# Words that are always capitalised. "march" and "may" are left out: they are also other words.
_NAMES = frozenset(
    "i o monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays"
    " saturdays sundays january february april june july august september october november december christmas easter"
    " halloween america american africa african europe european asia asian china chinese england english france french"
    " india indian italy italian japan japanese london paris spanish".split()
)
_ABBREVIATIONS = frozenset({"tv", "dj", "ok"})


def text_of(ids: Iterable[int], pieces: Sequence[str]) -> str:
    """Return the text of token ids, with capitals at the beginning of sentences and for names and "I".

    A sentence may continue on the next line. Special tokens are left out, as is a newline at the very end, before the
    end token or padding.
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
    """Return a token's text, capitalised if it ``begins`` a sentence; empty for special tokens except the newline."""
    if token < len(SPECIAL_TOKENS):
        return "\n" if token == NEWLINE else ""
    if piece.startswith(_CONTINUED):
        return piece.removeprefix(_CONTINUED)
    if piece in _ABBREVIATIONS:
        return piece.upper()
    return piece[:1].upper() + piece[1:] if begins or piece in _NAMES else piece


def is_joined(token: int, piece: str) -> bool:
    """Whether a token is never preceded by a space."""
    return token in GLUE or token in MARKS or token < len(SPECIAL_TOKENS) or piece.startswith(_CONTINUED)


def is_joining(token: int) -> bool:
    """Whether a token is never followed by a space."""
    return token == HYPHEN or token < len(SPECIAL_TOKENS)


def ends_sentence(token: int) -> bool:
    """Whether a sentence begins after a token; False for a newline, where the token before it decides."""
    return token in FINAL_MARKS or (token < len(SPECIAL_TOKENS) and token != NEWLINE)
