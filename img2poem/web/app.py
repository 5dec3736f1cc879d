"""The ASGI application: routes, middleware, and the client of the models that all routes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import fontpkg
from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles

from ..client.aio import AsyncImg2Poem
from ..errors import NotReady
from ..transports.address import Target, Tls
from ..version import __version__
from . import api, chat, problems
from .admission import AdmissionQueue, Threads
from .chat_errors import ChatErrors
from .metrics import Metrics
from .middleware import Limits, Watch
from .reference import page_of
from .settings import WebSettings

PAGES = Path(__file__).parent / "pages"
#: For files that change with a release: browsers revalidate them on every use.
_FRESH = {"cache-control": "no-cache"}
#: For files that do not change: browsers cache them for a day.
_KEPT = {"cache-control": "public, max-age=86400"}


def create_app(
    target: Target | None = None,
    settings: WebSettings | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    tls: Tls | None = None,
    threads: int | None = None,
) -> FastAPI:
    """Return an ASGI application, the gateway to the models at ``target``.

    Args:
        target: model repository or server addresses, as for :class:`Img2Poem`, with the same default.
        settings: settings of the gateway.
        headers: headers of every request to a server.
        tls: certificates for ``grpcs`` and ``https``.
        threads: threads per model, if the models run in process.

    Raises:
        Img2PoemError: ``target`` cannot be used.
    """
    settings = settings or WebSettings()
    metrics = Metrics()
    poet = AsyncImg2Poem(
        target, timeout=settings.timeout, headers=headers, tls=tls, threads=threads, hooks=[metrics.called]
    )

    @asynccontextmanager
    async def connected(app: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(Threads())
        async with poet:
            yield

    app = FastAPI(
        title="img2poem",
        version=__version__,
        summary="A photograph goes in, a poem about it comes out.",
        lifespan=connected,
        docs_url=None,  # FastAPI's two pages load scripts from a CDN
        redoc_url=None,
    )
    app.state.poet, app.state.settings, app.state.metrics = poet, settings, metrics
    app.state.admission = AdmissionQueue(settings.concurrency, settings.waiting, metrics)
    problems.install(app)
    app.include_router(api.router)
    app.include_router(chat.router)
    _add_operations(app)
    _add_pages(app)
    app.add_middleware(Limits, settings=settings)
    app.add_middleware(ChatErrors)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("x-request-id", "retry-after"),
        )
    app.add_middleware(Watch, metrics=metrics)
    return app


def _add_operations(app: FastAPI) -> None:
    @app.get("/healthz", tags=["operation"])
    async def alive() -> dict[str, str]:
        """Report that the gateway runs (liveness)."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"], responses=problems.documented(503))
    async def ready(request: Request) -> dict[str, str]:
        """Report whether the models are ready (readiness): status 503 if none of the targets is."""
        found = await request.app.state.poet.health()
        if not any(one.ready for one in found):
            raise NotReady("; ".join(f"{one.endpoint}: {one.detail}" for one in found))
        return {"status": "ready"}

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def counted(request: Request) -> Response:
        """Return the metrics in Prometheus' text format."""
        return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGES / "index.html", headers=_FRESH)

    @app.get("/type/{style}.ttf", include_in_schema=False)
    async def typeface(style: Literal["normal", "italic"]) -> FileResponse:
        return FileResponse(fontpkg.path("EB Garamond", style=style), media_type="font/ttf", headers=_KEPT)

    @app.get("/docs", include_in_schema=False)
    async def reference() -> HTMLResponse:
        return HTMLResponse(page_of(app.openapi()), headers=_FRESH)

    app.mount("/pages", _Files(directory=PAGES))


class _Files(StaticFiles):
    """Static files of the web page."""

    def file_response(self, *args: object, **options: object) -> Response:
        """Return a file that browsers may cache but must revalidate."""
        response = super().file_response(*args, **options)  # type: ignore[arg-type]
        response.headers.update(_FRESH)
        return response
