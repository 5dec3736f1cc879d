"""``poem_text``: token ids to the poem's text as an ONNX graph of string operators.

The ensemble returns text, so that a client in any language needs no tokenizer. The graph follows
:func:`img2poem.text.presentation.text_of`; a parity check compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from img2poem.text.presentation import ends_sentence, is_joined, is_joining, written
from img2poem.text.vocabulary import EOS, NEWLINE, PAD, UNK

from .graph import Graph
from .served import TensorSpec


def build(pieces: Sequence[str], steps: int, opset: int) -> onnx.ModelProto:
    """Return the graph from ``tokens int64 [B, steps]`` to ``text string [B, 1]``, ``poem_tokens`` and ``pieces``.

    ``poem_tokens`` repeats the tokens for the ensemble's outputs; see :func:`export.ensembles.ensemble_config`.
    ``pieces`` are the WordPiece strings of the tokens; clients read the vocabulary from them. Unknown ids become the
    unknown token.

    Tables give each token's string, with or without a capital and a leading space, by the token and the two before
    it. The strings of a row are then joined in pairs, in log2(steps) rounds.
    """
    tokens = list(enumerate(pieces))
    graph = _Rows()
    ids = graph.known(len(pieces))
    pad = graph.constant("pad", np.array([[PAD]]))
    rows = graph.node("Shape", ["tokens"], start=0, end=1)
    edge = graph.node("Expand", [pad, graph.node("Concat", [rows, graph.constant("one", np.array([1]))], axis=0)])
    before = graph.node("Concat", [edge, graph.slice(ids, 0, steps - 1)], axis=1)
    earlier = graph.node("Concat", [edge, graph.slice(before, 0, steps - 1)], axis=1)
    after = graph.node("Concat", [graph.slice(ids, 1, steps), edge], axis=1)

    ends = np.array([ends_sentence(i) for i, _ in tokens])
    over_line = graph.node("And", [graph.equal(before, NEWLINE), graph.look_up("ends", ends, earlier)])
    begins = graph.node("Or", [graph.look_up("ends", ends, before), over_line])
    capitals, small = ([written(i, piece, begins) for i, piece in tokens] for begins in (True, False))
    words = graph.node(
        "Where",
        [
            begins,
            graph.look_up("capitals", np.array(capitals, object), ids),
            graph.look_up("small", np.array(small, object), ids),
        ],
    )
    no_space = graph.node(
        "Or",
        [
            graph.look_up("joined", np.array([is_joined(i, piece) for i, piece in tokens]), ids),
            graph.look_up("joining", np.array([is_joining(i) for i, _ in tokens]), before),
        ],
    )
    nothing, space = graph.constant("nothing", np.array("", object)), graph.constant("space", np.array(" ", object))
    words = graph.node("StringConcat", [graph.node("Where", [no_space, nothing, space]), words])
    # A newline just before the end token or padding adds no empty line.
    ending = graph.node("Or", [graph.equal(after, EOS), graph.equal(after, PAD)])
    last_newline = graph.node("And", [graph.equal(ids, NEWLINE), ending])
    words = graph.node("Where", [last_newline, nothing, words])
    width = steps
    while steps > 1:
        even, odd = graph.slice(words, 0, steps // 2 * 2, 2), graph.slice(words, 1, steps // 2 * 2, 2)
        paired = graph.node("StringConcat", [even, odd])
        words = graph.node("Concat", [paired, graph.slice(words, steps - 1, steps)], axis=1) if steps % 2 else paired
        steps = (steps + 1) // 2
    spelt = graph.look_up("vocabulary", np.array(pieces, object), ids)
    sources = {"text": words, "poem_tokens": "tokens", "pieces": spelt}
    return graph.model("poem_text", *signature(width), sources, opset)


def signature(steps: int) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the inputs and outputs of the graph."""
    tokens, again = (TensorSpec(name, np.int64, (steps,)) for name in ("tokens", "poem_tokens"))
    return (tokens,), (TensorSpec("text", np.object_, (1,)), again, TensorSpec("pieces", np.object_, (steps,)))


class _Rows(Graph):
    """Operators on ``[B, steps]``."""

    def known(self, size: int) -> str:
        """The tokens; ids outside a vocabulary of ``size`` become the unknown token.

        An error in one row would fail the whole batch.
        """
        none, end = self.constant("first", np.array(0)), self.constant("end", np.array(size))
        exists = self.node("And", [self.node("GreaterOrEqual", ["tokens", none]), self.node("Less", ["tokens", end])])
        return self.node("Where", [exists, "tokens", self.constant("unknown", np.array(UNK))])

    def slice(self, source: str, start: int, end: int, step: int = 1) -> str:
        """Places ``start`` to ``end`` (exclusive) of each row."""
        values = {"start": start, "end": end, "axis": 1, "step": step}
        names = [self.constant(f"{key}_{value}", np.array([value])) for key, value in values.items()]
        return self.node("Slice", [source, *names])

    def look_up(self, name: str, table: NDArray[Any], source: str) -> str:
        """The entry of a constant ``table`` for each token."""
        return self.node("Gather", [self.constant(name, table), source])

    def equal(self, source: str, value: int) -> str:
        """Mask of the places with the token ``value``."""
        return self.node("Equal", [source, self.constant(f"token_{value}", np.array(value))])
