"""Run the notebooks and keep what they show: ``python -m tools.notebooks``."""

from __future__ import annotations

from pathlib import Path

import nbformat
import typer
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from img2poem.cli.console import reporting, tell
from img2poem.errors import Img2PoemError
from img2poem.files.atomic import write_atomically

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
#: Seconds that one cell may take.
_PATIENCE = 600


class NotebookFailed(Img2PoemError):
    """A cell of a notebook raised an error."""


def executed(path: Path) -> NotebookNode:
    """Run a notebook in its own folder and return it with its outputs, and nothing that tells of the run.

    Raises:
        NotebookFailed: names the notebook and what its cell raised.
    """
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_PATIENCE,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        # However the kernel happened to send them, the same outputs.
        coalesce_streams=True,
        record_timing=False,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise NotebookFailed(f"{path.name}: {error}") from error
    # The version of Python, say.
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def main() -> None:
    """Run every notebook and write its outputs into it; nothing is written when a cell fails."""
    with reporting():
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            tell(f"{path.name} ...")
            write_atomically(path, nbformat.writes(executed(path)) + "\n")


if __name__ == "__main__":
    typer.run(main)
