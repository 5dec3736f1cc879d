from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem.package import load_config
from img2poem.text import BOS, EOS, NEWLINE, PAD, UNK, PoemTokenizer

from .conftest import WEIGHTS

TOKENIZER = PoemTokenizer.from_file(WEIGHTS / "tokenizer.json")
DECODER_SIZE = load_config(WEIGHTS).decoder.vocabulary_size

plain_word = st.from_regex(r"[a-z]{1,12}((['-])[a-z]{1,4})?", fullmatch=True)
plain_poem = st.lists(st.lists(plain_word, min_size=1, max_size=6).map(" ".join), min_size=1, max_size=5).map("\n".join)


@given(plain_poem, st.sampled_from([DECODER_SIZE, 600]))
def test_any_plain_poem_survives_the_decoders_vocabulary(poem: str, size: int) -> None:
    """There is no unknown word: whatever the size, what is missing is spelt with smaller pieces."""
    limited = TOKENIZER.limited(size)
    ids = limited.encode(poem)
    assert UNK not in ids and max(ids) < size
    assert limited.decode(ids) == poem
    assert TOKENIZER.decode(ids) == poem, "the decoder's ids mean the same to the aligner"


def test_common_words_are_one_token_and_come_early() -> None:
    ids = TOKENIZER.encode("the sea\nthe night")
    assert len(ids) == 5 and ids[2] == NEWLINE and max(ids) < 1000
    assert TOKENIZER.limited(DECODER_SIZE).encode("the sea\nthe night") == ids


def test_special_tokens_never_reach_the_text() -> None:
    ids = [BOS, *TOKENIZER.encode("the sea"), NEWLINE, *TOKENIZER.encode("is wide"), EOS, PAD, PAD, UNK]
    assert TOKENIZER.decode(ids) == "the sea\nis wide"
    assert TOKENIZER.decode([BOS, EOS]) == ""


def test_apostrophes_and_hyphens_are_joined() -> None:
    text = "o'er the half-lit sea\ni don't know"
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


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
