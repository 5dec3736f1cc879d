"""The blocking client, for a server or for the same models in process."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from ..transports.base import Endpoint
from ..validation.numbers import at_least
from .arguments import access_of, chosen, formed, readable, texts
from .drivers import Driver, kept
from .operations import Floats, Operations, Where, Written, line_place
from .results import Description, Health, Info, Match, Poem
from .shared import DEFAULT, Settings, checked, health_of, identified, jobs, poem_of, raised


class Img2Poem:
    """Writes poems about photographs. Use it as a context manager, or call :meth:`close`.

    One object serves any number of threads, and still works in a forked child. It connects at its first call.

    Args:
        target: a model repository (folder) to run in process, the address of a server (``grpc://HOST:PORT``,
            ``grpcs://…``, ``http://…`` or ``https://…``), or several addresses, of which the first that answers is
            used. By default the folder ``triton_repo.cpu`` if it exists, else the installed package ``img2poem-lite``.
        timeout: seconds for a whole call, with its retries. With several photographs, seconds for each of them.
        retries: further attempts when no server answers, is ready or has room; each address after the first adds one.
        concurrency: maximum number of poems in progress at once, when several are requested.
        headers: headers of every request to a server.
        tls: certificates for ``grpcs`` and ``https``.
        device: ``cpu`` or ``cuda``, for models in process.
        threads: threads for each model in process; by default one per core that the process may use, within the
            limit of its control group (its container).
        background: send at low priority: a loaded server serves other requests first.
        hooks: called after each attempt at each request, for logs and metrics.

    Raises:
        InvalidOption: the target or another argument is invalid.
        BadRepository: the folder is not a model repository, or no target is given and no models are installed.
        MissingDependency: an extra of img2poem is not installed.

    Every method raises an :class:`Img2PoemError`: ``BadImage``, ``InvalidOption``, ``NoPoem``, ``ConnectionFailed``,
    ``Timeout``, ``NotReady``, ``Overloaded``, ``ServerError``, ``ContractMismatch`` (models of different packages),
    ``BadRepository`` or ``MissingDependency`` (models in process are loaded at their first use), or ``Cancelled``
    after :meth:`close`.

    >>> with Img2Poem() as poet:  # doctest: +SKIP
    ...     print(poet.write("photo.jpg").text)
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
        self._driver = Driver(endpoints, retries, hooks)
        self._operations = Operations()

    @overload
    def write(  # type: ignore[overload-overlap]
        self,
        photo: Photo,
        strategy: AnyStrategy | None = ...,
        *,
        form: Form | None = ...,
        where: Where | None = ...,
        timeout: float | None = ...,
    ) -> Poem: ...

    @overload
    def write(
        self,
        photo: Iterable[Photo],
        strategy: AnyStrategy | None = ...,
        *,
        form: Form | None = ...,
        where: Where | None = ...,
        timeout: float | None = ...,
    ) -> list[Poem]: ...

    def write(
        self,
        photo: Photo | Iterable[Photo],
        strategy: AnyStrategy | None = None,
        *,
        form: Form | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Poem | list[Poem]:
        """Write a poem about a photograph, or one poem about each of several, in order.

        Args:
            photo: one :data:`img2poem.images.decode.Photo` or an iterable of them. With several, the first failure
                ends the call; :meth:`write_each` continues instead.
            strategy: the decoding strategy; best of 16 by default.
            form: constraints on the poem, such as a rhyme scheme.
            where: where the search runs: ``server`` (one request per poem), or ``client``: in this process, over the
                served decoder steps. The result is the same. By default the server, unless the form needs the client.
            timeout: seconds for each photograph, instead of the client's ``timeout``.
        """
        if is_photo(photo):
            return self._write(cast("Photo", photo), strategy, form, where, timeout)
        several = cast("Iterable[Photo]", photo)
        return [raised(poem) for poem in self.write_each(several, strategy, form=form, where=where, timeout=timeout)]

    def write_several(
        self,
        photo: Photo,
        count: int,
        strategy: AnyStrategy | None = None,
        *,
        form: Form | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> list[Poem]:
        """Write ``count`` poems (at most 32) about a photograph, with consecutive seeds.

        The first poem is equal to that of :meth:`write`. At a low temperature, two poems may be equal. The other
        arguments are those of :meth:`write`.

        Raises:
            InvalidOption: ``count`` is out of range, or several poems are requested of a strategy without sampling.
        """
        each = self.write_each([photo], strategy, count=count, form=form, where=where, timeout=timeout)
        return [raised(poem) for poem in each]

    def write_each(
        self,
        photos: Iterable[Photo],
        strategy: AnyStrategy | None = None,
        *,
        count: int = 1,
        form: Form | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Generator[Poem | Img2PoemError, None, None]:
        """Yield a poem, or the error in its place, for each photograph, in order. ``photos`` is read lazily.

        With ``count``, yield ``count`` poems for each photograph, as :meth:`write_several` does.

        A caller that stops early does not wait for the poems in progress. They end when the client is closed, at the
        latest.
        """
        strategies = distinct(chosen(strategy, DEFAULT), count)
        waiting: deque[Future[Poem]] = deque()
        pool = ThreadPoolExecutor(self._settings.concurrency, "img2poem")
        try:
            for photo, one in jobs(photos, strategies):
                waiting.append(pool.submit(self._write, photo, one, form, where, timeout))
                if len(waiting) >= 2 * self._settings.concurrency:
                    yield _outcome(waiting.popleft())
            while waiting:
                yield _outcome(waiting.popleft())
        finally:
            # Do not wait: the server may never answer. Closing the client ends the calls.
            pool.shutdown(wait=False, cancel_futures=True)

    def stream(
        self,
        photo: Photo,
        strategy: AnyStrategy | None = None,
        *,
        form: Form | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Generator[Line, None, None]:
        """Yield the lines of a poem as they are written. Leaving the loop ends the work.

        Args:
            photo: one photograph.
            strategy: :class:`Sampling` (the default) or :class:`Greedy`. The others know no line before the end.
            form: a form that sets only ``lines``.
            where: where the decoder runs: ``server`` (one request per poem, over gRPC only), or ``client``: in this
                process, over the served decoder steps. The lines are the same. By default the server, if all
                addresses are gRPC.
            timeout: seconds for the poem, instead of the client's ``timeout``.
        """
        with contextlib.closing(self.stream_poem(photo, strategy, form=form, where=where, timeout=timeout)) as parts:
            yield from (part for part in parts if isinstance(part, Line))

    def stream_poem(
        self,
        photo: Photo,
        strategy: AnyStrategy | None = None,
        *,
        form: Form | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Generator[Line | Poem, None, None]:
        """Like :meth:`stream`, but yield the whole :class:`Poem` after its lines, as :meth:`write` returns it."""
        call, form = self._settings.call(timeout), formed(form)
        strategy = chosen(strategy, Sampling())
        written: list[Written] = []
        with identified(call):
            where = line_place(where, self._driver.streams())
            flow = self._operations.lines(checked(photo), strategy, form, where)
            with contextlib.closing(self._driver.lines(kept(flow, written), call)) as lines:
                yield from lines
        yield poem_of(written[0], strategy, form, call)

    def embed_image(self, photo: Photo, *, timeout: float | None = None) -> Floats:
        """Return the embedding of a photograph in the poetic space: a unit vector, float32 ``[embedding_dim]``."""
        found = self._run(lambda: self._operations.embed_image(checked(photo)), timeout)
        return cast("Floats", found[0])

    def embed_poem(self, poem: str | Poem, *, timeout: float | None = None) -> Floats:
        """Return the embedding of a poem in the poetic space: a unit vector, float32 ``[embedding_dim]``.

        A string is truncated to 126 tokens. A :class:`Poem` is embedded from its own token ids.
        """
        return cast("Floats", self._run(lambda: self._operations.embed_poems([readable(poem)]), timeout)[0])

    def score(self, photo: Photo, poem: str | Poem, *, timeout: float | None = None) -> float:
        """Return the cosine similarity of photograph and poem in the poetic space, from -1 to 1."""
        return self._run(lambda: self._operations.score(checked(photo), readable(poem)), timeout)

    def search(
        self, photo: Photo, poems: Iterable[str | Poem], k: int = 5, *, timeout: float | None = None
    ) -> list[Match]:
        """Return the ``k`` of ``poems`` with the highest cosine similarity to the photograph, highest first."""
        among = texts(poems)
        return self._run(lambda: self._operations.search(checked(photo), among, at_least(1, "k", k)), timeout)

    def describe(self, photo: Photo, k: int = 5, *, timeout: float | None = None) -> Description:
        """Return the ``k`` most likely objects (ImageNet) and scenes in a photograph, and its sentiment."""
        return self._run(lambda: self._operations.describe(checked(photo), at_least(1, "k", k)), timeout)

    def info(self, *, timeout: float | None = None) -> Info:
        """Return the endpoints and the metadata of the model package."""
        return self._run(lambda: self._operations.info(tuple(self._driver.names)), timeout)

    def health(self, *, timeout: float = 5.0) -> list[Health]:
        """Return whether each endpoint is ready. An endpoint that does not answer is not ready; nothing is raised."""
        found = []
        for endpoint in self._driver.endpoints:
            try:
                found.append(health_of(endpoint.name, endpoint.ready(self._settings.call(timeout))))
            except Img2PoemError as error:
                found.append(health_of(endpoint.name, error))
        return found

    def close(self) -> None:
        """Release sessions and connections; calls in progress fail with ``Cancelled``."""
        self._driver.close()

    def __enter__(self) -> Img2Poem:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(
        self, photo: Photo, strategy: AnyStrategy | None, form: Form | None, where: Where | None, timeout: float | None
    ) -> Poem:
        call, strategy, form = self._settings.call(timeout), chosen(strategy, DEFAULT), formed(form)
        with identified(call):
            written = self._driver.run(self._operations.write(checked(photo), strategy, form, where), call)
        return poem_of(written, strategy, form, call)

    def _run(self, flow: Callable[[], Flow[T]], timeout: float | None) -> T:
        call = self._settings.call(timeout)
        with identified(call):
            return self._driver.run(flow(), call)


def _outcome(future: Future[Poem]) -> Poem | Img2PoemError:
    try:
        return future.result()
    except Img2PoemError as error:
        return error


def _endpoints(target: Target | None, access: Access, device: Device, threads: int | None) -> list[Endpoint]:
    found = parse(target)
    if not isinstance(found, list):
        from ..transports.local import LocalEndpoint

        return [LocalEndpoint(found, device, threads)]
    from ..transports.grpc import GrpcEndpoint
    from ..transports.http import HttpEndpoint

    return [(GrpcEndpoint if url.scheme.startswith("grpc") else HttpEndpoint)(url, access) for url in found]
