"""The rooms of the package: every import between them points downward, and none goes in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest

from .conftest import ROOT

#: Modules and packages of ``img2poem``, the lowest first; each may import what stands before it. ``__init__``, which
#: has what ``from img2poem import ...`` offers, and the packages above it are imported by no other.
ROOMS = (
    "errors version validation files system text images requests decoding form artifacts transports client __init__ "
    "datasets metrics nn serving web cli __main__"
).split()
PACKAGE = ROOT / "img2poem"
#: What Triton loads by its path is no module of the package.
MODULES = {
    name: path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "backends" not in path.parts
    for name in [".".join(path.relative_to(ROOT).with_suffix("").parts)]
}


def imports_of(name: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports, at its top or within functions."""
    folder = name.split(".")[:-1]
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from {found for alias in node.names for found in _found(source, alias.name)}
        elif isinstance(node, ast.Import):
            yield from (found for alias in node.names for found in _found(alias.name))


def _found(source: str, name: str = "") -> Iterator[str]:
    """Yield the module that an import names: ``source.name``, else ``source``, as a file of the package."""
    for module in (f"{source}.{name}", f"{source}.{name}.__init__", source, f"{source}.__init__"):
        if module in MODULES:
            yield module
            return


def room_of(name: str) -> str:
    return name.split(".")[1]


IMPORTS = {name: {*imports_of(name)} for name in MODULES}


def test_every_module_is_in_a_room() -> None:
    assert {room_of(name) for name in MODULES} == {*ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_downward(room: str) -> None:
    above = ROOMS[ROOMS.index(room) + 1 :]
    wrong = [
        f"{name} imports {imported}"
        for name, found in IMPORTS.items()
        for imported in sorted(found)
        if room_of(name) == room and room_of(imported) in above
    ]
    assert not wrong


def test_no_import_goes_in_a_circle() -> None:
    assert len([*TopologicalSorter(IMPORTS).static_order()]) == len(MODULES)
