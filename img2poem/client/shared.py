"""Code that the blocking and the asyncio client share: settings, request ids of errors, results."""

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

#: The default decoding strategy.
DEFAULT = BestOf()


@dataclass(frozen=True)
class Settings:
    """Timeout of a call in seconds, and maximum number of poems in progress at once.

    Raises:
        InvalidOption: a value is not positive, or the timeout is not finite.
    """

    timeout: float
    concurrency: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "timeout", _seconds(self.timeout))
        object.__setattr__(self, "concurrency", at_least(1, "concurrency", self.concurrency))

    def call(self, timeout: float | None) -> Call:
        """Start a call with ``timeout``, or the default timeout if None."""
        return Call(Deadline(self.timeout if timeout is None else _seconds(timeout)))


@contextlib.contextmanager
def identified(call: Call) -> Iterator[None]:
    """Set ``request_id`` on the errors of the block to the id of ``call``."""
    try:
        yield
    except Img2PoemError as error:
        error.request_id = call.request_id
        raise


def jobs(photos: Iterable[Photo], strategies: Sequence[AnyStrategy]) -> Iterator[tuple[Photo, AnyStrategy]]:
    """Yield each photograph with each of ``strategies``. A file object is read only once."""
    for photo in photos:
        if len(strategies) > 1 and hasattr(photo, "read"):
            with contextlib.suppress(BadImage):  # writing the poem reads it again and raises
                photo = read_photo(photo)
        yield from ((photo, strategy) for strategy in strategies)


def checked(photo: Photo) -> bytes:
    """Return the encoded photograph, after a check of its header.

    Raises:
        BadImage: the photograph cannot be read, or its header declares an unknown format or too many pixels.
    """
    data = read_photo(photo)
    check(data)
    return data


def poem_of(written: Written, strategy: AnyStrategy, form: Form | None, call: Call) -> Poem:
    """Return the :class:`Poem` for the result of decoding."""
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
    """Return ``outcome`` if it is a poem; raise it if it is an error."""
    if isinstance(outcome, Img2PoemError):
        raise outcome
    return outcome


def health_of(name: str, found: bool | Img2PoemError) -> Health:
    """Return the health of an endpoint from its answer, or from the error of the health check."""
    if isinstance(found, Img2PoemError):
        return Health(name, False, str(found))
    return Health(name, found, "ready" if found else "the server answers, but not every model is loaded")


def _seconds(value: float) -> float:
    found = real("timeout", value)
    if found <= 0:
        raise InvalidOption(f"timeout must be above 0 s, not {value!r}")
    return found
