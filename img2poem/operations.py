"""What the blocking and the asynchronous client share around a flow: settings, ids on errors, results."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .calls import Call, Deadline
from .decoding import AnyStrategy, BestOf, Sampling
from .errors import Img2PoemError, InvalidOption
from .flows import Written
from .form import Form
from .images import Photo, check, read_photo
from .results import Health, Poem

#: How a poem is searched for when nothing else is asked.
DEFAULT = BestOf()


@dataclass(frozen=True)
class Settings:
    """Seconds that a call may take, and how many photographs are under way at once.

    Raises:
        InvalidOption: a value is not above 0, or the time is without end.
    """

    timeout: float
    concurrency: int

    def __post_init__(self) -> None:
        _check_timeout(self.timeout)
        if self.concurrency < 1:
            raise InvalidOption(f"concurrency must be 1 or more, not {self.concurrency}")

    def call(self, timeout: float | None) -> Call:
        """Begin a call, with a ``timeout`` of its own or the usual one."""
        return Call(Deadline(self.timeout if timeout is None else _check_timeout(timeout)))


@contextlib.contextmanager
def identified(call: Call) -> Iterator[None]:
    """Put the id of ``call`` on the errors of the block."""
    try:
        yield
    except Img2PoemError as error:
        error.request_id = call.request_id
        raise


def checked(photo: Photo) -> bytes:
    """Return the encoded photograph, refused where its header alone shows that it cannot be used."""
    data = read_photo(photo)
    check(data)
    return data


def readable(poem: str | Poem) -> str | Sequence[int]:
    """Return what the aligner reads: a text, or the tokens of a poem that was decoded."""
    return poem.tokens if isinstance(poem, Poem) else poem


def poem_of(written: Written, strategy: AnyStrategy, form: Form | None, call: Call) -> Poem:
    """Return the poem with all that is known about it."""
    sampling = strategy.sampling if isinstance(strategy, BestOf) else strategy
    return Poem(
        lines=tuple(written.text.splitlines()),
        score=round(written.score, 6),
        tokens=written.tokens,
        finish_reason="length" if len(written.tokens) >= sampling.max_tokens else "end",
        seed=sampling.seed if isinstance(sampling, Sampling) else None,
        strategy=strategy,
        form=form,
        relevance=None if written.relevance is None else round(written.relevance, 6),
        timings=call.total(),
        model=written.model,
        request_id=call.request_id,
    )


def raised(outcome: Poem | Img2PoemError) -> Poem:
    """Return a poem; raise an error."""
    if isinstance(outcome, Img2PoemError):
        raise outcome
    return outcome


def health_of(name: str, found: bool | Img2PoemError) -> Health:
    """Return the health of an endpoint that said so, or failed to."""
    if isinstance(found, Img2PoemError):
        return Health(name, False, str(found))
    return Health(name, found, "ready" if found else "it answers, but not every model is loaded")


def _check_timeout(seconds: float) -> float:
    if not 0 < seconds < math.inf:
        raise InvalidOption(f"timeout must be above 0 s and finite, not {seconds!r}")
    return seconds
