"""The client: one class for a server and for the same models in process."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import cast, overload

from ..artifacts.sessions import Device
from ..decoding.strategies import AnyStrategy, Sampling, distinct
from ..errors import Img2PoemError
from ..form.form import Form
from ..images.decode import Photo, is_photo
from ..requests import Flow, Hook, Line, T
from ..transports.address import Access, Target, Tls, parse
from ..transports.base import Endpoint
from ..validation.numbers import at_least
from .arguments import access_of, chosen, formed, readable, texts
from .dispatch import Dispatcher
from .operations import Floats, Operations, Where, line_place
from .results import Description, Health, Info, Match, Poem
from .shared import DEFAULT, Settings, checked, health_of, identified, jobs, poem_of, raised


class Img2Poem:
    """Writes poems about photographs; use it as a context manager or call :meth:`close`.

    One object serves any number of threads, and works on in a forked child. It connects when it is first used.

    Args:
        target: a model repository (folder) to run in process, or the address of a server, ``grpc://HOST:PORT``,
            ``grpcs://…``, ``http://…`` or ``https://…``, or several addresses: the first that answers is used.
            When None, the folder ``triton_repo`` if it is there, else the installed package ``img2poem-lite``.
        timeout: seconds that a call may take as a whole, retries and all; with several photographs, each of them.
        retries: how often a request is tried again when no server answers, or none is ready or has room.
        concurrency: how many of several photographs are under way at once.
        headers: sent with every request to a server.
        tls: certificates for ``grpcs`` and ``https``.
        device: ``cpu`` or ``cuda``, for a folder.
        threads: on which each of a folder's models runs; by default one for each core that the control group of the
            process (a container's, say) allows.
        background: whether a server, when it has more to do than it can, does what others ask first.
        hooks: called after each attempt at each request, for logs and metrics.

    Raises:
        InvalidOption: the target or another argument is not of its form.
        BadRepository: the folder is no model repository, or none is named and there is none.
        MissingDependency: an extra of img2poem is not installed.

    Every method raises an :class:`Img2PoemError`: ``BadImage``, ``InvalidOption``, ``ConnectionFailed``, ``Timeout``,
    ``NotReady``, ``Overloaded``, ``ContractMismatch`` (servers with different models), ``ServerError``, or
    ``Cancelled`` once the object is closed.

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
        self._dispatcher = Dispatcher(endpoints, retries, hooks)
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
        """Write a poem about a photograph, or one about each of several, in their order.

        Args:
            photo: one :data:`img2poem.images.decode.Photo` or an iterable of them; of several, the first that fails
                ends the call (:meth:`write_each` goes on).
            strategy: how the poem is searched for; best of 16 when not given.
            form: what the poem must look like.
            where: whether the server searches (``server``, one request a poem) or this process does over the
                served decoder steps (``client``), with the same result; by default the server where it can.
            timeout: in the place of the client's.
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
        """Write ``count`` poems about a photograph, at most 32, each with the seed after the one before.

        The first is that of :meth:`write`; with a low temperature two may be the same. The rest is as there.
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
        """Yield a poem, or the error in its place, for each of ``photos`` in their order, however many they are.

        With ``count``, so many of each photograph, one after the other, as :meth:`write_several` has them.

        Who leaves early does not wait for the poems under way; they end with the client at the latest.
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
            # Not waited for: where the caller leaves early, a server may not answer, and closing the client ends calls.
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
        """Yield the lines of a poem as they are written; leaving the loop ends the work.

        Args:
            photo: one photograph.
            strategy: :class:`Sampling` (when not given) or :class:`Greedy`; the others know no line before the end.
            form: ``lines`` alone.
            where: whether the server decodes (``server``, one request a poem; over gRPC alone) or this process does
                over the served decoder steps (``client``), with the same lines; by default the server where it can.
            timeout: in the place of the client's.
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
        """As :meth:`stream`; behind the lines comes the whole :class:`Poem`, as :meth:`write` returns it."""
        call, form = self._settings.call(timeout), formed(form)
        strategy = chosen(strategy, Sampling())
        with identified(call):
            where = line_place(where, self._dispatcher.follows())
            flow = self._operations.lines(checked(photo), strategy, form, where)
            with contextlib.closing(self._dispatcher.lines(flow, call)) as lines:
                written = yield from lines
        yield poem_of(written, strategy, form, call)

    def embed_image(self, photo: Photo, *, timeout: float | None = None) -> Floats:
        """Return the photograph's place in the poetic space: a unit vector, float32 ``[embedding_dim]``."""
        found = self._run(lambda: self._operations.embed_image(checked(photo)), timeout)
        return cast("Floats", found[0])

    def embed_poem(self, poem: str | Poem, *, timeout: float | None = None) -> Floats:
        """Return a poem's place in the poetic space: a unit vector, float32 ``[embedding_dim]``.

        A text is read up to 126 tokens; of a :class:`Poem`, its own tokens are taken.
        """
        return cast("Floats", self._run(lambda: self._operations.embed_poems([readable(poem)]), timeout)[0])

    def score(self, photo: Photo, poem: str | Poem, *, timeout: float | None = None) -> float:
        """Return how near photograph and poem are: their cosine in the poetic space, from -1 to 1."""
        return self._run(lambda: self._operations.score(checked(photo), readable(poem)), timeout)

    def search(
        self, photo: Photo, poems: Iterable[str | Poem], k: int = 5, *, timeout: float | None = None
    ) -> list[Match]:
        """Return the ``k`` of ``poems`` that are nearest to the photograph, the nearest first."""
        among = texts(poems)
        return self._run(lambda: self._operations.search(checked(photo), among, at_least(1, "k", k)), timeout)

    def describe(self, photo: Photo, k: int = 5, *, timeout: float | None = None) -> Description:
        """Return what the encoders saw: the ``k`` likeliest objects (ImageNet) and scenes, and the sentiment."""
        return self._run(lambda: self._operations.describe(checked(photo), at_least(1, "k", k)), timeout)

    def info(self, *, timeout: float | None = None) -> Info:
        """Return what the models are."""
        return self._run(lambda: self._operations.info(tuple(self._dispatcher.failover.names)), timeout)

    def health(self, *, timeout: float = 5.0) -> list[Health]:
        """Return of each endpoint whether it is ready; one that does not answer is not, and raises nothing."""
        found = []
        for endpoint in self._dispatcher.endpoints:
            try:
                found.append(health_of(endpoint.name, endpoint.ready(self._settings.call(timeout))))
            except Img2PoemError as error:
                found.append(health_of(endpoint.name, error))
        return found

    def close(self) -> None:
        """Free sessions or connections; calls under way end with ``Cancelled``."""
        self._dispatcher.close()

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
            written = self._dispatcher.run(self._operations.write(checked(photo), strategy, form, where), call)
        return poem_of(written, strategy, form, call)

    def _run(self, flow: Callable[[], Flow[T]], timeout: float | None) -> T:
        call = self._settings.call(timeout)
        with identified(call):
            return self._dispatcher.run(flow(), call)


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
