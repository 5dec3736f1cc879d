"""Orthography: which tokens of the decoder's vocabulary may follow which, so that output is words and sentences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPackage, InvalidOption
from .vocabulary import (
    APOSTROPHE,
    EOS,
    FINAL_MARKS,
    FIRST_WORD,
    HYPHEN,
    MARKS,
    NEWLINE,
    PUNCTUATION,
    SPECIAL_TOKENS,
    SUFFIX_IDS,
    SUFFIXES,
    is_penalised,
    is_word,
    takes_s,
)

#: Kinds of tokens, by what must still follow in the poem. WORD: a final mark. OPEN (a comma, a hyphen, "don") and
#: LINE_END: another word or the rest of the word, then a final mark. FINAL: nothing but the end token.
WORD, OPEN, FINAL, LINE_END, POEM_END = range(5)


class Orthography:
    """Kinds of tokens, and which tokens may follow which.

    A line begins with a word. A punctuation mark follows a word, a hyphen stands between two words, and a lone
    apostrophe follows a word that ends in s. A suffix follows a word with which it forms a contraction; ``'s`` follows
    most words. The searches leave room for the tokens that must follow: :class:`img2poem.nn.rules.Rules` and
    :class:`img2poem.decoding.search.Rules`.

    Args:
        pieces: the decoder's vocabulary by id.
        contractions: such as "it's"; see :func:`img2poem.text.vocabulary.contractions`.
        stems: words that occur only with a suffix, such as "don".
        forbidden: words that must not occur.

    Raises:
        BadPackage: the vocabulary does not begin with the expected tokens, or a contraction is malformed.
    """

    def __init__(
        self,
        pieces: Sequence[str],
        contractions: Collection[str] = (),
        stems: Collection[str] = (),
        forbidden: Collection[str] = (),
    ) -> None:
        if tuple(pieces[:FIRST_WORD]) != (*SPECIAL_TOKENS, *PUNCTUATION, *SUFFIXES):
            raise BadPackage(
                "the vocabulary does not begin with the special tokens, punctuation and suffixes of this "
                "release; train the package again"
            )
        self.pieces, self.forbidden = pieces, frozenset(forbidden)
        self._ids = {piece: i for i, piece in enumerate(pieces)}
        tokens = np.arange(len(pieces))
        #: bool ``[vocabulary]`` each: whole words; words that the repetition penalty applies to; tokens that leave a
        #: word unfinished; marks that end a sentence.
        self.words = np.array([i >= FIRST_WORD and is_word(piece) for i, piece in enumerate(pieces)])
        self.penalised = self.words & np.array([is_penalised(piece) for piece in pieces])
        self.unfinished = (tokens == HYPHEN) | np.isin(pieces, [*stems])
        self.final = np.isin(tokens, [*FINAL_MARKS])
        #: The kind of each token, int64 ``[vocabulary]``.
        self.kind = np.where(self.unfinished | np.isin(tokens, [*MARKS]), OPEN, WORD)
        self.kind[[*FINAL_MARKS]] = FINAL
        self.kind[NEWLINE], self.kind[EOS] = LINE_END, POEM_END
        self.row, self.allowed = self._succession(contractions, {*stems})

    @classmethod
    def of(cls, config: Any, pieces: Sequence[str]) -> Orthography:
        """Return the orthography of a decoder.

        Args:
            config: a :class:`img2poem.artifacts.package.DecoderConfig`.
            pieces: the aligner's vocabulary by id, which begins with the decoder's.
        """
        own = pieces[: config.vocabulary_size]
        return cls(own, config.contractions, config.stems, config.forbidden_words)

    def allow(self, previous: int, token: int) -> bool:
        """Whether ``token`` may follow ``previous``."""
        return bool(self.allowed[self.row[previous], token])

    def token_of(self, word: str) -> int:
        """Return the id of a word that a form can require.

        Raises:
            InvalidOption: the vocabulary has no such word, or only as a stem.
        """
        token = self._ids.get(word, 0)
        if not self.words[token] or self.unfinished[token]:
            raise InvalidOption(f"the vocabulary has no word {word!r}")
        return token

    def _succession(
        self, contractions: Collection[str], stems: set[str]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return each token's row, ``[vocabulary]``, and the tokens allowed after each row, ``[rows, vocabulary]``.

        Every row allows newline and end token: whether a line or the poem may end does not depend on the last token
        alone.
        """
        suffixes: dict[str, set[int]] = {}
        for contraction in contractions:
            word, _, rest = contraction.partition("'")
            if f"'{rest}" not in SUFFIX_IDS:
                raise BadPackage(f"{contraction!r} in config.json is not a word with one of {', '.join(SUFFIXES)}")
            suffixes.setdefault(word, set()).add(SUFFIX_IDS[f"'{rest}"])
        # Row 0 is for tokens that are neither a word nor the end of one: a word must follow.
        rows: dict[tuple[bool, bool, frozenset[int]], int] = {(True, False, frozenset()): 0}
        row = np.zeros(len(self.pieces), np.int64)
        for token, piece in enumerate(self.pieces):
            attached = set(suffixes.get(piece, ()))
            if piece in stems:
                key = (False, False, frozenset(attached))
            elif self.words[token]:
                attached |= {HYPHEN, *([SUFFIX_IDS["'s"]] * takes_s(piece))}
                attached |= {APOSTROPHE} if piece.endswith("s") and takes_s(piece) else set()
                key = (True, True, frozenset(attached))
            elif token in (APOSTROPHE, *SUFFIX_IDS.values()):
                key = (True, True, frozenset())
            else:
                continue
            row[token] = rows.setdefault(key, len(rows))
        allowed = np.zeros((len(rows), len(self.pieces)), bool)
        words = self.words & ~np.isin(self.pieces, [*self.forbidden])
        for (before_word, before_mark, ends), number in rows.items():
            allowed[number] = words & before_word
            allowed[number, [*MARKS]] = before_mark
            allowed[number, [*ends, NEWLINE, EOS]] = True
        return row, allowed
