"""A web service of about 30 lines that writes poems about photographs, with FastAPI as the front end of Triton.

pip install '.[client]' fastapi uvicorn
POEMS=grpc://127.0.0.1:8001 uvicorn examples.service:app --port 8090
curl --data-binary @photo.jpg 'http://127.0.0.1:8090/poem?lines=4'
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from img2poem import AsyncImg2Poem, Form, Img2PoemError

STATUS = {"BadImage": 415, "InvalidOption": 422, "Overloaded": 503, "NotReady": 503, "Timeout": 504}


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[None]:
    """Share one client between all requests."""
    async with AsyncImg2Poem(os.environ.get("POEMS", "grpc://127.0.0.1:8001")) as app.state.poet:
        yield


app = FastAPI(lifespan=connected)


@app.post("/poem")
async def poem(request: Request, lines: int | None = None, rhyme: str = "") -> dict[str, object]:
    """Write a poem about the photograph in the body."""
    form = Form(lines=lines, rhyme=rhyme)
    written = await request.app.state.poet.write(await request.body(), form=form)
    return {"lines": written.lines, "relevance": written.relevance, "id": written.request_id}


@app.exception_handler(Img2PoemError)
async def failed(request: Request, error: Img2PoemError) -> JSONResponse:
    """Return the error's message with a suitable status."""
    name = type(error).__name__
    return JSONResponse({"error": name, "message": str(error), "id": error.request_id}, STATUS.get(name, 502))
