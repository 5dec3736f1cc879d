"""What the blocking and the asynchronous client share around a flow: settings, ids on errors, results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..decoding.strategies import AnyStrategy, BestOf, Sampling
from ..errors import BadImage, Img2PoemError, InvalidOption
from ..form.form import Form
from ..images.decode import Photo, check, read_photo
from ..requests import Call, Deadline
from ..validation.numbers import at_least, real
from .operations import Written
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
        object.__setattr__(self, "timeout", _seconds(self.timeout))
        object.__setattr__(self, "concurrency", at_least(1, "concurrency", self.concurrency))

    def call(self, timeout: float | None) -> Call:
        """Begin a call, with a ``timeout`` of its own or the usual one."""
        return Call(Deadline(self.timeout if timeout is None else _seconds(timeout)))


@contextlib.contextmanager
def identified(call: Call) -> Iterator[None]:
    """Put the id of ``call`` on the errors of the block."""
    try:
        yield
    except Img2PoemError as error:
        error.request_id = call.request_id
        raise


def jobs(photos: Iterable[Photo], strategies: Sequence[AnyStrategy]) -> Iterator[tuple[Photo, AnyStrategy]]:
    """Yield each photograph with each of ``strategies``; a file object is read once."""
    for photo in photos:
        if len(strategies) > 1 and hasattr(photo, "read"):
            with contextlib.suppress(BadImage):  # whoever reads it next finds the same
                photo = read_photo(photo)
        yield from ((photo, strategy) for strategy in strategies)


def checked(photo: Photo) -> bytes:
    """Return the encoded photograph, refused where its header alone shows that it cannot be used."""
    data = read_photo(photo)
    check(data)
    return data


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


def _seconds(value: float) -> float:
    found = real("timeout", value)
    if found <= 0:
        raise InvalidOption(f"timeout must be above 0 s, not {value!r}")
    return found
