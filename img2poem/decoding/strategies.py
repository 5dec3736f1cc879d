"""Decoding strategies and their options: what a caller asks for, and the tensors that say so."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidOption
from ..text.vocabulary import forbidden_tokens
from ..validation.json_fields import loaded, made, mapped
from ..validation.numbers import real, told, whole

#: Width of the exported beam search; a request may ask for less.
MAX_BEAM_WIDTH = 10
#: Longest poem in tokens, the end token included.
MAX_TOKENS = 96
#: How many of a step's likeliest tokens sampling draws from, and ``decoder_step`` returns.
TOP_TOKENS = 64
#: How many poems about a photograph can be asked for at once.
MAX_COUNT = 32
#: How many words a poem may be kept from using.
MAX_FORBIDDEN = 32


@dataclass(frozen=True)
class Option:
    """An option that every engine understands: range and dtype of its tensor, values a row."""

    dtype: type[np.generic]
    lowest: float
    highest: float
    width: int = 1

    def random(self, batch: int, random: np.random.Generator) -> NDArray[np.generic]:
        """Return random valid values ``[batch, width]``."""
        if self.dtype is np.int64:
            return random.integers(int(self.lowest), int(self.highest) + 1, (batch, self.width))
        return random.uniform(self.lowest, self.highest, (batch, self.width)).astype(self.dtype)


#: Tokens that end a line: a mark and the newline.
LINE_ENDING = 2
#: In fewer tokens a line says nothing: rather than to shorten lines below that, a poem is cut off.
_FEWEST_LINE_TOKENS = 4

OPTIONS = {
    "min_lines": Option(np.int64, 1, 16),
    "max_lines": Option(np.int64, 1, 16),
    # A word, a final mark and the end token at least.
    "max_tokens": Option(np.int64, 3, MAX_TOKENS),
    "max_line_tokens": Option(np.int64, 2, 32),
    "no_repeat_ngram": Option(np.int64, 0, 4),
    "repetition_penalty": Option(np.float32, 1.0, 4.0),
    # 0 for none; those above are rare in any vocabulary, and allowed.
    "forbidden_tokens": Option(np.int64, 0, 999, MAX_FORBIDDEN),
    "beam_width": Option(np.int64, 1, MAX_BEAM_WIDTH),
    "length_penalty": Option(np.float32, 0.0, 4.0),
    "temperature": Option(np.float32, 0.05, 4.0),
    "top_k": Option(np.int64, 1, TOP_TOKENS),
    "top_p": Option(np.float32, 0.01, 1.0),
    "seed": Option(np.int64, 0, 2**63 - 1),
    "n": Option(np.int64, 1, 32),
}


class _Json:
    """The JSON form of a strategy, a dataclass."""

    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the options as what JSON has."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]

    def to_json(self) -> str:
        """Return one line of JSON, of which :func:`strategy_from_json` makes the same again."""
        return json.dumps(self.to_dict())


@dataclass(frozen=True, kw_only=True)
class Strategy(_Json):
    """Options common to all strategies. Use :class:`Greedy`, :class:`BeamSearch` or :class:`Sampling`.

    Args:
        min_lines: fewest lines; a poem cut off at ``max_tokens`` may have fewer.
        max_lines: most lines.
        max_tokens: longest poem in tokens (words, marks, suffixes, line breaks), the end token included.
        max_line_tokens: longest line in tokens, but for a final mark behind them; down to 4 where ``min_lines`` lines
            of that length would not fit into ``max_tokens``.
        no_repeat_ngram: n-grams of so many tokens that end with a word do not come twice; 0 is off, 1 is not allowed.
        repetition_penalty: divides the probability of a word of three letters or more for each time it was used, and
            keeps any word from following itself; 1 is off.
        forbidden: words that do not come in the poem; the words that the package forbids do not come anyway.

    Raises:
        InvalidOption: a value is outside its range.
    """

    #: ``greedy``, ``beam`` or ``sample``; the served decoder is ``poem_decoder_<name>``.
    name: ClassVar[str]

    min_lines: int = 3
    max_lines: int = 6
    max_tokens: int = MAX_TOKENS
    max_line_tokens: int = 16
    no_repeat_ngram: int = 3
    repetition_penalty: float = 1.1
    forbidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in self._numbers().items():
            object.__setattr__(self, name, _checked(name, value, OPTIONS[_tensor_name(name)]))
        _check_words(self.forbidden)
        if self.no_repeat_ngram == 1:
            raise InvalidOption("no_repeat_ngram must be 0 (off) or 2 to 4, not 1")
        if self.max_lines < self.min_lines:
            raise InvalidOption(f"max_lines ({self.max_lines}) is less than min_lines ({self.min_lines})")

    @property
    def line_tokens(self) -> int:
        """``max_line_tokens``, or as many as leave room for all ``min_lines`` lines and their endings."""
        room = self.max_tokens // self.min_lines - LINE_ENDING
        return min(self.max_line_tokens, room) if room >= _FEWEST_LINE_TOKENS else self.max_line_tokens

    def tensors(self, pieces: Sequence[str] = ()) -> dict[str, NDArray[np.generic]]:
        """Return the options as tensors of one row, by name: ``[1, 1]``, ``forbidden_tokens`` ``[1, MAX_FORBIDDEN]``.

        They are the inputs of the served ensembles; :func:`img2poem.decoding.noise.drawn` makes those of the decoders.

        Args:
            pieces: the decoder's vocabulary by id; only needed where words are forbidden.
        """
        limited = {**self._numbers(), "max_line_tokens": self.line_tokens}
        named = {_tensor_name(name): value for name, value in limited.items()}
        tensors = {name: np.array([[value]], OPTIONS[name].dtype) for name, value in named.items()}
        forbidden = np.zeros((1, MAX_FORBIDDEN), np.int64)
        if self.forbidden:
            numbers = forbidden_tokens(self.forbidden, pieces)
            forbidden[0, : len(numbers)] = numbers
        return {name: forbidden if name == "forbidden_tokens" else tensors[name] for name in self._tensor_names()}

    def _numbers(self) -> dict[str, float]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "forbidden"}

    def _tensor_names(self) -> list[str]:
        return [_tensor_name(f.name) for f in fields(self)]


@dataclass(frozen=True, kw_only=True)
class Greedy(Strategy):
    """The likeliest allowed token at each step."""

    name = "greedy"


@dataclass(frozen=True, kw_only=True)
class BeamSearch(Strategy):
    """The best of several hypotheses, by log-probability over length ** ``length_penalty``.

    Args:
        width: hypotheses that are kept at each step.
        length_penalty: 0 compares log-probabilities as they are, 1 those a token; more favours long poems.
    """

    width: int = 5
    length_penalty: float = 1.0

    name = "beam"


@dataclass(frozen=True, kw_only=True)
class Sampling(Strategy):
    """Draws each token by its probability; the same ``seed`` gives the same poem on every engine.

    Args:
        temperature: divides the log-probabilities: lower is safer, higher more surprising.
        top_k: only so many of the likeliest tokens are drawn from (Fan et al. 2018).
        top_p: and only those of them that together reach this probability (Holtzman et al. 2020).
        seed: of the random numbers.
    """

    temperature: float = 0.7
    top_k: int = TOP_TOKENS
    top_p: float = 0.9
    seed: int = 0

    name = "sample"


@dataclass(frozen=True)
class BestOf(_Json):
    """Draws ``n`` poems by ``sampling`` and keeps the best by cosine to the photograph and by likelihood.

    How much a nat of the decoder's log-probability a token counts, the package says.

    Args:
        n: how many poems are drawn.
        sampling: how they are drawn; the first of them is its own.
    """

    n: int = 16
    sampling: Sampling = field(default_factory=Sampling)

    name: ClassVar[str] = "best"

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", _checked("n", self.n, OPTIONS["n"]))
        if not isinstance(self.sampling, Sampling):
            raise InvalidOption(f"sampling must be a Sampling, not {self.sampling!r}")

    @property
    def forbidden(self) -> tuple[str, ...]:
        """The words that do not come in the poem."""
        return self.sampling.forbidden

    def tensors(self, pieces: Sequence[str] = ()) -> dict[str, NDArray[np.generic]]:
        """Return the options of ``sampling``, and ``n``; the first of the poems is its own."""
        return {**self.sampling.tensors(pieces), "n": np.array([[self.n]])}


#: What an engine can be asked for.
AnyStrategy = Strategy | BestOf
_KINDS: dict[str, type[AnyStrategy]] = {kind.name: kind for kind in (Greedy, BeamSearch, Sampling, BestOf)}


def strategy_from_json(text: str | bytes) -> AnyStrategy:
    """Return the strategy that :meth:`Strategy.to_json` wrote; options that are left out have their defaults.

    Raises:
        InvalidOption: it is no JSON, has no known name, or an option is unknown or out of its range.
    """
    return strategy_of(loaded("a strategy", text))


def strategy_of(value: object) -> AnyStrategy:
    """As :func:`strategy_from_json`, of the object that JSON held.

    Raises:
        InvalidOption: it is none.
    """
    fields = mapped("a strategy", value)
    name = fields.pop("name", None)
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidOption(f"the name of a strategy is {', '.join(_KINDS)}, not {name!r}")
    if kind is BestOf and "sampling" in fields:
        fields["sampling"] = made(Sampling, "sampling", mapped("sampling", fields["sampling"]))
    return cast("AnyStrategy", made(kind, f"the strategy {name}", fields))


def distinct(strategy: AnyStrategy, count: int) -> list[AnyStrategy]:
    """Return the strategies of ``count`` poems about one photograph: each has the seed after the one before.

    Seeds that differ by one have no random number in common (:mod:`img2poem.decoding.noise`).

    Raises:
        InvalidOption: ``count`` is not from 1 to ``MAX_COUNT``, or is above 1 where nothing is drawn.
    """
    if not 1 <= whole("count", count) <= MAX_COUNT:
        raise InvalidOption(f"count must be from 1 to {MAX_COUNT}, not {count}")
    if count == 1:
        return [strategy]
    sampling = strategy.sampling if isinstance(strategy, BestOf) else strategy
    if not isinstance(sampling, Sampling):
        raise InvalidOption(f"{strategy.name} knows one poem about a photograph; several take best-of or sample")
    seeds = [(sampling.seed + i) % (int(OPTIONS["seed"].highest) + 1) for i in range(count)]
    drawn = [replace(sampling, seed=seed) for seed in seeds]
    return [replace(strategy, sampling=one) for one in drawn] if isinstance(strategy, BestOf) else [*drawn]


def _tensor_name(field_name: str) -> str:
    return {"width": "beam_width", "forbidden": "forbidden_tokens"}.get(field_name, field_name)


#: Names of the option tensors that every decoder takes, and those of the beam and the sampling decoder.
RULE_OPTIONS = tuple(_tensor_name(f.name) for f in fields(Strategy))
BEAM_OPTIONS = (*RULE_OPTIONS, "beam_width", "length_penalty")
SAMPLE_OPTIONS = (*RULE_OPTIONS, "temperature", "top_k", "top_p")


def check_tensors(tensors: Mapping[str, NDArray[Any]]) -> None:
    """Refuse option tensors, by name, any value of which is out of its range; others are not looked at.

    Raises:
        InvalidOption: names the first.
    """
    for name, option in OPTIONS.items():
        if (values := tensors.get(name)) is None:
            continue
        # Vocabularies differ in size, and a number that is no token forbids nothing.
        highest = option.dtype(option.highest if name != "forbidden_tokens" else np.iinfo(np.int64).max)
        outside = ~((values >= option.dtype(option.lowest)) & (values <= highest))  # NaN too
        if outside.any():
            found = told(values[outside][0])
            raise InvalidOption(f"{name} must be from {told(option.lowest)} to {told(highest.item())}, not {found}")
    if "min_lines" in tensors and "max_lines" in tensors and (tensors["max_lines"] < tensors["min_lines"]).any():
        raise InvalidOption("max_lines is less than min_lines")


def _checked(name: str, value: object, option: Option) -> float:
    """Return the number, plain; refuse it out of its range."""
    found = whole(name, value) if option.dtype is np.int64 else real(name, value)
    if not option.lowest <= found <= option.highest:
        raise InvalidOption(f"{name} must be from {told(option.lowest)} to {told(option.highest)}, not {told(found)}")
    return found


def _check_words(words: Sequence[str]) -> None:
    if not isinstance(words, tuple) or not all(isinstance(w, str) and re.fullmatch("[a-z]+", w) for w in words):
        raise InvalidOption(f"forbidden must be a tuple of words in the letters a to z, not {words!r}")
    if len(words) > MAX_FORBIDDEN:
        raise InvalidOption(f"forbidden may have {MAX_FORBIDDEN} words, not {len(words)}")
