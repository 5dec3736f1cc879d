"""``poem_text``: token ids to the poem's text as an ONNX graph of string operators.

With it the ensemble answers in plain text and no caller needs a tokenizer, in any language. It follows
:meth:`img2poem.text.PoemTokenizer.decode`; a parity check compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from img2poem.text import EOS, NEWLINE, PAD, SPECIAL_TOKENS, joined, needs_no_space

from .graph import Graph
from .served import TensorSpec


def build(pieces: Sequence[str], steps: int, opset: int) -> onnx.ModelProto:
    """Return the graph ``tokens int64 [B, steps]`` to ``text string [B, 1]``, ``poem_tokens`` and ``pieces``.

    ``poem_tokens`` are the tokens again, for the ensemble to return; see :func:`export.ensembles.ensemble_config`.
    ``pieces`` are the WordPiece strings of the tokens, by which a caller learns the vocabulary.

    Every token becomes a string of its own, with a space before it or not, looked up in tables; the
    strings of a row are then joined pair by pair, in log2(steps) rounds.
    """
    special = [i < len(SPECIAL_TOKENS) for i in range(len(pieces))]
    texts = ["\n" if i == NEWLINE else "" if special[i] else joined(p) for i, p in enumerate(pieces)]
    glued = [special[i] or needs_no_space(p, "x") for i, p in enumerate(pieces)]
    gluing = [special[i] or needs_no_space("x", joined(p)[-1:]) for i, p in enumerate(pieces)]
    graph = _Rows()
    pad = graph.constant("pad", np.array([[PAD]]))
    rows = graph.node("Shape", ["tokens"], start=0, end=1)
    edge = graph.node("Expand", [pad, graph.node("Concat", [rows, graph.constant("one", np.array([1]))], axis=0)])
    before = graph.node("Concat", [edge, graph.slice("tokens", 0, steps - 1)], axis=1)
    after = graph.node("Concat", [graph.slice("tokens", 1, steps), edge], axis=1)

    words = graph.node("Gather", [graph.constant("texts", np.array(texts, object)), "tokens"])
    no_space = graph.node(
        "Or",
        [
            graph.node("Gather", [graph.constant("glued", np.array(glued)), "tokens"]),
            graph.node("Gather", [graph.constant("gluing", np.array(gluing)), before]),
        ],
    )
    nothing, space = graph.constant("nothing", np.array("", object)), graph.constant("space", np.array(" ", object))
    words = graph.node("StringConcat", [graph.node("Where", [no_space, nothing, space]), words])
    # A newline at the very end, before the end token or padding, leaves no empty line.
    ending = graph.node("Or", [graph.equal(after, EOS), graph.equal(after, PAD)])
    last_newline = graph.node("And", [graph.equal("tokens", NEWLINE), ending])
    words = graph.node("Where", [last_newline, nothing, words])
    width = steps
    while steps > 1:
        even, odd = graph.slice(words, 0, steps // 2 * 2, 2), graph.slice(words, 1, steps // 2 * 2, 2)
        paired = graph.node("StringConcat", [even, odd])
        words = graph.node("Concat", [paired, graph.slice(words, steps - 1, steps)], axis=1) if steps % 2 else paired
        steps = (steps + 1) // 2
    spelt = graph.node("Gather", [graph.constant("vocabulary", np.array(pieces, object)), "tokens"])
    sources = {"text": words, "poem_tokens": "tokens", "pieces": spelt}
    return graph.model("poem_text", *signature(width), sources, opset)


def signature(steps: int) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the inputs and outputs of the graph."""
    tokens, again = (TensorSpec(name, np.int64, (steps,)) for name in ("tokens", "poem_tokens"))
    return (tokens,), (TensorSpec("text", np.object_, (1,)), again, TensorSpec("pieces", np.object_, (steps,)))


class _Rows(Graph):
    """Operators on ``[B, steps]``."""

    def slice(self, source: str, start: int, end: int, step: int = 1) -> str:
        """Places from ``start`` to before ``end`` of each row."""
        values = {"start": start, "end": end, "axis": 1, "step": step}
        names = [self.constant(f"{key}_{value}", np.array([value])) for key, value in values.items()]
        return self.node("Slice", [source, *names])

    def equal(self, source: str, value: int) -> str:
        """Where a row has the token ``value``."""
        return self.node("Equal", [source, self.constant(f"token_{value}", np.array(value))])
