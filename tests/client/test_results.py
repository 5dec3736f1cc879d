"""Strategies and poems to JSON and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2poem import BeamSearch, BestOf, Form, Greedy, Img2Poem, InvalidOption, Poem, Sampling, strategy_from_json
from img2poem.client.results import Model
from img2poem.decoding.strategies import MAX_TOKENS, AnyStrategy

RULES = {
    "min_lines": st.integers(1, 3),
    "max_lines": st.integers(3, 16),
    "max_tokens": st.integers(3, MAX_TOKENS),
    "repetition_penalty": st.floats(1, 4),
    "forbidden": st.lists(st.sampled_from(["sea", "moon", "the"])).map(tuple),
}
SAMPLINGS = st.builds(Sampling, **RULES, temperature=st.floats(0.05, 4), seed=st.integers(0, 2**63 - 1))
STRATEGIES = st.one_of(
    st.builds(Greedy, **RULES),
    st.builds(BeamSearch, **RULES, width=st.integers(1, 10), length_penalty=st.floats(0, 4)),
    SAMPLINGS,
    st.builds(BestOf, st.integers(1, 32), SAMPLINGS),
)
FORMS = st.none() | st.builds(Form, lines=st.integers(3, 6), include=st.just(("sea",)), rhyme=st.just("AAB"))
POEMS = st.builds(
    Poem,
    lines=st.lists(st.text()).map(tuple),
    score=st.floats(-9, 0),
    tokens=st.lists(st.integers(0, 999)).map(tuple),
    finish_reason=st.sampled_from(["end", "length"]),
    seed=st.none() | st.integers(0, 2**63 - 1),
    strategy=STRATEGIES,
    form=FORMS,
    relevance=st.none() | st.floats(-1, 1),
    timings=st.dictionaries(st.text(), st.floats(0, 1e4)),
    model=st.builds(Model, st.text(), st.text(), st.text()),
    request_id=st.text(),
)


@given(STRATEGIES)
def test_a_strategy_comes_back(strategy: AnyStrategy) -> None:
    assert strategy_from_json(strategy.to_json()) == strategy
    assert strategy_from_json(strategy.to_json().encode()) == strategy


@given(POEMS)
def test_a_poem_comes_back(poem: Poem) -> None:
    assert Poem.from_json(poem.to_json(photo="photo.jpg")) == poem


def test_a_poem_that_was_written_comes_back(repository: Path, photos: list[bytes]) -> None:
    with Img2Poem(repository) as poet:
        for poem in (poet.write(photos[0], BestOf(2)), poet.write(photos[0], Greedy(), form=Form(lines=3))):
            again = Poem.from_json(poem.to_json())
            assert again == poem and again.text == poem.text
            assert poet.write(photos[0], again.strategy, form=again.form).tokens == poem.tokens


def test_what_is_left_out_has_its_default() -> None:
    assert strategy_from_json('{"name": "greedy"}') == Greedy()
    assert strategy_from_json('{"name": "best-of", "sampling": {"seed": 3}}') == BestOf(sampling=Sampling(seed=3))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a strategy is not JSON"),
        ("[" * 100_000, "a strategy is not JSON"),
        ("[1]", "must be a JSON object"),
        ("{}", "the name of a strategy is greedy, beam, sample, best-of, not None"),
        ('{"name": ["greedy"]}', "the name of a strategy is"),
        ('{"name": "greedy", "seed": 1}', "the strategy greedy has no seed; it has min_lines"),
        ('{"name": "sample", "temperature": 9}', "temperature must be from 0.05 to 4, not 9"),
        ('{"name": "sample", "temperature": NaN}', "temperature must be a number"),
        ('{"name": "sample", "forbidden": [1]}', "forbidden must be a tuple of words"),
        ('{"name": "best-of", "sampling": 3}', "sampling must be a JSON object"),
        ('{"name": "best-of", "n": "4"}', "n must be a whole number"),
    ],
)
def test_a_strategy_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=says.replace("[", r"\[")):
        strategy_from_json(text)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"lines": "one"}, "lines must be a list"),
        ({"lines": [1]}, "lines must be a string"),
        ({"tokens": [1.5]}, "tokens must be a whole number"),
        ({"score": None}, "score must be a number"),
        ({"finish_reason": "tired"}, "finish_reason must be end or length"),
        ({"seed": "1"}, "seed must be a whole number"),
        ({"strategy": None}, "a strategy must be a JSON object"),
        ({"form": {"metre": "iambic"}}, "a form has no metre"),
        ({"timings": {"total": "fast"}}, "total must be a number"),
        ({"model": {"name": 1, "version": "1", "contract": ""}}, "name must be a string"),
        ({"model": {"name": "lite"}}, "model lacks version, contract"),
        ({"request_id": 7}, "request_id must be a string"),
    ],
)
def test_a_poem_that_is_none_is_refused(changed: dict[str, object], says: str) -> None:
    whole = Poem(("a",), -1.0, (5, 3), "end", None, Greedy(), None, None, {"total": 1.0}, Model("lite", "1", "c"), "id")
    with pytest.raises(InvalidOption, match=says):
        Poem.from_json(json.dumps({**whole.to_dict(), **changed}))
    with pytest.raises(InvalidOption, match="a poem in JSON lacks"):
        Poem.from_json(json.dumps({name: value for name, value in whole.to_dict().items() if name not in changed}))
