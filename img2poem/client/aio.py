"""The asyncio client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import cast, overload

from ..artifacts.sessions import Device
from ..decoding.registry import distinct
from ..decoding.strategies import AnyStrategy, Sampling
from ..errors import Img2PoemError
from ..form.form import Form
from ..images.decode import Photo, is_photo
from ..requests import Flow, Hook, Line, T
from ..transports.address import Access, Target, Tls, parse
from ..transports.base import AsyncEndpoint
from ..validation.numbers import at_least
from .arguments import access_of, chosen, formed, readable, texts
from .drivers import AsyncDriver, kept
from .operations import Floats, Operations, Where, Written, line_place
from .results import Description, Health, Info, Match, Poem
from .shared import DEFAULT, Settings, checked, health_of, identified, jobs, poem_of, raised


class AsyncImg2Poem:
    """Asyncio version of :class:`img2poem.Img2Poem`, with the same arguments. Cancelling a task cancels its requests.

    Each event loop has its own connections, so one client works across several calls of ``asyncio.run``.

    In process, a model that is running when its task is cancelled runs to its end in a thread.

    >>> async with AsyncImg2Poem("grpc://127.0.0.1:8001") as poet:  # doctest: +SKIP
    ...     poem = await poet.write("photo.jpg")
    """

    def __init__(
        self,
        target: Target | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 3,
        concurrency: int = 8,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        device: Device = "cpu",
        threads: int | None = None,
        background: bool = False,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self._settings = Settings(timeout, concurrency)
        endpoints = _endpoints(target, access_of(headers, tls, background), device, threads)
        self._driver = AsyncDriver(endpoints, retries, hooks)
        self._operations = Operations()

    @overload
    async def write(  # type: ignore[overload-overlap]
        self,
        photo: Photo,
        strategy: AnyStrategy | None = ...,
        *,
        form: Form | None = ...,
        where: Where | None = ...,
        timeout: float | None = ...,
    ) -> Poem: ...

    @overload
    async def write(
        self,
        photo: Iterable[Photo],
        strategy: AnyStrategy | None = ...,
        *,
        form: Form | None = ...,
        where: Where | None = ...,
        timeout: float | None = ...,
    ) -> list[Poem]: ...

    async def write(
        self,
        photo: Photo | Iterable[Photo],
        strategy: AnyStrategy | None = None,
        *,
        form: Form | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Poem | list[Poem]:
        """See :meth:`img2poem.Img2Poem.write`."""
        if is_photo(photo):
            return await self._write(cast("Photo", photo), strategy, form, where, timeout)
        each = self.write_each(cast("Iterable[Photo]", photo), strategy, form=form, where=where, timeout=timeout)
        async with aclosing(each) as poems:
            return [raised(poem) async for poem in poems]

    async def write_several(
        self,
        photo: Photo,
        count: int,
        strategy: AnyStrategy | None = None,
        *,
        form: Form | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> list[Poem]:
        """See :meth:`img2poem.Img2Poem.write_several`."""
        each = self.write_each([photo], strategy, count=count, form=form, where=where, timeout=timeout)
        async with aclosing(each) as poems:
            return [raised(poem) async for poem in poems]

    async def write_each(
        self,
        photos: Iterable[Photo],
        strategy: AnyStrategy | None = None,
        *,
        count: int = 1,
        form: Form | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Poem | Img2PoemError, None]:
        """See :meth:`img2poem.Img2Poem.write_each`. Closing the generator cancels the poems in progress."""
        strategies = distinct(chosen(strategy, DEFAULT), count)
        waiting: deque[asyncio.Task[Poem]] = deque()
        try:
            for photo, one in jobs(photos, strategies):
                if len(waiting) >= self._settings.concurrency:
                    yield await _outcome(waiting.popleft())
                waiting.append(asyncio.create_task(self._write(photo, one, form, where, timeout)))
            while waiting:
                yield await _outcome(waiting.popleft())
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def stream(
        self,
        photo: Photo,
        strategy: AnyStrategy | None = None,
        *,
        form: Form | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Line, None]:
        """See :meth:`img2poem.Img2Poem.stream`. Close the generator (``contextlib.aclosing``) to end the work early."""
        async with aclosing(self.stream_poem(photo, strategy, form=form, where=where, timeout=timeout)) as parts:
            async for part in parts:
                if isinstance(part, Line):
                    yield part

    async def stream_poem(
        self,
        photo: Photo,
        strategy: AnyStrategy | None = None,
        *,
        form: Form | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Line | Poem, None]:
        """See :meth:`img2poem.Img2Poem.stream_poem`. Close the generator to end the work early."""
        call, form = self._settings.call(timeout), formed(form)
        strategy = chosen(strategy, Sampling())
        written: list[Written] = []
        with identified(call):
            where = line_place(where, self._driver.streams())
            flow = self._operations.lines(await asyncio.to_thread(checked, photo), strategy, form, where)
            async with aclosing(self._driver.lines(kept(flow, written), call)) as lines:
                async for line in lines:
                    yield line
        yield poem_of(written[0], strategy, form, call)

    async def embed_image(self, photo: Photo, *, timeout: float | None = None) -> Floats:
        """See :meth:`img2poem.Img2Poem.embed_image`."""
        return cast("Floats", (await self._seen(photo, self._operations.embed_image, timeout))[0])

    async def embed_poem(self, poem: str | Poem, *, timeout: float | None = None) -> Floats:
        """See :meth:`img2poem.Img2Poem.embed_poem`."""
        return cast("Floats", (await self._run(self._operations.embed_poems([readable(poem)]), timeout))[0])

    async def score(self, photo: Photo, poem: str | Poem, *, timeout: float | None = None) -> float:
        """See :meth:`img2poem.Img2Poem.score`."""
        return await self._seen(photo, lambda data: self._operations.score(data, readable(poem)), timeout)

    async def search(
        self, photo: Photo, poems: Iterable[str | Poem], k: int = 5, *, timeout: float | None = None
    ) -> list[Match]:
        """See :meth:`img2poem.Img2Poem.search`."""
        among = texts(poems)
        return await self._seen(photo, lambda data: self._operations.search(data, among, at_least(1, "k", k)), timeout)

    async def describe(self, photo: Photo, k: int = 5, *, timeout: float | None = None) -> Description:
        """See :meth:`img2poem.Img2Poem.describe`."""
        return await self._seen(photo, lambda data: self._operations.describe(data, at_least(1, "k", k)), timeout)

    async def info(self, *, timeout: float | None = None) -> Info:
        """See :meth:`img2poem.Img2Poem.info`."""
        return await self._run(self._operations.info(tuple(self._driver.names)), timeout)

    async def health(self, *, timeout: float = 5.0) -> list[Health]:
        """See :meth:`img2poem.Img2Poem.health`. Endpoints are asked concurrently."""
        return list(await asyncio.gather(*(self._health(one, timeout) for one in self._driver.endpoints)))

    async def close(self) -> None:
        """Release sessions and connections; calls in progress fail with ``Cancelled``."""
        await self._driver.close()

    async def __aenter__(self) -> AsyncImg2Poem:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _write(
        self, photo: Photo, strategy: AnyStrategy | None, form: Form | None, where: Where | None, timeout: float | None
    ) -> Poem:
        call, strategy, form = self._settings.call(timeout), chosen(strategy, DEFAULT), formed(form)
        with identified(call):
            data = await asyncio.to_thread(checked, photo)
            written = await self._driver.run(self._operations.write(data, strategy, form, where), call)
        return poem_of(written, strategy, form, call)

    async def _seen(self, photo: Photo, flow: Callable[[bytes], Flow[T]], timeout: float | None) -> T:
        call = self._settings.call(timeout)
        with identified(call):
            return await self._driver.run(flow(await asyncio.to_thread(checked, photo)), call)

    async def _run(self, flow: Flow[T], timeout: float | None) -> T:
        call = self._settings.call(timeout)
        with identified(call):
            return await self._driver.run(flow, call)

    async def _health(self, endpoint: AsyncEndpoint, timeout: float) -> Health:
        try:
            return health_of(endpoint.name, await endpoint.ready(self._settings.call(timeout)))
        except Img2PoemError as error:
            return health_of(endpoint.name, error)


async def _outcome(task: asyncio.Task[Poem]) -> Poem | Img2PoemError:
    try:
        return await task
    except Img2PoemError as error:
        return error


def _endpoints(target: Target | None, access: Access, device: Device, threads: int | None) -> list[AsyncEndpoint]:
    found = parse(target)
    if not isinstance(found, list):
        from ..transports.local import AsyncLocalEndpoint, LocalEndpoint

        return [AsyncLocalEndpoint(LocalEndpoint(found, device, threads))]
    from ..transports.grpc import AsyncGrpcEndpoint
    from ..transports.http import AsyncHttpEndpoint

    return [(AsyncGrpcEndpoint if url.scheme.startswith("grpc") else AsyncHttpEndpoint)(url, access) for url in found]
