"""The registered strategies: how each is served, named and built; everything else is derived from this list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidOption
from ..validation.json_fields import loaded, made, mapped
from ..validation.numbers import told, whole
from .options import Option, options_of
from .strategies import MAX_COUNT, AnyStrategy, BeamSearch, BestOf, Greedy, Sampling


@dataclass(frozen=True)
class Registered:
    """How a strategy is served.

    Args:
        kind: the dataclass of the strategy.
        ensemble: served model from photograph to poem.
        decoder: served model from embedding to tokens.
        noise: served model that makes the decoder's noise from a seed; none if the decoder takes no noise.
        reranked: whether ``rerank`` chooses among several poems of the decoder.
    """

    kind: type[AnyStrategy]
    ensemble: str
    decoder: str
    noise: str = ""
    reranked: bool = False

    @property
    def name(self) -> str:
        """The strategy's name in JSON, on the command line and in the REST interface."""
        return self.kind.name

    @property
    def options(self) -> dict[str, Option]:
        """The strategy's options by field name."""
        return options_of(self.kind)

    @property
    def streams(self) -> bool:
        """Whether each line is known before the next one is decoded."""
        return issubclass(self.kind, Greedy | Sampling)

    @property
    def decoder_options(self) -> tuple[str, ...]:
        """Names of the option tensors that the decoder takes: noise replaces ``seed`` and ``n``."""
        return tuple(one.tensor for name, one in self.options.items() if name not in ("seed", "n"))


REGISTRY = {
    one.name: one
    for one in (
        Registered(Greedy, "img2poem_greedy", "poem_decoder_greedy"),
        Registered(BeamSearch, "img2poem", "poem_decoder_beam"),
        Registered(Sampling, "img2poem_sample", "poem_decoder_sample", "noise"),
        Registered(BestOf, "img2poem_best", "poem_decoder_candidates", "candidate_noise", reranked=True),
    )
}
#: Every option by the name of its field, and by the name of its tensor.
FIELDS = {field: one for entry in REGISTRY.values() for field, one in entry.options.items()}
OPTIONS = {one.tensor: one for one in FIELDS.values()}
#: Names of the option tensors that every decoder takes, that beam search takes, and that sampling takes.
RULE_OPTIONS = REGISTRY[Greedy.name].decoder_options
BEAM_OPTIONS = REGISTRY[BeamSearch.name].decoder_options
SAMPLE_OPTIONS = REGISTRY[Sampling.name].decoder_options


def registered(strategy: AnyStrategy) -> Registered:
    """Return the entry of a strategy."""
    return REGISTRY[strategy.name]


def owners_of(field: str) -> list[str]:
    """Return the names of the strategies that have an option."""
    return [one.name for one in REGISTRY.values() if field in one.options]


def build(name: str, given: Mapping[str, Any], spelled: Callable[[str], str] = str) -> AnyStrategy:
    """Return the strategy ``name`` with the options ``given`` by field name; the others have their defaults.

    Args:
        name: a key of ``REGISTRY``.
        given: values by field name; for best-of, those of its sampling too.
        spelled: returns the caller's spelling of a field name, for the message.

    Raises:
        InvalidOption: an option belongs to other strategies, or is out of range.
    """
    entry = REGISTRY[name]
    if strange := [field for field in given if field not in entry.options]:
        owners = " or ".join(owners_of(strange[0]))
        raise InvalidOption(f"{spelled(strange[0])} goes with {spelled('strategy')} {owners}, not with {name}")
    if entry.kind is not BestOf:
        return entry.kind(**given)
    own = {field: value for field, value in given.items() if field == "n"}
    return BestOf(**own, sampling=Sampling(**{field: given[field] for field in given if field != "n"}))


def strategy_from_json(text: str | bytes) -> AnyStrategy:
    """Parse a strategy that ``to_json`` wrote; omitted options have their defaults.

    Raises:
        InvalidOption: ``text`` is not JSON, its name is unknown, or an option is unknown or out of range.
    """
    return strategy_of(loaded("a strategy", text))


def strategy_of(value: object) -> AnyStrategy:
    """Return the strategy for a parsed JSON object; see :func:`strategy_from_json`.

    Raises:
        InvalidOption: ``value`` is not an object, its name is unknown, or an option is unknown or out of range.
    """
    fields = mapped("a strategy", value)
    name = fields.pop("name", None)
    if not isinstance(name, str) or name not in REGISTRY:
        raise InvalidOption(f"the name of a strategy is {', '.join(REGISTRY)}, not {name!r}")
    kind = REGISTRY[name].kind
    if kind is BestOf and "sampling" in fields:
        fields["sampling"] = made(Sampling, "sampling", mapped("sampling", fields["sampling"]))
    return cast("AnyStrategy", made(kind, f"the strategy {name}", fields))


def distinct(strategy: AnyStrategy, count: int) -> list[AnyStrategy]:
    """Return the strategies of ``count`` poems about one photograph: copies with consecutive seeds.

    Consecutive seeds share no random numbers (:mod:`img2poem.decoding.noise`).

    Raises:
        InvalidOption: ``count`` is not from 1 to ``MAX_COUNT``, or is above 1 for a strategy that does not sample.
    """
    if not 1 <= whole("count", count) <= MAX_COUNT:
        raise InvalidOption(f"count must be from 1 to {MAX_COUNT}, not {count}")
    if count == 1:
        return [strategy]
    sampling = strategy.sampling if isinstance(strategy, BestOf) else strategy
    if not isinstance(sampling, Sampling):
        raise InvalidOption(f"{strategy.name} gives one poem per photograph; use best-of or sample for several")
    seeds = [(sampling.seed + i) % (int(OPTIONS["seed"].highest) + 1) for i in range(count)]
    drawn = [replace(sampling, seed=seed) for seed in seeds]
    return [replace(strategy, sampling=one) for one in drawn] if isinstance(strategy, BestOf) else [*drawn]


def check_tensors(tensors: Mapping[str, NDArray[Any]]) -> None:
    """Check that option tensors, by name, have values in range; tensors that are not options are ignored.

    Raises:
        InvalidOption: a value is out of range (the message names the first such option), or ``max_lines`` is less
            than ``min_lines``.
    """
    for name, option in OPTIONS.items():
        if (values := tensors.get(name)) is None:
            continue
        # Vocabularies differ in size; an id outside the vocabulary forbids nothing.
        highest = option.dtype(option.highest if name != "forbidden_tokens" else np.iinfo(np.int64).max)
        outside = ~((values >= option.dtype(option.lowest)) & (values <= highest))  # true for NaN
        if outside.any():
            found = told(values[outside][0])
            raise InvalidOption(f"{name} must be from {told(option.lowest)} to {told(highest.item())}, not {found}")
    if "min_lines" in tensors and "max_lines" in tensors and (tensors["max_lines"] < tensors["min_lines"]).any():
        raise InvalidOption("max_lines is less than min_lines")
