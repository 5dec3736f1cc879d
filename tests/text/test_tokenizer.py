from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from img2poem.text.orthography import Orthography
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import BOS, EOS, NEWLINE, PAD, UNK

from ..packages import corpus, corpus_tokenizer

TOKENIZER, DECODER_SIZE, FOUND = corpus_tokenizer()


def test_common_words_are_one_token_and_come_early() -> None:
    ids = TOKENIZER.encode("the sea\nthe night")
    assert len(ids) == 5 and ids[2] == NEWLINE and max(ids) < 1000
    assert TOKENIZER.limited(DECODER_SIZE).encode("the sea\nthe night") == ids


def test_the_aligner_reads_any_word_and_the_decoder_whole_ones() -> None:
    assert UNK not in TOKENIZER.encode("quixotically, zyxwv!")
    assert TOKENIZER.limited(DECODER_SIZE).encode("zyxwv") == [UNK]
    assert not any(piece.startswith("##") for piece in TOKENIZER.pieces[:DECODER_SIZE])


def test_poems_are_read_and_written_as_people_write_them() -> None:
    orthography, same = Orthography(TOKENIZER.pieces[:DECODER_SIZE], *FOUND), 0
    for poem, ids in zip(corpus()[:300], TOKENIZER.encode_batch(corpus()[:300]), strict=True):
        if max(ids) < DECODER_SIZE and all(orthography.allow(*pair) for pair in pairwise(ids)):
            assert TOKENIZER.decode(ids).lower() == poem.lower()
            assert TOKENIZER.encode(TOKENIZER.decode(ids)) == ids
            same += TOKENIZER.decode(ids) == poem
    assert same > 250, "but for names that no list has"


def test_special_tokens_never_reach_the_text() -> None:
    ids = [BOS, *TOKENIZER.encode("the sea"), NEWLINE, *TOKENIZER.encode("is wide"), EOS, PAD, PAD]
    assert TOKENIZER.decode(ids) == "The sea\nis wide"
    assert TOKENIZER.decode([BOS, EOS]) == ""


def test_encoding_many_texts_is_encoding_each() -> None:
    texts = ["the sea", "a light\nin the night", "x"]
    assert TOKENIZER.encode_batch(texts) == [TOKENIZER.encode(text) for text in texts]


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="not a tokenizer"):
        PoemTokenizer.from_file(tmp_path / "tokenizer.json")
    with pytest.raises(FileNotFoundError):
        PoemTokenizer.from_file(tmp_path / "none.json")


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path / "tokenizer.json")
    again = PoemTokenizer.from_file(tmp_path / "tokenizer.json")
    assert list(again.pieces) == list(TOKENIZER.pieces)
