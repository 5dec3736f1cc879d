"""Checks of ``img2poem serve --check``: can this machine serve this repository, and if not, what to do."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import ContractMismatch, MissingDependency
from ..system.findings import Finding, Verdict
from . import shared_memory, wheel
from .repository import faults
from .server import taken_ports
from .settings import Ports, ServerSettings

_MIB = 2**20
#: Minimum version of glibc: the wheel's binaries need its symbols.
_GLIBC = (2, 35)
#: Resident memory of the server itself, and of each model's process with an empty graph (measured).
_SERVER_MIB, _MODEL_MIB = 50, 75
#: Memory of a loaded graph after full batches, as a multiple of its model file (measured).
_MODEL_FACTOR = 6


def check_up(repository: Path, ports: Ports, settings: ServerSettings) -> list[Finding]:
    """Return the findings about this machine and then about the repository. The server is not started."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _glibc,
        _wheel,
        _onnxruntime,
        lambda: _ports(ports, settings),
        lambda: _memory(repository),
        lambda: _shared_memory(repository),
        lambda: _exposure(settings),
        lambda: _repository(repository),
    ]
    return [finding for check in checks for finding in check()]


def _glibc() -> Iterator[Finding]:
    wanted = ".".join(map(str, _GLIBC))
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        enough = name == "glibc" and tuple(map(int, version.split(".")[:2])) >= _GLIBC
    except (ValueError, OSError):
        version, enough = "none", False
    advice = (
        f"the server's wheel needs glibc {wanted} or newer (Debian 12, Ubuntu 22.04): use such a system or the image"
    )
    yield Finding("glibc", Verdict.ok, version) if enough else Finding("glibc", Verdict.failed, version, advice)


def _wheel() -> Iterator[Finding]:
    """Run both programs of the wheel: the dynamic loader names a missing library."""
    try:
        triton = wheel.triton_folder()
        yield Finding("wheel", Verdict.ok, str(triton))
        yield from _program("tritonserver", [str(triton / "bin" / "tritonserver"), "--help"], triton)
        yield from _program(f"stub for Python {wheel.PYTHON}", [str(wheel.stub_of(triton))], triton)
    except MissingDependency as error:
        yield Finding("wheel", Verdict.failed, str(error), "pip install 'img2poem[server]' on Python 3.10 to 3.12")


def _program(name: str, command: list[str], triton: Path) -> Iterator[Finding]:
    try:
        done = subprocess.run(
            command, env=wheel.environment(triton), stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding(name, Verdict.failed, str(error), "reinstall nvidia-pytriton")
        return
    lacking = [
        line
        for line in done.stderr.decode("utf-8", "replace").splitlines()
        if "error while loading shared libraries" in line
    ]
    if not lacking:
        yield Finding(name, Verdict.ok, "runs")
        return
    advice = "install that library"
    if "libpython" in lacking[0]:
        advice = (
            "install the shared libpython of this Python (Debian: libpython3-dev), or add its folder to LD_LIBRARY_PATH"
        )
    yield Finding(name, Verdict.failed, lacking[0], advice)


def _onnxruntime() -> Iterator[Finding]:
    if importlib.util.find_spec("onnxruntime"):
        yield Finding("onnxruntime", Verdict.ok, "installed")
    else:
        yield Finding("onnxruntime", Verdict.failed, "not installed", "pip install 'img2poem[server]'")


def _ports(ports: Ports, settings: ServerSettings) -> Iterator[Finding]:
    taken = taken_ports(ports, settings)
    for fault in taken:
        detail, _, advice = str(fault).partition("; ")
        yield Finding("ports", Verdict.failed, detail, advice)
    if not taken:
        yield Finding("ports", Verdict.ok, f"gRPC {ports.grpc}, REST {ports.http}, metrics {ports.metrics} are free")


def _memory(repository: Path) -> Iterator[Finding]:
    models = [*repository.glob("*/*/model.*")]
    sizes = [path.stat().st_size / _MIB for path in models for _ in range(shared_memory.instances(path.parents[1]))]
    needed = _SERVER_MIB + sum(_MODEL_MIB + _MODEL_FACTOR * size for size in sizes)
    free = _available() / _MIB
    detail = f"{free:,.0f} MiB free, about {needed:,.0f} MiB needed for {len(models)} models"
    if free >= needed:
        yield Finding("memory", Verdict.ok, detail)
    else:
        yield Finding("memory", Verdict.warning, detail, "free memory, or raise the container's limit")


def _available() -> float:
    """Return the available memory in bytes: the machine's, or the container's if that is less."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    [machine] = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text(encoding="ascii") for name in ("max", "current"))
        return min(machine, int(limit) - int(used))
    except (OSError, ValueError):  # no cgroup (version 2), or no limit
        return machine


def _shared_memory(repository: Path) -> Iterator[Finding]:
    free, needed = shared_memory.free(), shared_memory.needed(repository)
    detail = f"{free / _MIB:,.0f} MiB free in {shared_memory.FOLDER}, {needed / _MIB:,.0f} MiB needed at the start"
    wanted = (needed + shared_memory.ROOM) / _MIB
    advice = f"photographs need more: give the container at least {wanted:,.0f} MiB (--shm-size)"
    if free >= needed + shared_memory.ROOM:
        yield Finding("shared memory", Verdict.ok, detail)
    else:
        yield Finding("shared memory", Verdict.warning if free >= needed else Verdict.failed, detail, advice)


def _exposure(settings: ServerSettings) -> Iterator[Finding]:
    if settings.is_local:
        yield Finding("addresses", Verdict.ok, "this machine only")
    else:
        yield Finding("addresses", Verdict.warning, f"listens on {settings.open_addresses}", EXPOSED)


#: Warning about a server that other machines can reach.
EXPOSED = (
    "anyone who can reach it can use it, and the wheel's Triton 2.51 has known vulnerabilities that later releases "
    "fixed: keep it behind a firewall, expose only gRPC and with --grpc-ca, or run the container image"
)


def _repository(repository: Path) -> Iterator[Finding]:
    found = list(faults(repository))
    for fault in found:
        detail, _, advice = str(fault).rpartition("; ")
        name = "contract" if isinstance(fault, ContractMismatch) else "repository"
        yield Finding(name, Verdict.failed, detail, advice)
    if not found:
        yield Finding("repository", Verdict.ok, f"{repository} is as it was exported")
