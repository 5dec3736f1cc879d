"""What befalls a server during :mod:`benchmarks.endurance`: each fault is a method, and takes its time."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from img2poem.serving.settings import KEY_HEADER

from .processes import servers_of, workers_of

#: Debian's package of that name; it moves the time of day, not the clock that waiting is measured by.
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_LEAPS = ("+0", "+1d", "-1d", "+400d", "-3h", "+5m")
#: MiB of the disk that takes the log.
_DISK = 4


class Faults:
    """Chooses faults at random until it is stopped.

    Args:
        repository: that is served, by whose path the processes are found.
        grpc: address of the server.
        key: of its restricted interfaces.
        folder: takes the log's disk and the file that says what time it is.
        seed: of the choices.
    """

    def __init__(self, repository: Path, grpc: str, key: str, folder: Path, seed: int) -> None:
        self._repository, self._grpc, self._key = repository, grpc, key
        self._chance = random.Random(seed)
        self._disk, self._clock = folder / "disk", folder / "clock"
        self._clock.write_text("+0", encoding="ascii")
        self._disk.mkdir()
        self._mounted = _mount(self._disk)
        self.counts: Counter[str] = Counter()
        self.left_out = [
            *([] if self._mounted else ["the log's disk is not filled: mounting a tmpfs needs root"]),
            *([] if FAKETIME.exists() else [f"the clock is not moved: no {FAKETIME} (Debian: libfaketime)"]),
        ]

    @property
    def log(self) -> Path:
        """Where the server is to log: on a disk of few MiB."""
        return self._disk / "triton.log"

    @property
    def img2poem(self) -> list[str]:
        """The command `img2poem`, whose Triton has a clock that can be moved.

        Only Triton: with libfaketime 0.9.10 Python 3.11 cannot sleep.
        """
        if not FAKETIME.exists():
            return [sys.executable, "-m", "img2poem"]
        clock = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
        }
        lines = [
            "from img2poem.cli.app import app",
            "from img2poem.serving import wheel",
            "usual = wheel.environment",
            f"wheel.environment = lambda triton: {{**usual(triton), **{clock!r}}}",
            "app()",
        ]
        return [sys.executable, "-c", "\n".join(lines)]

    def run(self, over: threading.Event, pause: tuple[float, float], tell: Callable[[str], None]) -> None:
        """Let a fault happen after each pause of so many seconds, until ``over``."""
        faults: list[Callable[[], None]] = [self.kill_a_model, self.kill_a_model, self.kill_the_server, self.reload]
        faults += [self.fill_the_disk] if self._mounted else []
        faults += [self.move_the_clock] if FAKETIME.exists() else []
        while not over.wait(self._chance.uniform(*pause)):
            fault = self._chance.choice(faults)
            name = fault.__name__.replace("_", " ")
            self.counts[name] += 1
            tell(name)
            fault()

    def kill_a_model(self) -> None:
        """Kill the process of one model."""
        if workers := workers_of(self._repository):
            _kill(workers[self._chance.choice(sorted(workers))])

    def kill_the_server(self) -> None:
        """Kill Triton itself."""
        for pid in servers_of(self._repository):
            _kill(pid)

    def reload(self) -> None:
        """Load a model anew, under load."""
        models = sorted(path.parent.name for path in self._repository.glob("*/config.pbtxt"))
        client = triton.InferenceServerClient(self._grpc)
        with contextlib.suppress(InferenceServerException):  # the server may be down just now
            headers = {f"triton-grpc-protocol-{KEY_HEADER}": self._key}
            client.load_model(self._chance.choice(models), headers=headers, client_timeout=60)
        client.close()

    def fill_the_disk(self) -> None:
        """Leave no byte for the log; or make room again, where there is none."""
        filler = self._disk / "filler"
        if filler.exists():
            filler.unlink()
            os.truncate(self.log, 0)
            return
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def move_the_clock(self) -> None:
        """Let it be another day."""
        self._clock.write_text(self._chance.choice(_LEAPS), encoding="ascii")

    def close(self) -> None:
        """Take the disk away."""
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self._disk)], check=False)


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}m", "img2poem", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
