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

#: Seconds between two looks at the processes of the models.
_LOOK_EVERY = 1.0
#: This machine is asked without the proxy that the environment may name.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
#: What Triton gives its models to end.
_EXIT_SECONDS = 5
#: Triton 2.51 takes 16 bytes of stack for each fragment of an HTTP body: with the usual 8 MiB, a photograph
#: of 5 MB that curl sends ends it by SIGSEGV. Stacks are only reserved, not filled.
_WITH_DEEP_STACKS = 'ulimit -s 1048576 2>/dev/null || ulimit -S -s "$(ulimit -H -s)"; exec "$@"'


class TritonServer:
    """A ``tritonserver`` process over one model repository; use it as a context manager.

    Args:
        repository: what ``python -m export.all`` wrote.
        ports: must all be free.
        settings: addresses, encryption, limits; for this machine alone by default.
        log: file that takes the server's own log, behind what it holds; a temporary one by default. Outside the
            repository.
        ready_timeout: seconds until every model must be ready.

    Raises:
        InvalidOption: ``log`` is no file that lines may be appended to.
        BadRepository: ``repository`` is not one, or is not as it was exported.
        MissingDependency: the wheel is not installed, or has no stub for this Python.
        ServerError: a port is taken, too little shared memory is free, or the server ended or did not become ready.
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
                raise InvalidOption(f"{log} is within the repository, which is served as it was exported")
        self.repository, self.ports, self.settings = repository, ports, settings
        self._log, self._log_path, self._ready_timeout = log, Path(os.devnull), ready_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._workers: Workers | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        #: How the names of its shared memory begin; processes that are killed leave theirs behind.
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
        """Process of ``tritonserver``; None when it is not running."""
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
        """Block until the server ends by itself.

        Raises:
            ServerError: it ended with an error, or the process of one of its models did.
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
        """Stop the server when requests in flight have finished, or the drain has taken too long."""
        try:
            if self._process is not None and self._process.poll() is None:
                if self._workers is not None:
                    self._workers.wait_until_idle(self.settings.drain_timeout)
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_EXIT_SECONDS + 10)
        finally:  # also when a second Ctrl-C cuts the wait short
            if self._process is not None:
                # The Python backends are processes of their own in the server's session.
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
            # Backends that are written in Python, as ours for ONNX Runtime, go by what is said of Triton's own.
            f"--backend-config=python,shm-default-byte-size={shared_memory.REGION}",
            f"--backend-config=python,shm-region-prefix-name={self._shared}",
            *self.settings.arguments(self.ports, triton / "caches"),
        ]

    def _wait_until_ready(self, before: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._ready_timeout
        # The metrics' port opens after the server calls itself ready.
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
        """Return what of the log behind ``before`` says why: its errors and warnings, or else its end."""
        with open(self._log_path, encoding="utf-8", errors="replace") as log:
            log.seek(before)
            lines = log.read().splitlines()
        # Without a GPU the server complains of CUDA several times and works all the same.
        telling = [line for line in lines if line[:1] in "EW" and "cuda" not in line.lower()]
        return "\n".join((telling or lines)[-15:])


def taken_ports(ports: Ports, settings: ServerSettings) -> list[ServerError]:
    """Return an error for each port that the server could not listen on."""
    wanted = (
        (settings.http_host, ports.http, "--http-port"),
        (settings.host, ports.grpc, "--grpc-port"),
        (settings.http_host, ports.metrics, "--metrics-port"),
    )
    return [fault for host, port, option in wanted if (fault := _port_fault(host, port, option))]


def _port_fault(host: str, port: int, option: str) -> ServerError | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier one that are still closing do not count as use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            return ServerError(f"port {port} on {host} cannot be used ({reason}); choose another with {option}")
    return None


def _guard(session: int, shared: Path) -> subprocess.Popen[bytes]:
    """Start a process that stops the server's ``session`` when we die without stopping it, by SIGKILL say.

    It then removes the shared memory whose names begin with ``shared``.

    It waits on a pipe that only we hold open. (PR_SET_PDEATHSIG would reach the server but not the
    processes of its Python backend, which stay behind when it is killed while it loads.)
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
