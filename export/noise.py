"""``noise`` and ``candidate_noise``: from a seed to the noise of :mod:`img2poem.decoding.noise`, which sampling uses.

They make the seed, a few bytes, an input of the ensembles: a client in any language gets the same poem for a seed.

They also take the embedding but do not use it. This input makes the ensemble run them after the image encoder, not
concurrently: if one of two concurrent steps fails, Triton 2.51 may never respond.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from img2poem.decoding.noise import BITS, DRAWS, GAMMA, LAST_SHIFT, ROUNDS
from img2poem.decoding.registry import OPTIONS
from img2poem.decoding.strategies import MAX_TOKENS, TOP_TOKENS

from .graph import Graph
from .served import FREE, TensorSpec

_SEED, _COUNT = (TensorSpec(name, np.int64, (1,)) for name in ("seed", "n"))
_SHAPE = (MAX_TOKENS, TOP_TOKENS)
_MAX_N = int(OPTIONS["n"].highest)


def signature(several: bool, embedding_dim: int) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the inputs and outputs of ``candidate_noise`` if ``several``, else those of ``noise``."""
    embedding = TensorSpec("embedding", np.float32, (embedding_dim,))
    if several:
        return (_SEED, _COUNT, embedding), (TensorSpec("noise", np.float32, (FREE, *_SHAPE)),)
    return (_SEED, embedding), (TensorSpec("noise", np.float32, _SHAPE),)


def build(several: bool, embedding_dim: int, opset: int) -> onnx.ModelProto:
    """Return the graph from ``seed``, ``n`` if ``several``, both int64 ``[B, 1]``, and ``embedding`` to ``noise``."""
    graph = _Arithmetic()
    last = graph.node("Mul", [_count(graph), graph.int64("draws", DRAWS)]) if several else graph.int64("draws", DRAWS)
    end = graph.node("Add", [last, graph.int64("one", 1)])
    place = graph.node("Range", [graph.int64("one", 1), end, graph.int64("one", 1)])
    distance = graph.node("Mul", [place, graph.int64("gamma", GAMMA)])
    start = graph.signed(graph.hash(graph.unsigned("seed")))
    drawn = graph.hash(graph.unsigned(graph.node("Add", [start, distance])))
    bits = graph.node("Cast", [graph.signed(graph.shifted(drawn, 64 - BITS))], to=TensorProto.FLOAT)
    middle = graph.node("Add", [bits, graph.constant("half", np.array(0.5, np.float32))])
    uniform = graph.node("Mul", [middle, graph.constant("unit", np.array(2.0**-BITS, np.float32))])
    shape = graph.constant("shape", np.array([0, -1, *_SHAPE] if several else [0, *_SHAPE]))
    noise = graph.node("Reshape", [uniform, shape])
    name = "candidate_noise" if several else "noise"
    return graph.model(name, *signature(several, embedding_dim), {"noise": noise}, opset)


def _count(graph: _Arithmetic) -> str:
    """The batch's common ``n``. ONNX cannot raise errors: these nodes fail, and the error names the failed node."""
    least = graph.node("Greater", ["n", graph.int64("zero", 0)])
    most = graph.node("LessOrEqual", ["n", graph.int64("largest", _MAX_N)])
    place = graph.node("Sub", ["n", graph.int64("one", 1)])
    index = graph.node("Where", [graph.node("And", [least, most]), place, graph.int64("largest", _MAX_N)])
    table = graph.constant("counts", np.arange(1, _MAX_N + 1))
    known = graph.node("Gather", [table, index], name=f"n_must_be_from_1_to_{_MAX_N}")
    different = graph.node("Unique", [known])
    axis = graph.constant("first_axis", np.array([0]))
    return graph.node("Squeeze", [different, axis], name="all_rows_of_a_request_must_have_the_same_n")


class _Arithmetic(Graph):
    """Arithmetic modulo 2**64: ONNX Runtime multiplies and adds int64 and shifts uint64; the bits are the same."""

    def int64(self, name: str, value: int) -> str:
        """A constant below 2**64, as the int64 with the same bits."""
        return self.constant(name, np.array(value, np.uint64).astype(np.int64))

    def signed(self, value: str) -> str:
        """The value as int64 with the same bits."""
        return self.node("Cast", [value], to=TensorProto.INT64)

    def unsigned(self, value: str) -> str:
        """The value as uint64 with the same bits."""
        return self.node("Cast", [value], to=TensorProto.UINT64)

    def shifted(self, value: str, bits: int) -> str:
        """A uint64, shifted right."""
        amount = self.constant(f"shift_{bits}", np.array(bits, np.uint64))
        return self.node("BitShift", [value, amount], direction="RIGHT")

    def hash(self, value: str) -> str:
        """The hash of :mod:`img2poem.decoding.noise`, uint64 to uint64."""
        for shift, factor in ROUNDS:
            mixed = self.signed(self.node("BitwiseXor", [value, self.shifted(value, shift)]))
            value = self.unsigned(self.node("Mul", [mixed, self.int64(f"factor_{shift}", factor)]))
        return self.node("BitwiseXor", [value, self.shifted(value, LAST_SHIFT)])
