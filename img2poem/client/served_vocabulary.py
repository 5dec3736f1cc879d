"""The vocabulary of the served package, fetched once, and what is built from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from ..decoding.search import Searches
from ..decoding.strategies import MAX_TOKENS
from ..requests import Flow, infer_rows, look
from ..text.orthography import Orthography

if TYPE_CHECKING:
    from ..text.tokenizer import PoemTokenizer


class ServedVocabulary:
    """Flows that fetch the vocabulary at first use. Safe to share among threads."""

    def __init__(self) -> None:
        self._pieces: list[str] | None = None
        self._tokenizer: PoemTokenizer | None = None
        self._searches: Searches | None = None

    def decoder_pieces(self) -> Flow[list[str]]:
        """Return the decoder's vocabulary by id."""
        size = int((yield from look("poem_text")).stamps["vocabulary_size"])
        return (yield from self._all_pieces())[:size]

    def searches(self) -> Flow[Searches]:
        """Return the numpy searches over the served decoder steps."""
        if self._searches is None:
            pieces = yield from self.decoder_pieces()
            stamps = (yield from look("poem_text")).stamps
            words = (json.loads(stamps[name]) for name in ("contractions", "stems", "forbidden_words"))
            first, step = (yield from look("decoder_init")), (yield from look("decoder_step"))
            self._searches = Searches(Orthography(pieces, *words), min(first.max_batch, step.max_batch))
        return self._searches

    def tokenizer(self) -> Flow[PoemTokenizer]:
        """Return the aligner's tokenizer."""
        if self._tokenizer is None:
            from ..text.tokenizer import PoemTokenizer

            self._tokenizer = PoemTokenizer.from_pieces((yield from self._all_pieces()))
        return self._tokenizer

    def _all_pieces(self) -> Flow[list[str]]:
        """Return the aligner's vocabulary by id. The decoder's vocabulary is the first part of it."""
        if self._pieces is None:
            info = yield from look("poem_text")
            size = int(info.stamps["aligner_vocabulary_size"])
            rows = np.arange(-(-size // MAX_TOKENS) * MAX_TOKENS).clip(max=size - 1).reshape(-1, MAX_TOKENS)
            [pieces] = yield from infer_rows("poem_text", {"tokens": rows}, ["pieces"], info.max_batch)
            pieces = pieces.reshape(-1)[:size]
            self._pieces = [piece.decode() if isinstance(piece, bytes) else str(piece) for piece in pieces]
        return self._pieces
