"""Forbidden words, special tokens and empty poems never reach a reader."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from img2poem import BeamSearch, BestOf, Form, Greedy, Img2Poem, InvalidOption, NoPoem, Sampling
from img2poem.client.operations import Written, _checked
from img2poem.client.results import Model
from img2poem.nn.search import GreedySearch
from img2poem.text.presentation import text_of
from img2poem.text.vocabulary import EOS, PAD, default_forbidden, forbidden_tokens, word_list

from ..nn.models import PIECES, embeddings, options, small_decoder


def forbidden_in(text: str, words: Collection[str]) -> set[str]:
    """Return which of ``words`` occur in ``text``, alone or in a compound."""
    return {*words} & {*re.findall("[a-z]+", text.lower())}


def test_a_forbidden_word_is_its_token() -> None:
    assert forbidden_tokens(["sea", "nowhere", "the"], PIECES) == [PIECES.index("sea"), PIECES.index("the")]


@pytest.mark.parametrize("seed", range(3))
def test_a_package_forbids_words_in_every_search(seed: int) -> None:
    free = small_decoder(seed=seed)
    words = ["the", "sea", "wide", "blue", "old", "rain", "nowhere"]
    bound = small_decoder(seed=seed)
    bound.config = dataclasses.replace(free.config, forbidden_words=words)
    texts = []
    for decoder in (free, bound):
        found = GreedySearch(decoder, PIECES)(embeddings(16), options(16))
        texts.append([text_of([t for t in row.tolist() if t not in (PAD, EOS)], PIECES) for row in found.tokens])
    assert any(forbidden_in(text, words) for text in texts[0]), "it would write them"
    assert not any(forbidden_in(text, words) for text in texts[1]) and all(texts[1])


@pytest.fixture(scope="module")
def poet(repository: Path) -> Img2Poem:
    return Img2Poem(repository)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**63 - 1), temperature=st.sampled_from([0.8, 2.0, 4.0]), tokens=st.sampled_from([3, 4, 96]))
def test_every_poem_is_words_and_lines(
    poet: Img2Poem, photos: list[bytes], seed: int, temperature: float, tokens: int
) -> None:
    """The highest temperature makes unlikely words as likely as possible."""
    strategy = Sampling(seed=seed, temperature=temperature, top_p=1.0, max_tokens=tokens, repetition_penalty=1.0)
    poem = poet.write(photos[seed % len(photos)], strategy)
    assert re.fullmatch(r"[A-Z]([A-Za-z',.;:?! \n-]*[a-zA-Z'])?[.?!]", poem.text), poem.text
    assert not re.search(r" [,.;:?!'-]|[,;:-]{2}|-\W|\n\W|\n\n", poem.text), poem.text
    assert not forbidden_in(poem.text, default_forbidden()) and len(poem.lines) == poem.text.count("\n") + 1


def test_a_form_brings_no_forbidden_word(poet: Img2Poem, photos: list[bytes]) -> None:
    """Acrostic and rhyme add words that the decoder did not propose; forbidden words are excluded there too."""
    forbidden = ("the", "to", "this", "that", "there", "they", "then", "thy", "thou", "through", "till", "though")
    for strategy in (Greedy(forbidden=forbidden), BestOf(2, Sampling(seed=1, forbidden=forbidden))):
        poem = poet.write(photos[0], strategy, form=Form(acrostic="TTTT"))
        assert [line[0].lower() for line in poem.lines] == ["t"] * 4 and not forbidden_in(poem.text, forbidden)
    with pytest.raises(InvalidOption, match="pricks cannot be both demanded and forbidden"):
        poet.write(photos[0], BeamSearch(), form=Form(include=("pricks",)))


def test_no_poem_is_an_error() -> None:
    model = Model("lite", "1", "")
    with pytest.raises(NoPoem, match="no word"):
        _checked(Written("", (EOS,), 0.0, None, model))


def test_the_default_list_can_be_read_and_changed(tmp_path: Path) -> None:
    assert len(default_forbidden()) > 100 and all(re.fullmatch("[a-z]+", word) for word in default_forbidden())
    (tmp_path / "words.txt").write_text("# mine\nsea\n\n love \n")
    assert word_list(tmp_path / "words.txt") == ("sea", "love")
    with pytest.raises(InvalidOption, match="cannot be read"):
        word_list(tmp_path / "none.txt")
