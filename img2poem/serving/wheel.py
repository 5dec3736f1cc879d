"""Locate ``tritonserver`` in the ``nvidia-pytriton`` wheel, and prepare its backends and environment."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from ..errors import MissingDependency

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_BACKENDS = Path(__file__).parent / "backends"


def triton_folder() -> Path:
    """Return the wheel's ``tritonserver`` folder, found without importing pytriton.

    Raises:
        MissingDependency: the wheel is not installed.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency("the Triton server is not installed; pip install 'img2poem[server]'")
    return Path(spec.submodule_search_locations[0]) / "tritonserver"


def stub_of(triton: Path) -> Path:
    """Return the stub, the program of Triton's Python backend, for this version of Python.

    Raises:
        MissingDependency: the wheel has no stub for it.
    """
    stub = triton / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
    if not stub.exists():
        raise MissingDependency(f"nvidia-pytriton has no stub for Python {PYTHON}; use one of 3.10 to 3.12")
    return stub


def lay_out_backends(triton: Path, folder: Path) -> Path:
    """Copy the wheel's Python backend, its stub for this Python and our onnxruntime backend; return their folder."""
    stub, backends, skipped = stub_of(triton), folder / "backends", shutil.ignore_patterns("__pycache__")
    shutil.copytree(triton / "backends" / "python", backends / "python", ignore=skipped)
    shutil.copy(stub, backends / "python")
    shutil.copytree(_BACKENDS / "onnxruntime", backends / "onnxruntime", ignore=skipped)
    return backends


def environment(triton: Path) -> dict[str, str]:
    """Return environment variables by which server and stub find Python, its packages and shared libraries."""
    libraries = [str(triton.parent.parent / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR") or ""]
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return {
        **os.environ,
        # The stub uses the packages of the first `python3` on PATH.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *([inherited] if inherited else [])]),
    }
