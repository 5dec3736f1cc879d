"""Find the nodes of a graph without a kernel in ONNX Runtime's CUDA provider. No GPU is needed.

    python -m export.placement triton_repo.gpu

prints for each model and each release of ONNX Runtime how many nodes have no kernel, inside loops and outside.

Sources: the provider's published list of kernels (``cuda_kernels.json`` names the release) and the rule of ONNX
Runtime's ``core/framework/kernel_registry.cc`` (``VerifyVersion``): a kernel with an open-ended range of versions
matches only the first version of the range, since later versions were unknown when it was written. A node without a
kernel runs on the CPU, and its tensors are copied to the CPU and back; inside a loop, for every token.

Not simulated: the provider leaves small shape computations to the CPU on purpose
(``core/framework/fallback_cpu_capability.cc``), and optimizers fuse nodes first.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import onnx
import typer
from onnx import TensorProto, defs, shape_inference

from img2poem.errors import Img2PoemError

from .rewrite import bodies

_TABLE = Path(__file__).parent / "cuda_kernels.json"


class PlacementError(Img2PoemError):
    """A GPU graph has nodes without a CUDA kernel in the ONNX Runtime of the target Triton release."""


@dataclass(frozen=True)
class Operator:
    """An operator of the domain ``ai.onnx`` at a place in a graph."""

    name: str
    version: int
    """Version of its schema: the opset that last changed it."""
    in_loop: bool


@dataclass(frozen=True)
class _Kernel:
    first: int
    last: int | None
    """None where the range is open-ended."""
    types: Mapping[str, frozenset[str]]

    def serves(self, version: int) -> bool:
        return version == self.first or (self.last is not None and self.first <= version <= self.last)

    def takes(self, types: Mapping[str, set[str]]) -> bool:
        return all(types.get(name, set()) <= allowed for name, allowed in self.types.items())


def runtimes() -> list[str]:
    """Return the releases of ONNX Runtime in the table, as ``1.21``, oldest first."""
    return [*_table()["commits"]]


def runtime_of(target: str) -> str:
    """Return the ONNX Runtime release of a Triton release; if unknown, that of the newest known older one."""
    by_triton: dict[str, str] = _table()["triton"]
    return by_triton[max(release for release in by_triton if release <= target)]


def on_cpu(model: onnx.ModelProto, runtime: str) -> Counter[Operator]:
    """Count the operators of ``model`` without a CUDA kernel in a release of ONNX Runtime, loops included."""
    kernels = _kernels(runtime)
    [opset] = [entry.version for entry in model.opset_import if entry.domain == ""]
    found: Counter[Operator] = Counter()
    for node, types, in_loop in _nodes(shape_inference.infer_shapes(model).graph, {}, False):
        schema = defs.get_schema(node.op_type, opset, node.domain)
        bound = _bound(node, schema, types)
        served = (k.serves(schema.since_version) and k.takes(bound) for k in kernels[node.op_type])
        # The exporter folds most constants into initializers; the remaining ones are copied once.
        if node.op_type != "Constant" and not any(served):
            found[Operator(node.op_type, schema.since_version, in_loop)] += 1
    return found


def check(name: str, model: onnx.ModelProto, target: str) -> None:
    """Refuse a graph that would run partly on the CPU.

    Raises:
        PlacementError: a node has no CUDA kernel in the ONNX Runtime of the Triton release ``target``.
    """
    runtime = runtime_of(target)
    if found := on_cpu(model, runtime):
        parts = (f"{n} {one.name}-{one.version}{' in a loop' if one.in_loop else ''}" for one, n in found.items())
        raise PlacementError(
            f"{name}: ONNX Runtime {runtime} of Triton {target} has no CUDA kernel for {', '.join(parts)}; "
            "each would copy its tensors to the CPU and back. Export with another --opset, or for --device cpu"
        )


def _nodes(
    graph: onnx.GraphProto, outer: Mapping[str, str], in_loop: bool
) -> Iterator[tuple[onnx.NodeProto, Mapping[str, str], bool]]:
    """Yield each node, the element types of all values in its scope, and whether it is in a loop's body."""
    types = dict(outer)
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = _type_name(value.type.tensor_type.elem_type)
    types.update({weight.name: _type_name(weight.data_type) for weight in graph.initializer})
    for node in graph.node:
        yield node, types, in_loop
        for body in bodies(node):
            yield from _nodes(body, types, in_loop or node.op_type in ("Loop", "Scan"))


def _bound(node: onnx.NodeProto, schema: Any, types: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the element types of a node for each type parameter of its operator and for each tensor."""
    found: dict[str, set[str]] = defaultdict(set)
    for names, formals in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for place, name in enumerate(names):
            if name:
                formal = formals[min(place, len(formals) - 1)]
                found[formal.type_str].add(types[name])
                found[formal.name].add(types[name])
    return found


def _type_name(number: int) -> str:
    return str(TensorProto.DataType.Name(number).lower())


@cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return found


@cache
def _kernels(runtime: str) -> Mapping[str, list[_Kernel]]:
    known = runtimes()
    found: dict[str, list[_Kernel]] = defaultdict(list)
    for name, (first, last), (since, until), types in _table()["kernels"]:
        if known.index(since) <= known.index(runtime) <= known.index(until):
            allowed = {parameter: frozenset(names.split()) for parameter, names in types.items()}
            found[name].append(_Kernel(first, last, allowed))
    return found


def main(
    repository: Annotated[Path, typer.Argument(help="Exported model repository.")] = Path("triton_repo"),
) -> None:
    """Print how many nodes of each model would run on the CPU of a GPU server, by release of ONNX Runtime."""
    for path in sorted(repository.glob("*/1/model.onnx")):
        model = onnx.load(path)
        found = {runtime: on_cpu(model, runtime) for runtime in runtimes()}
        cells = (f"{runtime}: {_counted(found[runtime])}" for runtime in runtimes())
        typer.echo(f"{path.parent.parent.name}  {'  '.join(cells)}")


def _counted(found: Counter[Operator]) -> str:
    inside = sum(count for operator, count in found.items() if operator.in_loop)
    return f"{inside} + {found.total() - inside}"


if __name__ == "__main__":
    typer.run(main)
