"""img2poem: a photograph goes in, a poem about it comes out."""

from typing import TYPE_CHECKING

from .client.client import Img2Poem
from .client.results import Description, Health, Info, Label, Match, Model, Poem
from .decoding.registry import strategy_from_json
from .decoding.strategies import BeamSearch, BestOf, Greedy, Sampling
from .errors import (
    BadImage,
    Cancelled,
    ConnectionFailed,
    ContractMismatch,
    Img2PoemError,
    InvalidOption,
    NoPoem,
    NotReady,
    Overloaded,
    ServerError,
    Timeout,
)
from .form.form import Form
from .requests import CallEvent, Line
from .transports.address import Tls
from .version import __version__

if TYPE_CHECKING:
    from .client.aio import AsyncImg2Poem

__all__ = [
    "AsyncImg2Poem",
    "BadImage",
    "BeamSearch",
    "BestOf",
    "CallEvent",
    "Cancelled",
    "ConnectionFailed",
    "ContractMismatch",
    "Description",
    "Form",
    "Greedy",
    "Health",
    "Img2Poem",
    "Img2PoemError",
    "Info",
    "InvalidOption",
    "Label",
    "Line",
    "Match",
    "Model",
    "NoPoem",
    "NotReady",
    "Overloaded",
    "Poem",
    "Sampling",
    "ServerError",
    "Timeout",
    "Tls",
    "__version__",
    "strategy_from_json",
]


def __getattr__(name: str) -> object:
    """Import the asyncio client at its first use: asyncio takes a third as long to import as the rest of img2poem."""
    if name != "AsyncImg2Poem":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .client.aio import AsyncImg2Poem

    return AsyncImg2Poem
