"""What the pieces of the decoder's vocabulary are to a poem, and how a word is spelt with them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from .errors import InvalidOption

#: Of these, captions, free and rhymed poems begin with their own token where a decoder is to know what it reads.
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "\n", "[CAPTION]", "[FREE]", "[RHYMED]")
PAD, BOS, EOS, UNK, NEWLINE, CAPTION, FREE, RHYMED = range(len(SPECIAL_TOKENS))
#: Punctuation that poems may have, the first ids behind the special tokens.
PUNCTUATION = (",", ".", ";", ":", "?", "!", "-", "'")
#: Ends of words that are tokens of their own: "it's" is "it" and "'s".
SUFFIXES = ("'s", "'t", "'ll", "'re", "'ve", "'d", "'m")

#: Longest n-gram that may be kept from coming twice.
MAX_NGRAM = 4

_MARK = "##"
_HYPHENS = ("'", "-")


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


class Bans(NamedTuple):
    """What keeps words out of a poem: pieces that do not come, and pieces that do not come one after the other."""

    pieces: frozenset[int]
    pairs: frozenset[tuple[int, int]]

    def allow(self, previous: int, token: int) -> bool:
        """Whether ``token`` may follow ``previous``."""
        return token not in self.pieces and (previous, token) not in self.pairs


def bans(words: Iterable[str], pieces: Sequence[str]) -> Bans:
    """Return what keeps ``words`` (letters a to z) out of a poem in the vocabulary ``pieces``, however they are spelt.

    A word is what stands between spaces, apostrophes and hyphens. It can be spelt with one piece, or in all the ways
    that it can be cut into several; of these the last two do not come together. So a word that goes on behind it
    (``seas`` behind ``sea``) is kept out too, if it is spelt with the same pieces.
    """
    ids = {piece: i for i, piece in enumerate(pieces)}
    whole = [ids[word] for word in words if word in ids]
    pairs = {pair for word in words for pair in _last_pairs(word, ids)}
    return Bans(frozenset(whole), frozenset(pairs))


def _last_pairs(word: str, ids: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Yield the last two pieces of each way to spell ``word`` with several; behind an apostrophe, its first ones."""
    length = len(word)
    spelt = {0}  # places up to which the word can be spelt
    for end in range(1, length + 1):
        ways = [(i, ids[piece]) for i in sorted(spelt) if (piece := _part(word, i, end)) in ids]
        if ways:
            spelt.add(end)
        if (last := ids.get(_MARK + word[end:])) is not None and end < length:
            yield from ((piece, last) for _, piece in ways)
        if (joined_on := ids.get(_MARK + word[:end])) is not None:
            yield from ((ids[hyphen], joined_on) for hyphen in _HYPHENS if hyphen in ids)


def _part(word: str, start: int, end: int) -> str:
    return (_MARK if start else "") + word[start:end]


def forbidden_tokens(words: Sequence[str], pieces: Sequence[str], width: int) -> list[int]:
    """Return at most ``width`` numbers that keep ``words`` out of a poem, those that do most first.

    A number below the size of the vocabulary is a piece; ``previous * size + token`` are two that do not come together.
    First comes what keeps out each word as the tokenizer spells it, then, as far as there is room, its other spellings.
    """
    ids, size = {piece: i for i, piece in enumerate(pieces)}, len(pieces)
    usual, others = [], []
    for word in words:
        spelt = spell(word, ids)
        usual.append(spelt[0] if len(spelt) == 1 else spelt[-2] * size + spelt[-1])
        others.append([previous * size + token for previous, token in _last_pairs(word, ids)])
    rounds = (number for turn in zip_longest(*others) for number in turn if number is not None)
    return list(dict.fromkeys([*usual, *rounds]))[:width]


def forbidden_in(text: str, words: Collection[str]) -> set[str]:
    """Return which of ``words`` stand in ``text``."""
    return {*words} & {*re.findall("[a-z]+", text)}


@cache
def default_forbidden() -> tuple[str, ...]:
    """Return the words of ``forbidden_words.txt``."""
    return word_list(Path(__file__).with_name("forbidden_words.txt"))


def word_list(path: Path) -> tuple[str, ...]:
    """Read a file of words, one a line; lines that begin with ``#`` are remarks.

    Raises:
        InvalidOption: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise InvalidOption(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
