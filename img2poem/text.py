"""The one tokenizer: BERT's WordPiece with a newline token, in an order that suits the decoder.

BERT's pieces keep their meaning but get new ids: the pieces that poems use come first, by falling
frequency. The decoder's vocabulary is then simply the ids below ``vocabulary_size``, and the aligner
reads the decoder's output as it is, without a table in between.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from .vocabulary import BOS, EOS, NEWLINE, PAD, SPECIAL_TOKENS, UNK, joined, needs_no_space, text_of

__all__ = ["BOS", "EOS", "NEWLINE", "PAD", "SPECIAL_TOKENS", "UNK", "PoemTokenizer", "joined", "needs_no_space"]


class PoemTokenizer:
    """Text to token ids and back, for the decoder (``limit``) and the aligner (no limit)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._pieces = sorted(vocabulary, key=vocabulary.__getitem__)

    @classmethod
    def from_file(cls, path: Path) -> PoemTokenizer:
        """Load a ``tokenizer.json``; raises ``OSError`` or ``ValueError`` when it is not one."""
        try:
            return cls(Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except OSError:
            raise
        except Exception as error:  # tokenizers raises plain Exception
            raise ValueError(f"{path} is not a tokenizer file: {error}") from error

    @classmethod
    def from_pieces(cls, pieces: Sequence[str]) -> PoemTokenizer:
        """Return the tokenizer of a vocabulary alone, given by id: BERT's (lower case), with a newline token."""
        vocabulary = {piece: i for i, piece in enumerate(pieces)}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL_TOKENS[UNK]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        _add_special_tokens(tokenizer)
        return cls(tokenizer)

    @classmethod
    def from_bert(cls, tokenizer_json: str, poems: Iterable[str], captions: Iterable[str]) -> PoemTokenizer:
        """Reorder the pieces of BERT's ``tokenizer.json`` by their frequency in ``poems``.

        Pieces that neither poems nor captions use are left out (a fifth of them); words that would
        need them are spelt with smaller ones.
        """
        bert = Tokenizer.from_str(tokenizer_json)
        bert.no_padding()
        bert.no_truncation()
        in_poems, in_captions = (_counts(bert, texts) for texts in (poems, captions))
        # Single characters come before all else: whatever the limit, every word can be spelt.
        ascii_pieces = [p for p in bert.get_vocab() if p.isascii() and not p.startswith("[")]
        spelling = sorted(p for p in ascii_pieces if len(p.removeprefix("##")) == 1)
        used = (in_poems.keys() | in_captions.keys()) & set(ascii_pieces) - set(spelling)
        pieces = sorted(used, key=lambda p: (-in_poems[p], p))
        return cls(_with_vocabulary(tokenizer_json, [*SPECIAL_TOKENS, *spelling, *pieces]))

    def limited(self, vocabulary_size: int) -> PoemTokenizer:
        """Return the same tokenizer with only the first ``vocabulary_size`` ids (the decoder's)."""
        return type(self)(_with_vocabulary(self._tokenizer.to_str(), self._pieces[:vocabulary_size]))

    @property
    def pieces(self) -> Sequence[str]:
        """WordPiece strings by id."""
        return self._pieces

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``, without special tokens but with newlines."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` for many texts at once, in parallel."""
        return [e.ids for e in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids``: special tokens left out, pieces joined."""
        return text_of(ids, self._pieces)

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json``."""
        path.write_text(self._tokenizer.to_str(pretty=False), encoding="utf-8")


def _counts(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        counts.update(encoding.tokens)
    return counts


def _with_vocabulary(tokenizer_json: str, pieces: Sequence[str]) -> Tokenizer:
    spec = json.loads(tokenizer_json)
    spec["model"]["vocab"] = {piece: i for i, piece in enumerate(pieces)}
    spec["added_tokens"] = []
    spec["padding"] = spec["truncation"] = spec["post_processor"] = None
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    _add_special_tokens(tokenizer)
    return tokenizer


def _add_special_tokens(tokenizer: Tokenizer) -> None:
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL_TOKENS])
