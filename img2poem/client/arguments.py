"""The arguments of a client's methods, refused where they are of another type than is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..decoding.strategies import AnyStrategy, BeamSearch, BestOf, Greedy, Sampling
from ..errors import InvalidOption
from ..form.form import Form
from ..transports.address import Access, Tls
from .results import Poem


def access_of(headers: Mapping[str, str] | None, tls: Tls | None, background: bool) -> Access:
    """Return how servers are reached.

    Raises:
        InvalidOption: an argument is of another type.
    """
    if headers is not None and not isinstance(headers, Mapping):
        raise InvalidOption(f"headers must be a dictionary of texts, not a {type(headers).__name__}")
    if tls is not None and not isinstance(tls, Tls):
        raise InvalidOption(f"tls must be a Tls, as Tls(ca='ca.pem'), not {tls!r}")
    return Access(headers or {}, tls or Tls(), bool(background))


def chosen(strategy: AnyStrategy | None, default: AnyStrategy) -> AnyStrategy:
    """Return the strategy that was asked for, the default for None.

    Raises:
        InvalidOption: it is none.
    """
    if strategy is None:
        return default
    if not isinstance(strategy, Greedy | BeamSearch | Sampling | BestOf):
        raise InvalidOption(f"a strategy is Greedy(), BeamSearch(), Sampling() or BestOf(), not {strategy!r}")
    return strategy


def formed(form: Form | None) -> Form | None:
    """Return the form that was asked for.

    Raises:
        InvalidOption: it is none.
    """
    if not isinstance(form, Form | None):
        raise InvalidOption(f"a form is a Form, as Form(lines=4), not {form!r}")
    return form


def readable(poem: str | Poem) -> str | Sequence[int]:
    """Return what the aligner reads: a text, or the tokens of a poem that was decoded.

    Raises:
        InvalidOption: it is neither.
    """
    return poem.tokens if isinstance(poem, Poem) else _text(poem)


def texts(poems: Iterable[str | Poem]) -> list[str]:
    """Return the texts among which is searched.

    Raises:
        InvalidOption: they are not several, or one is no text.
    """
    if isinstance(poems, str | bytes | Poem) or not isinstance(poems, Iterable):
        raise InvalidOption(f"poems must be several texts, as a list, not {poems!r}")
    return [poem.text if isinstance(poem, Poem) else _text(poem) for poem in poems]


def _text(poem: object) -> str:
    if not isinstance(poem, str):
        raise InvalidOption(f"a poem is a text or a Poem, not {poem!r}")
    if any("\ud800" <= character <= "\udfff" for character in poem):
        raise InvalidOption("a poem is a text that UTF-8 can have, without halves of surrogate pairs")
    return str(poem)
