"""A downloader of many small files, most of them photographs, from addresses that may have died.

>>> report = download([Download("https://example.org/1.jpg", Path("photos/1.jpg"))], Path("photos"))

A file gets its final name only when it is whole and verified. An interrupted download is started again by
the same call: what is whole is skipped, and what is cut off goes on if the server can tell that it is still
the same file (``Range`` with ``If-Range``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Img2PoemError, InvalidOption, MissingDependency
from ..images.decode import decode
from .errors import DownloadStopped

try:
    import httpx
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .proxied import Proxied
    from .report import DownloadReport, Outcome, Result
    from .transfer import DownloadOptions, Lost, Transfer
except ImportError as error:
    raise MissingDependency(f"downloading needs {error.name}; pip install 'img2poem[data]'") from error

__all__ = ["Download", "DownloadOptions", "DownloadReport", "Outcome", "Result", "download", "download_async"]

REPORT_FILE = "download_report.json"
_USER_AGENT = "img2poem (research data set download)"


@dataclass(frozen=True)
class Download:
    """One file to fetch.

    ``verify`` gets its whole content and raises an :class:`Img2PoemError` if it is not what is wanted; by
    default it must be a photograph that decodes to the last line.
    """

    url: str
    path: Path
    verify: Callable[[bytes], object] = decode


def download(
    items: Iterable[Download], report_folder: Path | None = None, options: DownloadOptions | None = None
) -> DownloadReport:
    """Fetch ``items`` and report what became of each; links that died are reported, not raised.

    Args:
        items: what to fetch, and to where; folders are made.
        report_folder: where to write ``download_report.json``, if anywhere.
        options: see :class:`DownloadOptions`.

    Raises:
        DownloadStopped: a file cannot be written.
        InvalidOption: two addresses are to be written to one file.
        KeyboardInterrupt: passed on; the same call goes on from there.
    """
    return asyncio.run(download_async(items, report_folder, options))


async def download_async(
    items: Iterable[Download], report_folder: Path | None = None, options: DownloadOptions | None = None
) -> DownloadReport:
    """Do as :func:`download` does, inside a running event loop (a notebook has one)."""
    options = options or DownloadOptions()
    console = Console(quiet=options.quiet)
    try:
        results = await _fetch_all(_distinct(items), options, console)
        report = DownloadReport(tuple(sorted(results, key=lambda result: result.path)))
        if report_folder is not None:
            report_folder.mkdir(parents=True, exist_ok=True)
            report.write(report_folder / REPORT_FILE)
    except OSError as error:
        raise DownloadStopped(
            f"{error.filename or 'a file'} cannot be read or written: {error.strerror or error}; "
            "see to that and start again: it goes on from there"
        ) from error
    console.print(report.table())
    return report


def _distinct(items: Iterable[Download]) -> list[Download]:
    by_path: dict[Path, Download] = {}
    for item in items:
        if by_path.setdefault(item.path, item).url != item.url:
            raise InvalidOption(f"{item.path} is to be fetched from two addresses; give each its own file")
    return list(by_path.values())


async def _fetch_all(items: Sequence[Download], options: DownloadOptions, console: Console) -> list[Result]:
    pool = _Pool(items, options)
    timeout = httpx.Timeout(options.read_timeout, connect=options.connect_timeout, pool=None)
    headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}  # sizes and ranges of what is stored
    ways = Proxied(httpx.Limits(max_connections=options.concurrency))
    with _progress(len(items), console) as advance:
        async with httpx.AsyncClient(
            transport=ways, timeout=timeout, headers=headers, follow_redirects=True, max_redirects=5
        ) as client:
            workers = [
                asyncio.create_task(pool.work(client, advance)) for _ in range(min(options.concurrency, len(items)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:  # after an error or Ctrl-C: let each transfer keep its part before the client closes
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
    return pool.results


@dataclass
class _Pool:
    """Workers that share one list of items; their number bounds requests and memory."""

    items: Sequence[Download]
    options: DownloadOptions
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pending = iter(self.items)

    async def work(self, client: httpx.AsyncClient, advance: Callable[[], None]) -> None:
        for item in self._pending:
            self.results.append(await self._fetch(client, item))
            advance()

    async def _fetch(self, client: httpx.AsyncClient, item: Download) -> Result:
        if item.path.exists() and await _complaint(item, item.path) is None:
            return Result(item.url, item.path, "present")
        item.path.parent.mkdir(parents=True, exist_ok=True)
        transfer = Transfer(client, item.url, item.path, self.options)
        try:
            await transfer.run()
        except Lost as lost:
            return Result(item.url, item.path, lost.outcome, lost.reason, lost.detail)
        complaint = await _complaint(item, transfer.part.path)
        if complaint is not None:
            transfer.part.discard()
            return Result(item.url, item.path, "invalid", complaint.partition(":")[0], complaint)
        transfer.part.finish()
        return Result(item.url, item.path, "downloaded")


async def _complaint(item: Download, path: Path) -> str | None:
    """Return what is wrong with the content of ``path``; decoding runs beside the event loop."""

    def verify() -> str | None:
        try:
            item.verify(path.read_bytes())
        except Img2PoemError as error:
            return str(error)
        return None

    return await asyncio.to_thread(verify)


@contextmanager
def _progress(total: int, console: Console) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("downloading", total=total)
        yield lambda: progress.advance(task)
