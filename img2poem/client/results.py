"""The result types of the client."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..decoding.registry import strategy_of
from ..decoding.strategies import AnyStrategy
from ..errors import InvalidOption
from ..form.form import Form
from ..validation import json_fields
from ..validation.numbers import real, whole

FinishReason = Literal["end", "length"]


def json_line(fields: Mapping[str, object]) -> str:
    """Return one line of JSON that UTF-8 can encode, even if a file name in it is not valid UTF-8."""
    # backslashreplace writes a lone surrogate in the same way as JSON escapes it.
    return json.dumps(fields, ensure_ascii=False).encode(errors="backslashreplace").decode()


class _Json:
    def to_json(self, **more: object) -> str:
        """Return one line of JSON; the fields ``more`` come first."""
        return json_line({**more, **self.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can encode."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class Model(_Json):
    """A model package: its name, the version of the served model, and its contract hash (SHA-256)."""

    name: str
    version: str
    contract: str


@dataclass(frozen=True)
class Poem(_Json):
    """A poem and how it was written."""

    lines: tuple[str, ...]
    #: Log-probability per token; for beam search, log-probability / length ** length_penalty.
    score: float
    #: Token ids, end token included.
    tokens: tuple[int, ...]
    #: ``end``: the poem ended by itself; ``length``: it reached ``max_tokens``.
    finish_reason: FinishReason
    #: Seed of the sampling; None for strategies without sampling.
    seed: int | None
    strategy: AnyStrategy
    form: Form | None
    #: Cosine similarity of poem and photograph in the poetic space; None unless the strategy is best of n.
    relevance: float | None
    #: Milliseconds of the whole call (``total``), and of all requests to each model.
    timings: dict[str, float]
    model: Model
    request_id: str

    @property
    def text(self) -> str:
        """The lines, joined by newlines."""
        return "\n".join(self.lines)

    @classmethod
    def from_json(cls, text: str | bytes) -> Poem:
        """Return the poem that :meth:`to_json`, ``write --json`` or ``batch`` wrote. Additional fields are ignored.

        Raises:
            InvalidOption: ``text`` is not a JSON object, a field is missing, or a value is invalid.
        """
        found = json_fields.loaded("a poem", text)
        if missing := [field.name for field in dataclasses.fields(cls) if field.name not in found]:
            raise InvalidOption(f"a poem in JSON lacks {', '.join(missing)}")
        reason = found["finish_reason"]
        if reason not in get_args(FinishReason):
            raise InvalidOption(f"finish_reason must be {' or '.join(get_args(FinishReason))}, not {reason!r}")
        timings, model = (json_fields.mapped(name, found[name]) for name in ("timings", "model"))
        return cls(
            lines=json_fields.several("lines", found["lines"], json_fields.text),
            score=real("score", found["score"]),
            tokens=json_fields.several("tokens", found["tokens"], whole),
            finish_reason=reason,
            seed=json_fields.perhaps("seed", found["seed"], whole),
            strategy=strategy_of(found["strategy"]),
            form=json_fields.perhaps("form", found["form"], _form),
            relevance=json_fields.perhaps("relevance", found["relevance"], real),
            timings={name: real(name, value) for name, value in timings.items()},
            model=json_fields.made(
                Model, "model", {name: json_fields.text(name, value) for name, value in model.items()}
            ),
            request_id=json_fields.text("request_id", found["request_id"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can encode, with ``text`` and the name of the strategy."""
        fields = super().to_dict()
        return {**fields, "text": self.text, "strategy": self.strategy.to_dict()}


def _form(name: str, value: object) -> Form:
    return json_fields.made(Form, "a form", json_fields.mapped(name, value))


@dataclass(frozen=True)
class Label(_Json):
    """A class and its probability."""

    name: str
    probability: float


@dataclass(frozen=True)
class Description(_Json):
    """Outputs of the three encoders: objects and scenes, most likely first; mean valence and arousal from 1 to 7."""

    objects: tuple[Label, ...]
    scenes: tuple[Label, ...]
    valence: float
    arousal: float


@dataclass(frozen=True)
class Match(_Json):
    """A poem found by :meth:`img2poem.Img2Poem.search`: its index in the given poems, and its cosine similarity."""

    poem: str
    index: int
    score: float


@dataclass(frozen=True)
class Info(_Json):
    """Names of the endpoints (``target``), and metadata of the model package."""

    target: tuple[str, ...]
    package: str
    contract: str
    precision: str
    vocabulary_size: int
    image_size: int


@dataclass(frozen=True)
class Health(_Json):
    """Whether every model of an endpoint is ready, and if not, why."""

    endpoint: str
    ready: bool
    detail: str
