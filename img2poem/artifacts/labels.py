"""Label files: the names of an encoder's classes, one a line, beside the model's ``config.pbtxt``.

Triton reads them for its classification extension, which answers scores with the names of the highest ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from .manifest import Manifest
from .sessions import check_file


def label_file(output: str) -> str:
    """Return the name of the label file of an output, within the folder of its model."""
    return f"{output}.txt"


def label_files(model: str, files: Iterable[str]) -> list[str]:
    """Return the label files of a model among the ``files`` of a repository."""
    return [name for name in files if re.fullmatch(rf"{re.escape(model)}/[^/]+\.txt", name)]


def labels(repository: Path, manifest: Manifest, model: str, output: str) -> list[str]:
    """Return the names of the classes that an output of a model scores, in order.

    Raises:
        BadRepository: the file is missing or has changed since the export.
    """
    name = f"{model}/{label_file(output)}"
    check_file(repository / name, manifest.files.get(name, "none"), repository)
    return (repository / name).read_text(encoding="utf-8").splitlines()
