"""Type checks of the arguments of the client and its methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..decoding.registry import REGISTRY
from ..decoding.strategies import AnyStrategy
from ..errors import InvalidOption
from ..form.form import Form
from ..transports.address import Access, Tls
from .results import Poem


def access_of(headers: Mapping[str, str] | None, tls: Tls | None, background: bool) -> Access:
    """Return the headers, TLS files and priority for connections to servers.

    Raises:
        InvalidOption: an argument has the wrong type, or a header cannot be sent.
    """
    if headers is not None and not isinstance(headers, Mapping):
        raise InvalidOption(f"headers must be a dictionary of strings, not a {type(headers).__name__}")
    if tls is not None and not isinstance(tls, Tls):
        raise InvalidOption(f"tls must be a Tls, such as Tls(ca='ca.pem'), not {tls!r}")
    return Access(headers or {}, tls or Tls(), bool(background))


def chosen(strategy: AnyStrategy | None, default: AnyStrategy) -> AnyStrategy:
    """Return ``strategy``, or ``default`` if it is None.

    Raises:
        InvalidOption: ``strategy`` is not a strategy.
    """
    if strategy is None:
        return default
    kinds = tuple(one.kind for one in REGISTRY.values())
    if not isinstance(strategy, kinds):
        *others, last = (f"{kind.__name__}()" for kind in kinds)
        raise InvalidOption(f"strategy must be {', '.join(others)} or {last}, not {strategy!r}")
    return strategy


def formed(form: Form | None) -> Form | None:
    """Return ``form`` unchanged.

    Raises:
        InvalidOption: ``form`` is neither a ``Form`` nor None.
    """
    if not isinstance(form, Form | None):
        raise InvalidOption(f"form must be a Form, such as Form(lines=4), not {form!r}")
    return form


def readable(poem: str | Poem) -> str | Sequence[int]:
    """Return the input of the aligner: a text, or the token ids of a :class:`Poem`.

    Raises:
        InvalidOption: ``poem`` is neither a ``Poem`` nor a string, or the string cannot be encoded as UTF-8.
    """
    return poem.tokens if isinstance(poem, Poem) else _text(poem)


def texts(poems: Iterable[str | Poem]) -> list[str]:
    """Return the texts of the poems to search.

    Raises:
        InvalidOption: ``poems`` is a single poem or not iterable, or an element is not a poem.
    """
    if isinstance(poems, str | bytes | Poem) or not isinstance(poems, Iterable):
        raise InvalidOption(f"poems must be a list of strings or Poems, not {poems!r}")
    return [poem.text if isinstance(poem, Poem) else _text(poem) for poem in poems]


def _text(poem: object) -> str:
    if not isinstance(poem, str):
        raise InvalidOption(f"a poem must be a string or a Poem, not {poem!r}")
    if any("\ud800" <= character <= "\udfff" for character in poem):
        raise InvalidOption("a poem must be encodable as UTF-8, without lone surrogates")
    return str(poem)
