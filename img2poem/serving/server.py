"""Start, watch and stop ``tritonserver`` from the ``nvidia-pytriton`` wheel."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from ..errors import InvalidOption, ServerError
from ..files.outputs import check_log
from . import shared_memory, wheel
from .repository import verify
from .settings import Ports, ServerSettings, reachable
from .workers import Workers

__all__ = ["Ports", "ServerSettings", "TritonServer"]

#: Seconds between two checks of the models' processes.
_LOOK_EVERY = 1.0
#: Opens addresses of this machine; ignores proxies of the environment.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
#: Seconds that Triton gives its models to unload at exit.
_EXIT_SECONDS = 5
#: Triton 2.51 uses 16 bytes of stack per fragment of an HTTP body: with the usual stack of 8 MiB, a photograph of 5 MB
#: sent by curl crashes it (SIGSEGV). A larger stack is only reserved address space, not used memory.
_WITH_DEEP_STACKS = 'ulimit -s 1048576 2>/dev/null || ulimit -S -s "$(ulimit -H -s)"; exec "$@"'


class TritonServer:
    """A ``tritonserver`` process that serves one model repository; use it as a context manager.

    Args:
        repository: model repository, written by ``python -m export.all``.
        ports: ports to listen on; all must be free.
        settings: addresses, TLS, limits; by default only this machine can reach the server.
        log: file to which the server's log is appended, outside the repository; by default a temporary file.
        ready_timeout: seconds in which all models must become ready.

    Raises:
        InvalidOption: ``log`` cannot be appended to, or lies within the repository.
        BadRepository: ``repository`` is not a repository, or has changed since its export (on start).
        MissingDependency: the wheel is not installed, or has no stub for this Python (on start).
        ServerError: a port is taken, too little shared memory is free, or the server exited or did not become ready
            (on start).
    """

    def __init__(
        self,
        repository: Path,
        ports: Ports = Ports(),
        settings: ServerSettings = ServerSettings(),
        log: Path | None = None,
        ready_timeout: float = 120.0,
    ) -> None:
        if log is not None:
            check_log(log)
            if log.resolve().is_relative_to(repository.resolve()):
                raise InvalidOption(f"{log} is within the repository, which must not change; name another file")
        self.repository, self.ports, self.settings = repository, ports, settings
        self._log, self._log_path, self._ready_timeout = log, Path(os.devnull), ready_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._workers: Workers | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        #: Prefix of the names of its shared memory, by which the regions of killed processes are removed.
        self._shared = f"img2poem_{secrets.token_hex(8)}_"

    @property
    def grpc_url(self) -> str:
        """Address for :class:`img2poem.Img2Poem`."""
        scheme = "grpcs" if self.settings.tls else "grpc"
        return f"{scheme}://{reachable(self.settings.host)}:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        """Base address of the KServe v2 REST protocol."""
        return f"http://{reachable(self.settings.http_host)}:{self.ports.http}"

    @property
    def metrics_url(self) -> str:
        """Address of the Prometheus metrics."""
        return f"http://{reachable(self.settings.http_host)}:{self.ports.metrics}/metrics"

    @property
    def pid(self) -> int | None:
        """Process id of ``tritonserver``; None if it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when every model is ready."""
        if self.settings.verify:
            verify(self.repository)
        for fault in taken_ports(self.ports, self.settings):
            raise fault
        if (free := shared_memory.free()) < (needed := shared_memory.needed(self.repository)):
            here, wanted, enough = (size // 2**20 for size in (free, needed, needed + shared_memory.ROOM))
            raise ServerError(
                f"{shared_memory.FOLDER} has {here} MiB free, the server needs {wanted} MiB to start; "
                f"give the container {enough} MiB (--shm-size)"
            )
        self._folder = tempfile.TemporaryDirectory(prefix="img2poem-triton-")
        try:
            folder, triton = Path(self._folder.name), wheel.triton_folder()
            command = self._command(triton, wheel.lay_out_backends(triton, folder))
            self._log_path = self._log or folder / "triton.log"
            with open(self._log_path, "ab") as log:
                before = log.tell()
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=wheel.environment(triton),
                    start_new_session=True,
                )
            self._guard = _guard(self._process.pid, shared_memory.FOLDER / self._shared)
            self._wait_until_ready(before)
            self._workers = Workers(self._process.pid)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Block until the server exits by itself.

        Raises:
            ServerError: the server exited with an error, or the process of a model died.
        """
        assert self._process is not None and self._workers is not None
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if code := self._process.wait(_LOOK_EVERY):
                    raise ServerError(f"tritonserver ended unexpectedly with {_meaning(code)}")
                return
            if dead := self._workers.dead():
                raise ServerError(f"the process of {', '.join(dead)} died; Triton cannot replace it")

    def stop(self) -> None:
        """Stop the server when running requests have finished, or after ``drain_timeout``."""
        try:
            if self._process is not None and self._process.poll() is None:
                if self._workers is not None:
                    self._workers.wait_until_idle(self.settings.drain_timeout)
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_EXIT_SECONDS + 10)
        finally:  # also if a second Ctrl-C interrupts the wait
            if self._process is not None:
                # The backend processes are in the server's process group.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._process = self._workers = None
                for path in shared_memory.FOLDER.glob(f"{self._shared}*"):
                    path.unlink(missing_ok=True)
            if self._guard is not None:
                self._guard.kill()
                self._guard.communicate()
                self._guard = None
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _command(self, triton: Path, backends: Path) -> list[str]:
        return [
            *("/bin/sh", "-c", _WITH_DEEP_STACKS, "sh"),
            str(triton / "bin" / "tritonserver"),
            f"--model-repository={self.repository.resolve()}",
            f"--backend-directory={backends}",
            "--disable-auto-complete-config",
            "--allow-gpu-metrics=false",
            f"--exit-timeout-secs={_EXIT_SECONDS}",
            # Python-based backends, such as ours for ONNX Runtime, use the settings of the backend `python`.
            f"--backend-config=python,shm-default-byte-size={shared_memory.REGION}",
            f"--backend-config=python,shm-region-prefix-name={self._shared}",
            *self.settings.arguments(self.ports, triton / "caches"),
        ]

    def _wait_until_ready(self, before: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._ready_timeout
        # The port of the metrics opens only after the server reports ready.
        while not (_answers(f"{self.http_url}/v2/health/ready") and _answers(self.metrics_url)):
            code = self._process.poll()
            if code is not None:
                raise ServerError(
                    f"tritonserver ended with {_meaning(code)} before it was ready:\n{self._errors(before)}"
                )
            if time.monotonic() > deadline:
                raise ServerError(
                    f"tritonserver was not ready after {self._ready_timeout:.0f} s:\n{self._errors(before)}"
                )
            time.sleep(0.1)

    def _errors(self, before: int) -> str:
        """Return the last errors and warnings in the log from byte ``before`` on, or its last lines if it has none."""
        with open(self._log_path, encoding="utf-8", errors="replace") as log:
            log.seek(before)
            lines = log.read().splitlines()
        # Without a GPU the server logs several harmless errors about CUDA.
        telling = [line for line in lines if line[:1] in "EW" and "cuda" not in line.lower()]
        return "\n".join((telling or lines)[-15:])


def taken_ports(ports: Ports, settings: ServerSettings) -> list[ServerError]:
    """Return an error for each port on which the server could not listen."""
    wanted = (
        (settings.http_host, ports.http, "--http-port"),
        (settings.host, ports.grpc, "--grpc-port"),
        (settings.http_host, ports.metrics, "--metrics-port"),
    )
    return [fault for host, port, option in wanted if (fault := _port_fault(host, port, option))]


def _port_fault(host: str, port: int, option: str) -> ServerError | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: closing connections of an earlier server (TIME_WAIT) do not occupy the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            return ServerError(f"port {port} on {host} cannot be used ({reason}); choose another with {option}")
    return None


def _guard(session: int, shared: Path) -> subprocess.Popen[bytes]:
    """Start a process that stops the server's ``session`` if this process dies without doing so, e.g. by SIGKILL.

    It then removes the shared memory whose names begin with ``shared``.

    It waits on a pipe that only this process holds open. (PR_SET_PDEATHSIG would reach only the server, and not its
    backend processes, which survive if the server is killed during loading.)
    """
    script = 'read -r _; kill -s TERM -- "-$1"; sleep 5; kill -s KILL -- "-$1"; rm -f -- "$2"*'
    command = ["/bin/sh", "-c", script, "sh", str(session), str(shared)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _meaning(code: int) -> str:
    """Return the exit status in words."""
    return f"code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
