"""Poems of a form: every decoder meets the constraints, and impossible ones are refused before any work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from img2poem import BeamSearch, BestOf, CallEvent, Form, Greedy, Img2Poem, InvalidOption, Sampling
from img2poem.decoding.search import Searches
from img2poem.decoding.strategies import AnyStrategy
from img2poem.form.search import FormSearch
from img2poem.metrics.prosody import rhymes
from img2poem.serving.server import TritonServer
from img2poem.text.orthography import Orthography

from ..nn.models import embeddings, small_decoder
from ..packages import corpus_tokenizer
from ..steps import run_on_torch

STRATEGIES: list[AnyStrategy] = [
    Greedy(),
    BeamSearch(width=3),
    Sampling(seed=4),
    BestOf(4, Sampling(seed=2, temperature=1.0)),
]
FORMS = [
    Form(rhyme="AABB"),
    Form(rhyme="ABAB", acrostic="LOVE"),
    Form(acrostic="spring"),
    Form(lines=3, include=("sea", "old")),
    Form(first_words="in the silence", rhyme="ABBA", include=("moon",)),
    Form(lines=5, rhyme="ABCB", first_words="all the"),
]


@pytest.fixture(scope="module")
def poet(repository: Path) -> Iterator[Img2Poem]:
    with Img2Poem(repository) as poet:
        yield poet


def assert_has(text: str, form: Form) -> None:
    lines = text.split("\n")
    assert len(lines) == (form.count or 3), text
    assert text.lower().startswith(form.first_words) and text[-1] in ".?!"
    words = re.findall("[a-z']+", text.lower())
    assert all(word in words for word in form.include), text
    if form.acrostic:
        assert "".join(line[0] for line in lines).lower() == form.acrostic
    ends = [re.findall("[a-z']+", line.lower())[-1] for line in lines]
    for i, j in combinations(range(len(form.rhyme)), 2):
        same = form.rhyme[i] == form.rhyme[j]
        assert not same or rhymes(ends[i], ends[j]), text


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_poem_has_the_form(poet: Img2Poem, photos: list[bytes], form: Form, strategy: AnyStrategy) -> None:
    poem = poet.write(photos[FORMS.index(form)], strategy, form=form)
    assert_has(poem.text, form)
    assert poem.form == form and all(len(line.split()) >= 2 for line in poem.lines)


words = st.sampled_from(["sea", "night", "love", "garden", "butterfly", "winter", "street"])


@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(
    rhyme=st.text("AB", min_size=1, max_size=4),
    include=st.lists(words, max_size=2, unique=True),
    first=st.sampled_from(["", "the", "as if"]),
    letters=st.sampled_from(["", "t", "a"]),
    seed=st.integers(0, 1000),
)
def test_demands_combine(
    poet: Img2Poem, photos: list[bytes], rhyme: str, include: list[str], first: str, letters: str, seed: int
) -> None:
    acrostic = (first[:1] or letters) + "sbw"[: len(rhyme) - 1] if letters else ""
    acrostic = acrostic if len(acrostic) == len(rhyme) else ""
    form = Form(rhyme=rhyme, include=tuple(include), first_words=first, acrostic=acrostic)
    assert_has(poet.write(photos[0], Sampling(seed=seed), form=form).text, form)


def test_rules_of_the_strategy_hold_too(poet: Img2Poem, photos: list[bytes]) -> None:
    strategy = BeamSearch(width=2, forbidden=("the", "day", "sweet"), max_line_tokens=7)
    poem = poet.write(photos[0], strategy, form=Form(rhyme="AABB"))
    assert not {"the", "day", "sweet"} & set(re.findall("[a-z]+", poem.text.lower()))
    assert all(len(line.split()) <= 7 for line in poem.lines)


def test_a_seed_gives_a_poem_and_another_one_another(poet: Img2Poem, photos: list[bytes]) -> None:
    form = Form(rhyme="AABB")
    first, again, other = (poet.write(photos[0], Sampling(seed=seed, temperature=1.0), form=form) for seed in (1, 1, 2))
    assert first.tokens == again.tokens != other.tokens


def test_best_of_chooses_among_the_likelier_half(poet: Img2Poem, photos: list[bytes]) -> None:
    poem = poet.write(photos[0], BestOf(4), form=Form(acrostic="SUN"))
    assert poem.relevance == pytest.approx(poet.score(photos[0], poem), abs=1e-4)


@pytest.mark.parametrize("form", [Form(rhyme="AABB"), Form(acrostic="SUN", include=("sky",))], ids=str)
def test_served_steps_give_the_poem_of_steps_in_process(
    poet: Img2Poem, server: TritonServer, photos: list[bytes], form: Form
) -> None:
    for url in (server.grpc_url, server.http_url):
        with Img2Poem(url) as served:
            for strategy in (BeamSearch(width=2), Sampling(seed=9)):
                expected = poet.write(photos[3], strategy, form=form)
                assert served.write(photos[3], strategy, form=form).tokens == expected.tokens


def test_lines_alone_are_decoded_where_one_likes(poet: Img2Poem, server: TritonServer, photos: list[bytes]) -> None:
    with Img2Poem(server.grpc_url) as served:
        for count in (1, 3, 9):
            poem = served.write(photos[0], Sampling(seed=count), form=Form(lines=count), where="server")
            assert len(poem.lines) == count
            again = served.write(photos[0], Sampling(seed=count), form=Form(lines=count), where="client")
            assert again.tokens == poem.tokens == poet.write(photos[0], poem.strategy, form=poem.form).tokens


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"lines": 0}, "from 1 to 16"),
        ({"lines": 17}, "from 1 to 16"),
        ({"lines": True}, "whole number"),
        ({"acrostic": "LÖVE"}, "A to Z"),
        ({"acrostic": "love", "lines": 3}, "4 letters, the poem 3 lines"),
        ({"rhyme": "AABB", "lines": 3}, "4 letters, the poem only 3 lines"),
        ({"rhyme": "A1"}, "scheme like AABB"),
        ({"rhyme": "A" * 9}, "no more than 8"),
        ({"include": ("größe",)}, "letters a to z"),
        ({"include": tuple("abcdefghi")}, "8 words"),
        ({"include": "sea"}, "tuple"),
        ({"acrostic": "love", "first_words": "the"}, "do not begin with the acrostic's 'l'"),
    ],
)
def test_malformed_and_contradictory_forms(form: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        Form(**form)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "strategy", "says"),
    [
        (Form(include=("qqxzv",)), BeamSearch(), "no word 'qqxzv'"),
        (Form(first_words="xkcdq"), Greedy(), "no word 'xkcdq'"),
        (Form(include=("sea",)), BeamSearch(forbidden=("sea",)), "both demanded and forbidden"),
        (Form(lines=16, rhyme="AABB"), BeamSearch(max_tokens=40), "needs at least"),
        (Form(first_words="one two three four"), BeamSearch(max_line_tokens=3), "longer than max_line_tokens"),
    ],
)
def test_what_cannot_be_is_refused_before_the_photograph_is_looked_at(
    server: TritonServer, photos: list[bytes], form: Form, strategy: AnyStrategy, says: str
) -> None:
    events: list[CallEvent] = []
    with Img2Poem(server.grpc_url, hooks=[events.append]) as poet, pytest.raises(InvalidOption, match=says):
        poet.write(photos[0], strategy, form=form)
    looked_at = {"poem_text", "decoder_init", "decoder_step"}
    assert {event.model for event in events} <= looked_at, "only the vocabulary and the largest batches were asked for"


def test_forms_that_the_server_does_not_know(poet: Img2Poem, photos: list[bytes]) -> None:
    with pytest.raises(InvalidOption, match="decoded by the client"):
        poet.write(photos[0], form=Form(acrostic="SUN"), where="server")
    with pytest.raises(InvalidOption, match="server or client"):
        poet.write(photos[0], where="moon")  # type: ignore[arg-type]


def driven(form: Form, strategy: AnyStrategy, seed: int) -> str:
    """Return a poem of a small random decoder with the corpus's vocabulary."""
    tokenizer, size, found = corpus_tokenizer()
    decoder = small_decoder(seed, vocabulary_size=size)
    decoder.config = replace(decoder.config, contractions=found.words, stems=found.stems)
    orthography = Orthography.of(decoder.config, tokenizer.pieces)
    form.check(strategy, orthography)
    flow = FormSearch(Searches(orthography), form, form.limit(strategy)).run(embeddings(1, seed).numpy())
    return tokenizer.decode(run_on_torch(flow, decoder, tokenizer.pieces).tokens[0].tolist())


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_any_decoder_can_be_brought_into_a_form(form: Form, strategy: AnyStrategy) -> None:
    """Even one that proposes neither the required words nor a final mark."""
    text = driven(form, strategy, FORMS.index(form))
    assert_has(text, form)
