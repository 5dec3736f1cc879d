"""Endpoints: the same served models, in process on ONNX Runtime or behind a Triton server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Protocol, runtime_checkable

from ..errors import ServerError
from ..requests import Answer, Call, Follow, Infer, ModelInfo


class Endpoint(Protocol):
    """One place where the models are; every method may be called by many threads at once.

    Each raises what :mod:`img2poem.errors` has for the fault, and ends by the deadline of the call.
    """

    name: str

    def infer(self, request: Infer, call: Call) -> Answer:
        """Run a model."""

    def look(self, model: str, call: Call) -> ModelInfo:
        """Return what a model is."""

    def ready(self, call: Call) -> bool:
        """Whether every model is loaded."""

    def close(self) -> None:
        """Free what it holds; calls in flight end with ``Cancelled``."""


@runtime_checkable
class Following(Protocol):
    """An :class:`Endpoint` whose models may answer in parts."""

    def follow(self, request: Follow, call: Call) -> Generator[Answer, None, None]:
        """Run a model and yield the parts of its answer as they come; closing the generator ends the work."""


class AsyncEndpoint(Protocol):
    """An :class:`Endpoint` for one event loop."""

    name: str

    async def infer(self, request: Infer, call: Call) -> Answer:
        """Run a model."""

    async def look(self, model: str, call: Call) -> ModelInfo:
        """Return what a model is."""

    async def ready(self, call: Call) -> bool:
        """Whether every model is loaded."""

    async def close(self) -> None:
        """Free what it holds."""


@runtime_checkable
class AsyncFollowing(Protocol):
    """A :class:`Following` for one event loop."""

    def follow(self, request: Follow, call: Call) -> AsyncGenerator[Answer, None]:
        """Run a model and yield the parts of its answer as they come; closing the generator ends the work."""


def check_id(found: str, call: Call, name: str) -> None:
    """Refuse an answer to another request.

    Raises:
        ServerError: ``found`` is not the id that was sent.
    """
    if found != call.request_id:
        raise ServerError(f"{name} answered request {found or 'without an id'} instead of {call.request_id}")
