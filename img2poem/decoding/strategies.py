"""Decoding strategies, with their options, and the option tensors of a request.

To add a strategy: its dataclass here, its search in :mod:`img2poem.nn.search` and in :mod:`img2poem.decoding.search`,
its entry in :mod:`img2poem.decoding.registry`, and its test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidOption
from ..text.vocabulary import forbidden_tokens
from .options import option, options_of

#: Beam width of the exported beam search; a request may use less.
MAX_BEAM_WIDTH = 10
#: Longest poem in tokens, with the end token.
MAX_TOKENS = 96
#: Candidates per step: ``decoder_step`` returns this many tokens, and sampling draws from them.
TOP_TOKENS = 64
#: Most poems about one photograph in one call.
MAX_COUNT = 32
#: Most forbidden words of a strategy.
MAX_FORBIDDEN = 32
#: Tokens that end a line: a punctuation mark and the newline.
LINE_ENDING = 2
#: Lines are not shortened below this many tokens; the poem is truncated instead.
_FEWEST_LINE_TOKENS = 4


class _Json:
    """JSON serialisation of a strategy dataclass."""

    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the options as a dict that ``json.dumps`` accepts."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]

    def to_json(self) -> str:
        """Return the strategy as one line of JSON; :func:`img2poem.decoding.registry.strategy_from_json` reads it."""
        return json.dumps(self.to_dict())


@dataclass(frozen=True, kw_only=True)
class Strategy(_Json):
    """Options common to :class:`Greedy`, :class:`BeamSearch` and :class:`Sampling`; use one of these.

    Raises:
        InvalidOption: a value is outside its range.
    """

    #: The name in JSON, on the command line and in the REST interface.
    name: ClassVar[str]

    min_lines: int = option(
        3, np.int64, 1, 16, "fewest lines; a poem truncated at the largest number of tokens may have fewer"
    )
    max_lines: int = option(6, np.int64, 1, 16, "most lines")
    # At least a word, a final mark and the end token.
    max_tokens: int = option(
        MAX_TOKENS, np.int64, 3, MAX_TOKENS, "most tokens: words, punctuation marks, suffixes, line breaks, the end"
    )
    max_line_tokens: int = option(
        16, np.int64, 2, 32, "most tokens in a line, not counting a final mark; fewer if the fewest lines need it"
    )
    no_repeat_ngram: int = option(
        3, np.int64, 0, 4, "length of the n-grams that may not repeat if they end with a word; 0 is off"
    )
    repetition_penalty: float = option(
        1.1,
        np.float32,
        1.0,
        4.0,
        "divides the probability of a word of three letters or more once for each earlier use; 1 is off",
    )
    # The highest id bounds random values alone: check_tensors accepts any. 0 is padding.
    forbidden: tuple[str, ...] = option(
        (), np.int64, 0, 999, "words that must not occur", tensor="forbidden_tokens", width=MAX_FORBIDDEN
    )

    def __post_init__(self) -> None:
        for name, one in options_of(type(self)).items():
            if name != "forbidden":
                object.__setattr__(self, name, one.checked(name, getattr(self, name)))
        _check_words(self.forbidden)
        if self.no_repeat_ngram == 1:
            raise InvalidOption("no_repeat_ngram must be 0 (off) or 2 to 4, not 1")
        if self.max_lines < self.min_lines:
            raise InvalidOption(f"max_lines ({self.max_lines}) is less than min_lines ({self.min_lines})")

    @property
    def line_tokens(self) -> int:
        """``max_line_tokens``, lowered if ``min_lines`` lines and their endings do not fit into ``max_tokens``."""
        room = self.max_tokens // self.min_lines - LINE_ENDING
        return min(self.max_line_tokens, room) if room >= _FEWEST_LINE_TOKENS else self.max_line_tokens

    def tensors(self, pieces: Sequence[str] = ()) -> dict[str, NDArray[np.generic]]:
        """Return the option tensors of one row, by name.

        Each is ``[1, 1]``, except ``forbidden_tokens``, which is ``[1, MAX_FORBIDDEN]``. The served ensembles take
        these tensors; :func:`img2poem.decoding.noise.drawn` converts them for the decoders.

        Args:
            pieces: the decoder's vocabulary by id; only needed if words are forbidden.
        """
        tensors: dict[str, NDArray[np.generic]] = {}
        for name, one in options_of(type(self)).items():
            values = np.zeros((1, one.width), one.dtype)
            if name == "forbidden":
                tokens = forbidden_tokens(self.forbidden, pieces) if self.forbidden else []
                values[0, : len(tokens)] = tokens
            else:
                values[0, 0] = self.line_tokens if name == "max_line_tokens" else getattr(self, name)
            tensors[one.tensor] = values
        return tensors


@dataclass(frozen=True, kw_only=True)
class Greedy(Strategy):
    """Greedy search: the most likely allowed token at each step."""

    name = "greedy"


@dataclass(frozen=True, kw_only=True)
class BeamSearch(Strategy):
    """Beam search: the best of several hypotheses by log-probability / length ** ``length_penalty``."""

    width: int = option(
        5, np.int64, 1, MAX_BEAM_WIDTH, "hypotheses kept at each step (beam width)", tensor="beam_width"
    )
    length_penalty: float = option(
        1.0, np.float32, 0.0, 4.0, "0 compares total log-probabilities, 1 those per token; more favours long poems"
    )

    name = "beam"


@dataclass(frozen=True, kw_only=True)
class Sampling(Strategy):
    """Samples each token by its probability; the same ``seed`` gives the same poem on every engine."""

    temperature: float = option(
        0.5, np.float32, 0.05, 4.0, "divides the log-probabilities: lower is more predictable, higher more varied"
    )
    top_k: int = option(
        TOP_TOKENS, np.int64, 1, TOP_TOKENS, "sample only from this many most likely tokens (Fan et al. 2018)"
    )
    top_p: float = option(
        0.9,
        np.float32,
        0.01,
        1.0,
        "sample only from the most likely tokens that together have this probability (Holtzman et al. 2020)",
    )
    seed: int = option(0, np.int64, 0, 2**63 - 1, "seed of the random numbers: another one gives another poem")

    name = "sample"


@dataclass(frozen=True)
class BestOf(_Json):
    """Best of n: samples ``n`` poems and keeps the one with the highest score.

    The score is the cosine of poem and photograph, plus a weight times the decoder's log-probability per token. The
    model package sets the weight.

    Args:
        n: number of poems to sample.
        sampling: how to sample them; the first is the poem that ``sampling`` alone gives.
    """

    n: int = option(16, np.int64, 1, 32, "poems to choose from")
    sampling: Sampling = field(default_factory=Sampling)

    name: ClassVar[str] = "best-of"

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", options_of(BestOf)["n"].checked("n", self.n))
        if not isinstance(self.sampling, Sampling):
            raise InvalidOption(f"sampling must be a Sampling, not {self.sampling!r}")

    @property
    def forbidden(self) -> tuple[str, ...]:
        """Words that must not occur in the poem."""
        return self.sampling.forbidden

    def tensors(self, pieces: Sequence[str] = ()) -> dict[str, NDArray[np.generic]]:
        """Return the option tensors of ``sampling``, and ``n``."""
        return {**self.sampling.tensors(pieces), "n": np.array([[self.n]])}


#: Every strategy that the engines accept.
AnyStrategy = Strategy | BestOf


def _check_words(words: Sequence[str]) -> None:
    if not isinstance(words, tuple) or not all(isinstance(w, str) and re.fullmatch("[a-z]+", w) for w in words):
        raise InvalidOption(f"forbidden must be a tuple of words in the letters a to z, not {words!r}")
    if len(words) > MAX_FORBIDDEN:
        raise InvalidOption(f"forbidden may have {MAX_FORBIDDEN} words, not {len(words)}")
