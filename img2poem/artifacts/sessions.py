"""Opens the ONNX files of a repository with ONNX Runtime."""

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

#: ONNX Runtime's execution providers for each device, with their options.
PROVIDERS: dict[Device, list[tuple[str, dict[str, str]]]] = {
    "cpu": [("CPUExecutionProvider", {})],
    # Matrix products in TF32, the default, give different poems than a CPU.
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
        path: path of the file.
        device: ``cpu`` or ``cuda``.
        sha256: expected SHA-256 of the file in hex; None skips the check.
        repository: repository of the file; by default found from the path in Triton's layout.
        threads: threads of the session; by default one for each core that the process may use.

    Raises:
        BadRepository: the file is missing or damaged, or has another hash.
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
    # The session does not get the hashed bytes: that takes twice the memory, and a second more for all models.
    check_file(path, sha256, repository)
    try:
        return onnxruntime.InferenceSession(str(path), session_options(threads), providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise BadRepository(f"{path} cannot be loaded ({error}); {how_to_mend(repository)}") from error


def check_file(path: Path, sha256: str | None, repository: Path) -> None:
    """Check that a file of ``repository`` exists and has the hash ``sha256`` (in hex; None skips the comparison).

    Raises:
        BadRepository: the file is missing or has another hash.
    """
    if not path.is_file():
        raise BadRepository(f"{path} is missing; {how_to_mend(repository)}")
    if sha256 not in (None, manifest.hash_of(path)):
        raise BadRepository(f"{path} has changed since it was exported; {how_to_mend(repository)}")


def session_options(threads: int | None = None) -> SessionOptions:
    """Return the options of every session: its threads spin for 50 µs between the operators of a running model.

    A single caller gets a poem in 0.8 of the time without spinning. If threads spun until the model ends, eight
    concurrent callers would take 1.1 to 1.15 times as long (docs/speed.md).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    # Known to onnxruntime 1.26 and newer; older ones spin until the model has run.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    # On few cores, sessions whose idle threads spin slow each other down several times over.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    # onnxruntime counts the host's cores; in a container with fewer, its threads would wait for CPU time.
    if threads is not None or cores.allowed() < (os.cpu_count() or 1):
        options.intra_op_num_threads = threads or cores.allowed()
    return options
