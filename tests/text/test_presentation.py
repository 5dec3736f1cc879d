"""Tokens become the same text by the function, by the served graph, and line by line."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export import onnx as export_onnx
from export import parity, poem_text
from export.settings import OPSETS
from img2poem.artifacts.sessions import open_session
from img2poem.decoding.search import Searches
from img2poem.text.orthography import Orthography
from img2poem.text.presentation import text_of
from img2poem.text.tokenizer import PoemTokenizer
from img2poem.text.vocabulary import EOS, FINAL_MARKS, NEWLINE, PAD, PUNCTUATION, SPECIAL_TOKENS, SUFFIXES

WORDS = "the sea is wide i am it dogs on monday half lit tv o'clock don can".split()
PIECES = [*SPECIAL_TOKENS, *PUNCTUATION, *SUFFIXES, *WORDS, "##ly"]
TOKENIZER = PoemTokenizer.from_pieces(PIECES)
ORTHOGRAPHY = Orthography(PIECES, ["i'm", "it's", "don't", "can't"], ["don"])
STEPS = 24


def written(seed: int, steps: int) -> list[int]:
    """Return tokens that a search could return, including the end token."""
    chance, said = random.Random(seed), [NEWLINE]
    while len(said) < steps or said[-1] not in FINAL_MARKS:
        open_line = said[-1] == NEWLINE or ORTHOGRAPHY.unfinished[said[-1]]
        fitting = [i for i in range(NEWLINE, len(PIECES)) if ORTHOGRAPHY.allow(said[-1], i)]
        said.append(chance.choice([i for i in fitting if not (open_line and i == NEWLINE)]))
    return [*said[1:], EOS]


@pytest.mark.parametrize(
    "text",
    [
        "The sea is wide.\nIt is on the sea",
        "The sea is\nwide, and".replace(", and", "; it is wide"),
        "I am on the sea: I'm the sea! Is it?\nI don't. It's wide",
        "Half-lit dogs' sea, the dogs' wide TV,\ncan't the sea\nam on Monday, is it o'clock",
        "The\nsea?\nWide",
    ],
)
def test_texts_as_people_write_them(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.integers(), st.integers(2, 60))
def test_what_is_written_is_read_again(seed: int, steps: int) -> None:
    tokens = written(seed, steps)
    text = TOKENIZER.decode(tokens)
    assert TOKENIZER.encode(text) == tokens[:-1]
    assert text[0].isupper() and "  " not in text and text[-1] in ".?!"


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=40))
def test_special_tokens_stand_in_no_text(ids: list[int]) -> None:
    text = text_of(ids, PIECES)
    assert "[" not in text and "#" not in text and text.count("\n") <= ids.count(NEWLINE)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_onnx.write(poem_text.build(PIECES, STEPS, OPSETS["cpu"][0]), path, {})
    return path


def test_the_graph_passes_the_gate(graph: Path) -> None:
    assert parity.check_poem_text(graph, TOKENIZER, len(PIECES), STEPS).difference == 0


def test_a_graph_without_capitals_does_not(graph: Path, tmp_path: Path) -> None:
    proto = onnx.load(graph)
    [capitals] = [table for table in proto.graph.initializer if table.name == "capitals"]
    [small] = [table for table in proto.graph.initializer if table.name == "small"]
    capitals.CopyFrom(small)
    capitals.name = "capitals"
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(parity.ParityError, match="poem_text gives"):
        parity.check_poem_text(tmp_path / "model.onnx", TOKENIZER, len(PIECES), STEPS)


@settings(max_examples=40)
@given(seeds=st.lists(st.integers(), min_size=1, max_size=4))
def test_the_graph_gives_the_text_of_the_function(graph: Path, seeds: list[int]) -> None:
    rows = [written(seed, 2 + seed % 9)[:STEPS] for seed in seeds]
    padded = np.array([row + [PAD] * (STEPS - len(row)) for row in rows])
    [texts] = open_session(graph).run(["text"], {"tokens": padded})
    assert texts[:, 0].tolist() == [text_of(row, PIECES) for row in rows]


@given(st.integers(), st.integers(2, 60))
def test_lines_one_by_one_are_those_of_the_whole(seed: int, steps: int) -> None:
    """A line's capital depends on the end of the previous line."""
    tokens, searches = written(seed, steps), Searches(ORTHOGRAPHY)
    breaks = [i for i, token in enumerate(tokens, 1) if token in (NEWLINE, EOS)]
    lines = [searches._last_line(np.array(tokens[:end])) for end in breaks]
    assert [line.text for line in lines] == text_of(tokens, PIECES).split("\n")
    assert [line.index for line in lines] == [*range(len(lines))]
