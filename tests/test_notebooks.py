"""The notebooks run as committed; their outputs are small and reveal nothing about the machine."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tools.notebooks import NOTEBOOKS, NotebookFailed, executed

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
#: An absolute path of two or more parts, or on Windows of one.
MACHINE = re.compile(r"(?<![\w./:<])/\w[\w.-]*/\w|\b[A-Z]:\\")


def by_name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", PATHS, ids=by_name)
def test_it_runs_from_a_clone(path: Path, repository: Path) -> None:
    found = executed(path)  # `repository` has already made the notebook's export
    kept = nbformat.read(path, as_version=4)
    assert [len(cell.get("outputs", ())) for cell in found.cells] == [len(c.get("outputs", ())) for c in kept.cells]


@pytest.mark.parametrize("path", PATHS, ids=by_name)
def test_what_is_committed_has_outputs_that_are_small_and_name_no_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if {"image/png", "image/jpeg"} & set(output.get("data", ()))]
    assert len(pictures) >= 2 and not any(output.output_type == "error" for output in outputs)
    assert path.stat().st_size < 300_000
    told = [
        text for output in outputs for text in (output.get("text", ""), output.get("data", {}).get("text/plain", ""))
    ]
    assert not MACHINE.findall("\n".join(told))


def test_an_error_in_a_cell_is_told(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("raise RuntimeError('no photograph')")])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    with pytest.raises(NotebookFailed, match=r"(?s)a\.ipynb.*no photograph"):
        executed(tmp_path / "a.ipynb")


@pytest.mark.parametrize("path", ["/home/me/photo.jpg", "in '/tmp/x'", "C:\\Users"])
def test_a_path_of_a_machine_is_seen(path: str) -> None:
    assert MACHINE.search(path)
