"""The tokenizer of decoder and aligner: WordPiece over lower-case text, with a newline token.

The words of the training texts come first, each as a whole, by falling frequency. They are the decoder's vocabulary,
the ids below ``vocabulary_size``: the decoder cannot write a word that does not exist. BERT's pieces follow, with which
the aligner can read any text. The aligner reads the decoder's ids as they are, without conversion.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from .presentation import text_of
from .vocabulary import BOS, EOS, NEWLINE, PAD, PUNCTUATION, SPECIAL_TOKENS, SUFFIXES, UNK

__all__ = ["BOS", "EOS", "NEWLINE", "PAD", "SPECIAL_TOKENS", "UNK", "PoemTokenizer"]

# A suffix such as "'s", the one common word with an apostrophe inside, a word, or any other character.
_WORDS = rf"(?:{'|'.join(SUFFIXES)})(?![a-z])|o'clock(?![a-z])|[a-z]+|[0-9]|[^a-z0-9]"

# Fewest occurrences with which a word that is only in captions becomes a piece.
_FREQUENT = 6


class PoemTokenizer:
    """Text to token ids and back, for the aligner (all ids) and the decoder (:meth:`limited`)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._pieces = sorted(vocabulary, key=vocabulary.__getitem__)

    @classmethod
    def from_file(cls, path: Path) -> PoemTokenizer:
        """Load a ``tokenizer.json``.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not a tokenizer file.
        """
        try:
            return cls(Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except OSError:
            raise
        except Exception as error:  # tokenizers raises plain Exception
            raise ValueError(f"{path} is not a tokenizer file: {error}") from error

    @classmethod
    def from_pieces(cls, pieces: Sequence[str]) -> PoemTokenizer:
        """Build the tokenizer from its vocabulary by id."""
        vocabulary = {piece: i for i, piece in enumerate(pieces)}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL_TOKENS[UNK]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(_WORDS), "isolated")]
        )
        tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL_TOKENS])
        return cls(tokenizer)

    @classmethod
    def from_bert(
        cls, pieces: Sequence[str], poems: Iterable[str], captions: Iterable[str], size: int
    ) -> tuple[PoemTokenizer, int]:
        """Build a tokenizer whose first ids are the words of the texts; also return the decoder's vocabulary size.

        Args:
            pieces: BERT's pieces by id, which is by falling frequency.
            poems: texts whose words come first, by falling frequency, if they occur twice (captions included).
            captions: texts whose frequent words follow; rare ones are mostly misspelt.
            size: size of the aligner's vocabulary; BERT's pieces fill it up after the words.
        """
        in_poems, in_captions = (_words(texts) for texts in (poems, captions))
        frequent = [word for word, count in in_poems.items() if count + in_captions[word] >= 2]
        frequent += [word for word, count in in_captions.items() if count >= _FREQUENT and word not in in_poems]
        ranked = sorted(frequent, key=lambda word: (-in_poems[word], -in_captions[word], word))
        own = [*SPECIAL_TOKENS, *PUNCTUATION, *SUFFIXES]
        own += [word for word in ranked if word not in own]
        own = own[:size]
        # Single characters come first, so that a small vocabulary has them too: they can spell every word.
        usable = [p for p in pieces if p.isascii() and not p.startswith("[")]
        usable.sort(key=lambda piece: len(piece.removeprefix("##")) > 1)
        return cls.from_pieces(list(dict.fromkeys([*own, *usable]))[: max(size, len(own))]), len(own)

    def limited(self, vocabulary_size: int) -> PoemTokenizer:
        """Return the same tokenizer with only the first ``vocabulary_size`` ids (the decoder's)."""
        return type(self).from_pieces(self._pieces[:vocabulary_size])

    @property
    def pieces(self) -> Sequence[str]:
        """WordPiece pieces by id."""
        return self._pieces

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``, without special tokens but with newlines."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` for many texts at once, in parallel."""
        return [e.ids for e in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return ``ids`` as readable text; see :func:`img2poem.text.presentation.text_of`."""
        return text_of(ids, self._pieces)

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json``."""
        path.write_text(self._tokenizer.to_str(pretty=False), encoding="utf-8")


def _words(texts: Iterable[str]) -> Counter[str]:
    """Return how often each word and suffix occurs in ``texts``."""
    cut = PoemTokenizer.from_pieces(SPECIAL_TOKENS)._tokenizer
    counts: Counter[str] = Counter()
    for text in texts:
        for line in text.splitlines():
            found = cut.pre_tokenizer.pre_tokenize_str(cut.normalizer.normalize_str(line))
            counts.update(word for word, _ in found if re.fullmatch(r"[a-z]+('[a-z]+)?|'[a-z]+", word))
    return counts
