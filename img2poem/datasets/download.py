"""Downloads many small files, mostly photographs, from URLs some of which may be dead.

>>> report = download([Download("https://example.org/1.jpg", Path("photos/1.jpg"))], Path("photos"))

A file gets its final name only when it is complete and verified. The same call resumes an interrupted download: it
skips complete files, and continues partial ones if the server confirms that they have not changed (``Range`` with
``If-Range``).
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

    ``verify`` gets the whole content and raises an :class:`Img2PoemError` if it is wrong. By default, the content must
    be a photograph that decodes completely.
    """

    url: str
    path: Path
    verify: Callable[[bytes], object] = decode


def download(
    items: Iterable[Download], report_folder: Path | None = None, options: DownloadOptions | None = None
) -> DownloadReport:
    """Fetch ``items`` and report the outcome of each; dead links are reported, not raised.

    Args:
        items: URLs and target files; missing folders are created.
        report_folder: folder for ``download_report.json``; None writes no report.
        options: see :class:`DownloadOptions`.

    Raises:
        DownloadStopped: a file cannot be read or written.
        InvalidOption: two URLs have the same target file.
        KeyboardInterrupt: passed on; the same call resumes the download.
    """
    return asyncio.run(download_async(items, report_folder, options))


async def download_async(
    items: Iterable[Download], report_folder: Path | None = None, options: DownloadOptions | None = None
) -> DownloadReport:
    """As :func:`download`, for use inside a running event loop, such as a notebook's."""
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
            "fix this and run it again: the download resumes"
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
    headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}  # sizes and ranges of the stored file
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
            finally:  # after an error or Ctrl-C: each transfer saves its partial file before the client closes
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
    return pool.results


@dataclass
class _Pool:
    """Workers that share one list of items; their number limits concurrent requests and memory."""

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
    """Return what is wrong with the content of ``path``, None if nothing; verification runs in a thread."""

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
