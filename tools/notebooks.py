"""Run the notebooks and store their outputs: ``python -m tools.notebooks``."""

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
#: Timeout of a cell in seconds.
_PATIENCE = 600


class NotebookFailed(Img2PoemError):
    """A cell of a notebook raised an error."""


def executed(path: Path) -> NotebookNode:
    """Run a notebook in its own folder; return it with its outputs and without metadata of the run.

    Raises:
        NotebookFailed: a cell raised an error; the message names the notebook and the error.
    """
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_PATIENCE,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        # Makes outputs independent of the order in which the kernel sent them.
        coalesce_streams=True,
        record_timing=False,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise NotebookFailed(f"{path.name}: {error}") from error
    # Drops the version of Python, for example.
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def main() -> None:
    """Run every notebook and write its outputs into it; if a cell fails, nothing is written."""
    with reporting():
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            tell(f"{path.name} ...")
            write_atomically(path, nbformat.writes(executed(path)) + "\n")


if __name__ == "__main__":
    typer.run(main)
