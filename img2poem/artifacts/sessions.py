"""ONNX files of a repository, opened by ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import BadRepository, MissingDependency
from ..system import cores
from . import manifest
from .installed import how_to_mend

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

Device = Literal["cpu", "cuda"]

#: ONNX Runtime's execution providers of each device, with their options.
PROVIDERS: dict[Device, list[tuple[str, dict[str, str]]]] = {
    "cpu": [("CPUExecutionProvider", {})],
    # Products in TF32, the default, give other poems than a CPU.
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})],
}


def open_session(
    path: Path,
    device: Device = "cpu",
    sha256: str | None = None,
    repository: Path | None = None,
    threads: int | None = None,
) -> InferenceSession:
    """Open an ONNX file.

    Args:
        path: of the file.
        device: ``cpu`` or ``cuda``.
        sha256: in hex, what the file must have.
        repository: that the file belongs to; the one that Triton's layout has it in when None.
        threads: that it runs on; as many as the process may use cores, when not given.

    Raises:
        BadRepository: the file is missing, damaged, or not the one that is wanted.
        MissingDependency: onnxruntime, or its CUDA provider, is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependency("the in-process engine needs onnxruntime; pip install 'img2poem[local]'") from None
    providers = PROVIDERS[device]
    if providers[0][0] not in onnxruntime.get_available_providers():
        raise MissingDependency("this onnxruntime has no CUDA; pip install 'img2poem[gpu]' in its place")
    repository = repository or path.parents[2]
    # Not a session from the bytes that were hashed: it takes twice the memory, and a second for all models.
    check_file(path, sha256, repository)
    try:
        return onnxruntime.InferenceSession(str(path), session_options(threads), providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise BadRepository(f"{path} cannot be loaded ({error}); {how_to_mend(repository)}") from error


def check_file(path: Path, sha256: str | None, repository: Path) -> None:
    """Refuse a file that is not in ``repository`` as it was exported; ``sha256`` in hex, None for whatever it is.

    Raises:
        BadRepository: the file is missing or has another hash.
    """
    if not path.is_file():
        raise BadRepository(f"{path} is missing; {how_to_mend(repository)}")
    if sha256 not in (None, manifest.hash_of(path)):
        raise BadRepository(f"{path} has changed since it was exported; {how_to_mend(repository)}")


def session_options(threads: int | None = None) -> SessionOptions:
    """Return the options of every session: threads that spin between the operators of a model that runs.

    One caller gets a poem in 0.8 of the time; longer, and eight at once would take 1.1 times the time (docs/speed.md).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    # Known from onnxruntime 1.26 on; those before spin until the model has run.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    # Sessions whose idle threads spin slow each other down several times over on few cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    # It knows the host's cores alone: in a container, a thread on each of them would wait for time that is not there.
    if threads is not None or cores.allowed() < (os.cpu_count() or 1):
        options.intra_op_num_threads = threads or cores.allowed()
    return options
