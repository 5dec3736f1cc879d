"""Rewrite exported graphs to equivalent ones with fewer operators."""

from __future__ import annotations

from typing import Any

from onnxscript import ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase, rewrite


class _LookUp(RewriteRuleClassBase):
    """Replace the exporter's form of ``table[indices]`` by the equivalent ``Gather``."""

    def pattern(self, op: Any, table: Any, indices: Any, axes: Any) -> Any:
        return op.GatherND(table, op.Unsqueeze(indices, axes), batch_dims=0)

    def check(self, context: Any, table: Any, indices: Any, axes: ir.Value) -> MatchResult:
        result, places = MatchResult(), ir.convenience.get_const_tensor(axes)
        if places is None or places.numpy().tolist() != [-1]:
            result.fail("the indices are not scalars", axes)
        return result

    def rewrite(self, op: Any, table: Any, indices: Any, axes: Any) -> Any:
        return op.Gather(table, indices, axis=0)


def simplified(model: ir.Model) -> ir.Model:
    """Return the rewritten ``model``, loops included."""
    return rewrite(model, [_LookUp.rule()])
