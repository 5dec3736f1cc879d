"""Start, watch and stop ``tritonserver`` from the ``nvidia-pytriton`` wheel."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..errors import BadRepository, MissingDependency, ServerError

_BACKENDS = Path(__file__).parent / "backends"


@dataclass(frozen=True)
class Ports:
    """Where the server listens."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002

    @classmethod
    def free(cls) -> Ports:
        """Return three ports that nobody uses just now."""
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        try:
            return cls(*(s.getsockname()[1] for s in sockets))
        finally:
            for s in sockets:
                s.close()


class TritonServer:
    """A ``tritonserver`` process over one model repository; use it as a context manager.

    Args:
        repository: what ``python -m export.all`` wrote.
        ports: must all be free.
        host: address to listen on; loopback unless told otherwise.
        log: file that takes the server's own log; a temporary one by default.
        ready_timeout: seconds until every model must be ready.

    Raises:
        BadRepository: ``repository`` is not one.
        MissingDependency: the wheel is not installed, or has no stub for this Python.
        ServerError: a port is taken, or the server ended or did not become ready.
    """

    def __init__(
        self,
        repository: Path,
        ports: Ports = Ports(),
        host: str = "127.0.0.1",
        log: Path | None = None,
        ready_timeout: float = 120.0,
    ) -> None:
        self.repository, self.ports, self.host = repository, ports, host
        self._log_path, self._ready_timeout = log, ready_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def grpc_url(self) -> str:
        """Address for :class:`img2poem.Img2Poem`."""
        return f"grpc://{self.host}:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        """Base address of the KServe v2 REST protocol."""
        return f"http://{self.host}:{self.ports.http}"

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when every model is ready."""
        check_repository(self.repository)
        for option, port in (
            ("--http-port", self.ports.http),
            ("--grpc-port", self.ports.grpc),
            ("--metrics-port", self.ports.metrics),
        ):
            _check_port(self.host, port, option)
        self._folder = tempfile.TemporaryDirectory(prefix="img2poem-triton-")
        try:
            folder = Path(self._folder.name)
            wheel = _wheel()
            _lay_out_backends(wheel, folder)
            log_path = self._log_path or folder / "triton.log"
            with open(log_path, "wb") as log:
                self._process = subprocess.Popen(
                    self._command(wheel, folder),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=_environment(wheel),
                    start_new_session=True,
                )
            self._guard = _guard(self._process.pid)
            self._wait_until_ready(log_path)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Block until the server ends by itself.

        Raises:
            ServerError: it ended with an error.
        """
        assert self._process is not None
        if code := self._process.wait():
            raise ServerError(f"tritonserver ended unexpectedly with code {code}")

    def stop(self, timeout: float = 30.0) -> None:
        """Stop the server: by SIGTERM, letting requests in flight finish, by SIGKILL after ``timeout`` s."""
        try:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout)
        finally:  # also when a second Ctrl-C cuts the wait short
            if self._process is not None:
                # The Python backends are processes of their own in the server's session.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._process = None
            if self._guard is not None:
                self._guard.kill()
                self._guard.communicate()
                self._guard = None
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _command(self, wheel: Path, folder: Path) -> list[str]:
        return [
            str(wheel / "bin" / "tritonserver"),
            f"--model-repository={self.repository.resolve()}",
            f"--backend-directory={folder / 'backends'}",
            "--disable-auto-complete-config",
            f"--http-address={self.host}",
            f"--http-port={self.ports.http}",
            f"--grpc-address={self.host}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-address={self.host}",
            f"--metrics-port={self.ports.metrics}",
            "--allow-gpu-metrics=false",
            "--exit-timeout-secs=20",
        ]

    def _wait_until_ready(self, log_path: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._ready_timeout
        while not _answers(f"{self.http_url}/v2/health/ready"):
            code = self._process.poll()
            if code is not None:
                raise ServerError(f"tritonserver ended with code {code} before it was ready:\n{_errors_in(log_path)}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"tritonserver was not ready after {self._ready_timeout:.0f} s:\n{_errors_in(log_path)}"
                )
            time.sleep(0.1)


def check_repository(repository: Path) -> None:
    """Raise ``BadRepository`` unless every file that the repository's manifest names is there."""
    try:
        files = json.loads((repository / "manifest.json").read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BadRepository(
            f"{repository} holds no exported model repository; make one with: python -m export.all --out {repository}"
        ) from None
    missing = [name for name in files if not (repository / name).is_file()]
    if missing:
        raise BadRepository(
            f"{repository} lacks {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''}; "
            f"make it anew with: python -m export.all --out {repository}"
        )


def _wheel() -> Path:
    """Return the wheel's ``tritonserver`` folder, found without importing pytriton."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency("the Triton server is not installed; pip install 'img2poem[server]'")
    return Path(spec.submodule_search_locations[0]) / "tritonserver"


def _lay_out_backends(wheel: Path, folder: Path) -> None:
    """Lay the wheel's Python backend, with the stub for this Python, beside our onnxruntime backend."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise MissingDependency(f"nvidia-pytriton has no stub for Python {version}; use one of 3.10 to 3.12")
    backends = folder / "backends"
    shutil.copytree(wheel / "backends" / "python", backends / "python", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(stub, backends / "python")
    shutil.copytree(_BACKENDS / "onnxruntime", backends / "onnxruntime", ignore=shutil.ignore_patterns("__pycache__"))


def _environment(wheel: Path) -> dict[str, str]:
    """The stub takes packages from the first ``python3`` on PATH, and needs libpython and the wheel's libraries."""
    libraries = [str(wheel.parent.parent / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR") or ""]
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *([inherited] if inherited else [])]),
    }


def _guard(session: int) -> subprocess.Popen[bytes]:
    """Start a process that stops the server's ``session`` when we die without stopping it, by SIGKILL say.

    It waits on a pipe that only we hold open. (PR_SET_PDEATHSIG would reach the server but not the
    processes of its Python backend, which stay behind when it is killed while it loads.)
    """
    script = 'read -r _; kill -s TERM -- "-$1"; sleep 5; kill -s KILL -- "-$1"'
    command = ["/bin/sh", "-c", script, "sh", str(session)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _check_port(host: str, port: int, option: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier one that are still closing do not count as use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerError(
                f"port {port} on {host} cannot be used ({error.strerror}); choose another with {option}"
            ) from None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _errors_in(log_path: Path) -> str:
    """Return what of the server's log says why: its errors and warnings, or else its end."""
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    # Without a GPU the server complains of CUDA several times and works all the same.
    telling = [line for line in lines if line[:1] in "EW" and "cuda" not in line.lower()]
    return "\n".join((telling or lines)[-15:])
