"""The faults of :mod:`benchmarks.endurance`: one method each."""

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

#: From Debian's package libfaketime; it moves the wall clock, not the monotonic clock for timeouts.
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_LEAPS = ("+0", "+1d", "-1d", "+400d", "-3h", "+5m")
#: Size in MiB of the log's disk.
_DISK = 4


class Faults:
    """Injects random faults until stopped.

    Args:
        repository: path of the served repository; identifies the server's processes.
        grpc: address of the server.
        key: key for its restricted interfaces.
        folder: for the log's disk and the file that sets the clock.
        seed: seed of the choices.
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
        """Path of the server's log, on the small disk."""
        return self._disk / "triton.log"

    @property
    def img2poem(self) -> list[str]:
        """The command `img2poem`, with a movable clock for Triton.

        Only for Triton: with libfaketime 0.9.10, Python 3.11 cannot sleep.
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
        """Inject a fault after each random pause of ``pause`` seconds, until ``over`` is set."""
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
        """Kill one model's process."""
        if workers := workers_of(self._repository):
            _kill(workers[self._chance.choice(sorted(workers))])

    def kill_the_server(self) -> None:
        """Kill Triton itself."""
        for pid in servers_of(self._repository):
            _kill(pid)

    def reload(self) -> None:
        """Reload a model under load."""
        models = sorted(path.parent.name for path in self._repository.glob("*/config.pbtxt"))
        client = triton.InferenceServerClient(self._grpc)
        with contextlib.suppress(InferenceServerException):  # the server may be down
            headers = {f"triton-grpc-protocol-{KEY_HEADER}": self._key}
            client.load_model(self._chance.choice(models), headers=headers, client_timeout=60)
        client.close()

    def fill_the_disk(self) -> None:
        """Fill the log's disk; if it is full, free it again."""
        filler = self._disk / "filler"
        if filler.exists():
            filler.unlink()
            os.truncate(self.log, 0)
            return
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def move_the_clock(self) -> None:
        """Set another date."""
        self._clock.write_text(self._chance.choice(_LEAPS), encoding="ascii")

    def close(self) -> None:
        """Unmount the disk."""
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self._disk)], check=False)


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}m", "img2poem", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
