"""The decoder's vocabulary: special tokens, punctuation, suffixes, words, contractions and forbidden words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..errors import InvalidOption

#: ``[CAPTION]``, ``[FREE]``, ``[RHYMED]`` begin captions, free and rhymed poems if a decoder must tell them apart.
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "\n", "[CAPTION]", "[FREE]", "[RHYMED]")
PAD, BOS, EOS, UNK, NEWLINE, CAPTION, FREE, RHYMED = range(len(SPECIAL_TOKENS))
#: Punctuation of poems: the first ids after the special tokens.
PUNCTUATION = (",", ".", ";", ":", "?", "!", "-", "'")
#: Word endings that are separate tokens, the ids after the punctuation: "it's" is "it" and "'s".
SUFFIXES = ("'s", "'t", "'ll", "'re", "'ve", "'d", "'m")
#: Id of the first whole word.
FIRST_WORD = len(SPECIAL_TOKENS) + len(PUNCTUATION) + len(SUFFIXES)

COMMA, PERIOD, SEMICOLON, COLON, QUESTION, EXCLAMATION, HYPHEN, APOSTROPHE = range(
    len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + len(PUNCTUATION)
)
SUFFIX_IDS = {suffix: i for i, suffix in enumerate(SUFFIXES, APOSTROPHE + 1)}
#: Marks that follow a word, and the ones among them that end a sentence.
MARKS = frozenset({COMMA, PERIOD, SEMICOLON, COLON, QUESTION, EXCLAMATION})
FINAL_MARKS = frozenset({PERIOD, QUESTION, EXCLAMATION})
#: Tokens that the rules may force although they are unlikely, so they are always among a step's candidates. The marks
#: must be the first ids after the special tokens.
ALWAYS = (NEWLINE, EOS, COMMA, PERIOD)
#: Tokens joined to the word before them.
GLUE = frozenset({HYPHEN, APOSTROPHE, *SUFFIX_IDS.values()})

#: Longest n-gram that ``no_repeat_ngram`` can ban.
MAX_NGRAM = 4

# Words of three letters or more that do not take "'s".
_NO_OWNERS = frozenset(
    "the and but for from with was are his her its our your their that this these those than who whom which when where"
    " while into upon not has had have were very every they you she him them then there here now out off down over"
    " under after before through just only too also all both some any more most such same yet still even ever never"
    " always again away back been being can could would should may might must shall will did does doing".split()
)


class Contractions(NamedTuple):
    """Contractions and stems found in texts."""

    #: Words with their suffix, such as "it's"; without those that :func:`takes_s` allows anyway, such as "dog's".
    words: list[str]
    #: Words that occur only with ``'t``, such as "don".
    stems: list[str]


def contractions(texts: Iterable[str]) -> Contractions:
    """Return the contractions in ``texts``; a stem is a word that occurs only with ``'t``."""
    alone: set[str] = set()
    found: set[tuple[str, str]] = set()
    for text in texts:
        for word, suffix in re.findall(rf"([a-z]+)((?:{'|'.join(SUFFIXES)})(?![a-z]))?", text.lower()):
            if suffix:
                found.add((word, suffix))
            else:
                alone.add(word)
    with_not = {word for word, suffix in found if suffix == "'t"}
    others = {word for word, suffix in found if suffix != "'t"}
    listed = [word + suffix for word, suffix in found if not (suffix == "'s" and takes_s(word))]
    return Contractions(sorted(listed), sorted(with_not - others - alone))


def is_word(piece: str) -> bool:
    """Whether ``piece`` is a whole word."""
    return bool(re.fullmatch(r"[a-z]+(?:'[a-z]+)?", piece))


def takes_s(word: str) -> bool:
    """Whether ``'s`` may follow ``word`` even if no list of contractions has it."""
    return len(word) >= 3 and word not in _NO_OWNERS


def is_penalised(piece: str) -> bool:
    """Whether the repetition penalty applies to ``piece``: to words of three letters or more.

    Shorter words, such as "i", "a" and "of", are in every poem.
    """
    return is_word(piece) and len(piece) >= 3


def forbidden_tokens(words: Iterable[str], pieces: Iterable[str]) -> list[int]:
    """Return the ids of ``words`` in the vocabulary ``pieces``; words that it lacks are left out."""
    ids = {piece: i for i, piece in enumerate(pieces)}
    return [ids[word] for word in words if word in ids]


@cache
def default_forbidden() -> tuple[str, ...]:
    """Return the words of ``forbidden_words.txt``."""
    return word_list(Path(__file__).with_name("forbidden_words.txt"))


def word_list(path: Path) -> tuple[str, ...]:
    """Read a file of words, one per line; lines that begin with ``#`` are comments.

    Raises:
        InvalidOption: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise InvalidOption(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
