"""Detect leaks: memory, file descriptors and threads of a client's process must not grow over many calls.

    python -m benchmarks.leaks --calls 10000          # starts a server; gRPC and HTTP, threads, asyncio and streams
    python -m benchmarks.leaks --calls 1000 --url grpc://127.0.0.1:8001

It exits with status 1 if a value grew between the first fifth of the calls and the last.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import io
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from img2poem import AsyncImg2Poem, Greedy, Img2Poem
from img2poem.artifacts.installed import EXPORTED
from img2poem.serving.server import Ports, TritonServer

from .processes import resident_mib

#: Concurrent calls.
WORKERS = 16
#: Allowed growth of memory from the first to the last measurement, in MiB: allocators keep some freed memory.
ALLOWED_MIB = 16.0
STRATEGY = Greedy(max_lines=4, max_tokens=24)


class Usage(NamedTuple):
    """Resources that this process uses."""

    mib: float
    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> Usage:
        """Measure after garbage collection."""
        gc.collect()
        return cls(resident_mib(os.getpid()), len(list(Path("/proc/self/fd").iterdir())), threading.active_count())


def with_threads(url: str, photos: list[bytes], calls: int) -> list[Usage]:
    """Make ``calls`` calls in ``WORKERS`` threads and measure five times."""
    looks = []
    with Img2Poem(url) as poet, ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(5):
            list(pool.map(lambda i: poet.write(photos[i % len(photos)], STRATEGY), range(calls // 5)))
            looks.append(Usage.now())
    return looks


def with_asyncio(url: str, photos: list[bytes], calls: int) -> list[Usage]:
    """Make ``calls`` calls in ``WORKERS`` tasks and measure five times."""

    async def run() -> list[Usage]:
        looks = []
        async with AsyncImg2Poem(url, concurrency=WORKERS) as poet:
            for _ in range(5):
                await poet.write([photos[i % len(photos)] for i in range(calls // 5)], STRATEGY)
                looks.append(Usage.now())
        return looks

    return asyncio.run(run())


def with_streams(url: str, photos: list[bytes], calls: int) -> list[Usage]:
    """Read ``calls`` / 10 streams, a third of them only to the first line, and measure five times."""

    def read(number: int) -> None:
        with contextlib.closing(poet.stream(photos[number % len(photos)], STRATEGY)) as lines:
            list(itertools.islice(lines, None if number % 3 else 1))

    looks = []
    with Img2Poem(url) as poet, ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(5):
            list(pool.map(read, range(calls // 50)))
            looks.append(Usage.now())
    return looks


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000, help="calls by each interface")
    parser.add_argument("--url", action="append", help="a running server to use instead of starting one")
    options = parser.parse_args()
    photos = [_photo(shade) for shade in range(0, 256, 32)]
    grown = False
    with ExitStack() as stack:
        urls = options.url
        if not urls:
            server = stack.enter_context(TritonServer(EXPORTED, Ports.free()))
            urls = [server.grpc_url, server.http_url]
        for url in urls:
            for way in (with_threads, with_asyncio, with_streams):
                grown |= _measured(way, url, photos, options.calls)
    return int(grown)


def _measured(way: Callable[[str, list[bytes], int], list[Usage]], url: str, photos: list[bytes], calls: int) -> bool:
    started = time.perf_counter()
    first, *_, last = looks = way(url, photos, calls)
    seconds = time.perf_counter() - started
    grown = last.mib > first.mib + ALLOWED_MIB or last.descriptors > first.descriptors or last.threads > first.threads
    memory = " ".join(f"{look.mib:.0f}" for look in looks)
    print(
        f"{way.__name__:13} {url.partition(':')[0]:5} {calls} calls, {calls / seconds:.0f}/s, MiB {memory}, "
        f"descriptors {first.descriptors} -> {last.descriptors}, threads {first.threads} -> {last.threads}"
        f"{' GREW' if grown else ''}",
        flush=True,
    )
    return grown


def _photo(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (160, 120), (shade, 255 - shade, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
