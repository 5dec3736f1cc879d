"""The interface of endpoints, which run the same models in process on ONNX Runtime or on a Triton server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Protocol, runtime_checkable

from ..errors import ServerError
from ..requests import Answer, Call, Follow, Infer, ModelInfo


class Endpoint(Protocol):
    """A model repository in process, or a server. Safe to share among threads.

    Methods raise the errors of :mod:`img2poem.errors`, and end by the deadline of the call.
    """

    name: str

    def infer(self, request: Infer, call: Call) -> Answer:
        """Run a model."""

    def look(self, model: str, call: Call) -> ModelInfo:
        """Return the metadata of a model."""

    def ready(self, call: Call) -> bool:
        """Whether every model is loaded."""

    def close(self) -> None:
        """Release all resources; calls in progress fail with ``Cancelled``."""


@runtime_checkable
class Following(Protocol):
    """An :class:`Endpoint` that can stream responses."""

    def follow(self, request: Follow, call: Call) -> Generator[Answer, None, None]:
        """Run a model and yield the parts of its response as they arrive. Closing the generator ends the work."""


class AsyncEndpoint(Protocol):
    """Asyncio version of :class:`Endpoint`."""

    name: str

    async def infer(self, request: Infer, call: Call) -> Answer:
        """Run a model."""

    async def look(self, model: str, call: Call) -> ModelInfo:
        """Return the metadata of a model."""

    async def ready(self, call: Call) -> bool:
        """Whether every model is loaded."""

    async def close(self) -> None:
        """Release all resources; calls in progress fail with ``Cancelled``."""


@runtime_checkable
class AsyncFollowing(Protocol):
    """Asyncio version of :class:`Following`."""

    def follow(self, request: Follow, call: Call) -> AsyncGenerator[Answer, None]:
        """Run a model and yield the parts of its response as they arrive. Closing the generator ends the work."""


def check_id(found: str, call: Call, name: str) -> None:
    """Check that an answer belongs to its request.

    Raises:
        ServerError: ``found`` is not the request id of ``call``.
    """
    if found != call.request_id:
        raise ServerError(f"{name} answered request {found or 'without an id'} instead of {call.request_id}")
