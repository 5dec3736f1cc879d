"""Forbidden words, special tokens and empty poems: none of them reaches a reader."""

from __future__ import annotations

import dataclasses
import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from img2poem import BeamSearch, BestOf, Form, Greedy, Img2Poem, InvalidOption, NoPoem, Sampling
from img2poem.flows import Written, _checked
from img2poem.nn.search import GreedySearch
from img2poem.results import Model
from img2poem.text import EOS, NEWLINE, PAD, SPECIAL_TOKENS
from img2poem.vocabulary import (
    bans,
    begins_line,
    default_forbidden,
    forbidden_in,
    forbidden_tokens,
    is_word,
    text_of,
    word_list,
)

from .nn.models import PIECES, embeddings, options, small_decoder

LETTERS = "ab"
#: Every piece of up to three letters, so that each word has as many spellings as can be.
PARTS = [x + y + z for x in LETTERS for y in ("", *LETTERS) for z in ("", *LETTERS)]
ALL = [*SPECIAL_TOKENS, "'", "-", *dict.fromkeys(PARTS), *(f"##{part}" for part in dict.fromkeys(PARTS))]
WORDS = st.lists(st.text(LETTERS, min_size=1, max_size=5), min_size=1, max_size=3, unique=True)


def walk(allow: object, seed: int, steps: int = 60) -> list[int]:
    """Return tokens that a decoder could write: any, but for line beginnings and what is not allowed."""
    chance, said = random.Random(seed), [NEWLINE]
    candidates = [i for i, piece in enumerate(ALL) if i == NEWLINE or is_word(piece)]
    for _ in range(steps):
        first = said[-1] == NEWLINE
        fitting = [i for i in candidates if not first or begins_line(ALL[i])]
        fitting = [i for i in fitting if allow(said[-1], i)]  # type: ignore[operator]
        if fitting:
            said.append(chance.choice(fitting))
    return said[1:]


@given(WORDS, st.integers())
def test_no_spelling_of_a_forbidden_word_comes_through(words: list[str], seed: int) -> None:
    text = text_of(walk(bans(words, ALL).allow, seed), ALL)
    assert not forbidden_in(text, words)


@given(WORDS, st.integers())
def test_numbers_say_the_same_as_bans(words: list[str], seed: int) -> None:
    numbers = set(forbidden_tokens(words, ALL, 10_000))

    def allow(previous: int, token: int) -> bool:
        return token not in numbers and previous * len(ALL) + token not in numbers

    assert not forbidden_in(text_of(walk(allow, seed), ALL), words)


def test_without_bans_the_walk_comes_to_them() -> None:
    assert forbidden_in(text_of(walk(lambda previous, token: True, 0), ALL), ["ab", "ba", "aab"])


@given(st.lists(st.integers(0, len(ALL) - 1), max_size=40))
def test_special_tokens_stand_in_no_text(ids: list[int]) -> None:
    text = text_of(ids, ALL)
    assert not re.search(r"[^ab' \n-]", text) and text.count("\n") <= ids.count(NEWLINE)


@pytest.mark.parametrize("seed", range(3))
def test_a_package_forbids_words_in_every_search(seed: int) -> None:
    free = small_decoder(seed=seed)
    words = ["the", "sea", "wide", "blue", "old", "oldr", "rain", "rainly"]
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
@given(seed=st.integers(0, 2**63 - 1), temperature=st.sampled_from([0.8, 2.0, 4.0]), tokens=st.sampled_from([2, 3, 96]))
def test_every_poem_is_words_and_lines(
    poet: Img2Poem, photos: list[bytes], seed: int, temperature: float, tokens: int
) -> None:
    """As hot as it gets, the words are as unlikely as they can be."""
    strategy = Sampling(seed=seed, temperature=temperature, top_p=1.0, max_tokens=tokens, repetition_penalty=1.0)
    poem = poet.write(photos[seed % len(photos)], strategy)
    assert re.fullmatch(r"[a-z' -]+(\n[a-z' -]+)*", poem.text), poem.text
    assert not forbidden_in(poem.text, default_forbidden()) and len(poem.lines) == poem.text.count("\n") + 1


def test_a_form_brings_no_forbidden_word(poet: Img2Poem, photos: list[bytes]) -> None:
    """Acrostic and rhyme propose words that the decoder did not: of these too the forbidden ones are left out."""
    forbidden = ("the", "to", "this", "that", "there", "they", "then", "thy", "thou", "through", "till", "though")
    for strategy in (Greedy(forbidden=forbidden), BestOf(2, Sampling(seed=1, forbidden=forbidden))):
        poem = poet.write(photos[0], strategy, form=Form(acrostic="TTTT"))
        assert [line[0] for line in poem.lines] == ["t"] * 4 and not forbidden_in(poem.text, forbidden)
    with pytest.raises(InvalidOption, match="bastard cannot be both demanded and forbidden"):
        poet.write(photos[0], BeamSearch(), form=Form(include=("bastard",)))


def test_no_poem_is_an_error() -> None:
    model = Model("lite", "1", "")
    with pytest.raises(NoPoem, match="no word"):
        _checked(Written("", (EOS,), 0.0, None, model), Greedy())
    with pytest.raises(NoPoem, match="came to sea"):
        _checked(Written("by the sea", (7, EOS), 0.0, None, model), Greedy(forbidden=("sea",)))


def test_the_default_list_can_be_read_and_changed(tmp_path: Path) -> None:
    assert len(default_forbidden()) > 100 and all(re.fullmatch("[a-z]+", word) for word in default_forbidden())
    (tmp_path / "words.txt").write_text("# mine\nsea\n\n love \n")
    assert word_list(tmp_path / "words.txt") == ("sea", "love")
    with pytest.raises(InvalidOption, match="cannot be read"):
        word_list(tmp_path / "none.txt")
