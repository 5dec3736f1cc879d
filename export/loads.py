"""Load every ONNX file of a repository with the installed onnxruntime: ``python export/loads.py REPOSITORY``.

It runs in environments with other releases of onnxruntime: ``nox -s oldest`` uses the oldest supported one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnxruntime


def main(repository: Path) -> int:
    """Return how many files fail to load."""
    failed = 0
    files = sorted(repository.glob("*/*/model.onnx"))
    for path in files:
        try:
            onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base
            failed += 1
            print(f"{path}: {error}", file=sys.stderr)
    print(f"onnxruntime {onnxruntime.__version__}: {len(files) - failed} of {len(files)} files load")
    return failed or not files


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
