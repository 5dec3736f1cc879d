"""The options of a request for poems: strategy, from the registered ones, and form."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator, model_validator

from ..decoding.options import Option
from ..decoding.registry import FIELDS, OPTIONS, REGISTRY, build, distinct, owners_of
from ..decoding.strategies import MAX_COUNT, AnyStrategy
from ..form.form import Form
from ..validation.numbers import told

#: Options that are lists; in a form field their values are separated by commas or spaces.
LISTS = ("forbidden", "include")
_FORM = tuple(field.name for field in dataclasses.fields(Form))


class OptionsModel(BaseModel):
    """Options of a request; an unknown option is an error."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _given(cls, values: Any) -> Any:
        """Drop the fields that an HTML form leaves empty."""
        return {name: value for name, value in values.items() if value not in ("", [""])}


class _PoemOptions(OptionsModel):
    """Strategy and form, under the names of the library."""

    strategy: str | None
    forbidden: list[str] = Field([], description="Words that must not occur.")
    count: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Poems, by sample or best-of, with consecutive seeds (1)."
    )
    lines: int | None = Field(
        None,
        ge=int(OPTIONS["max_lines"].lowest),
        le=int(OPTIONS["max_lines"].highest),
        description="Exact number of lines.",
    )
    acrostic: str = Field("", description="First letters of the lines.", max_length=64)
    rhyme: str = Field("", description="Rhyme scheme, as AABB.", max_length=64)
    include: list[str] = Field([], description="Words that must occur.")
    first_words: str = Field("", description="Words that begin the poem.", max_length=200)

    @field_validator(*LISTS)
    @classmethod
    def _words(cls, values: list[str]) -> list[str]:
        """Separate words that come in one field."""
        return [word.lower() for value in values for word in re.split(r"[\s,]+", value) if word]

    def form(self) -> Form | None:
        """Return the form; None if no option of it was given.

        Raises:
            InvalidOption: a value is malformed, or values contradict each other.
        """
        form = Form(**{**self.model_dump(include=set(_FORM)), "include": tuple(self.include)})
        return None if form == Form() else form

    def strategies(self, default: str) -> list[AnyStrategy]:
        """Return the strategy of each poem; ``default`` names the one if none was given.

        Raises:
            InvalidOption: an option belongs to another strategy, or the options contradict each other.
        """
        given = self.model_dump(exclude={*_FORM, *LISTS, "strategy", "count"}, exclude_none=True)
        strategy = build(self.strategy or default, {**given, "forbidden": tuple(self.forbidden)})
        return distinct(strategy, self.count or 1)


def _field(name: str, option: Option) -> tuple[Any, Any]:
    owners = owners_of(name)
    some = f"; with {' or '.join(owners)}" if len(owners) < len(REGISTRY) else ""
    lowest, highest = option.type(option.lowest), option.type(option.highest)
    return option.type | None, Field(
        None, ge=lowest, le=highest, description=f"{option.sentence} ({told(option.default)}{some})."
    )


if TYPE_CHECKING:

    class PoemOptions(_PoemOptions):
        """Strategy and form, under the names of the library."""
else:
    PoemOptions = create_model(
        "PoemOptions",
        __base__=_PoemOptions,
        __doc__=_PoemOptions.__doc__,
        strategy=(
            Literal[tuple(REGISTRY)] | None,
            Field(None, description="Decoding strategy (best-of; sample for a stream)."),
        ),
        **{name: _field(name, option) for name, option in FIELDS.items() if name not in LISTS},
    )
