"""Declare an option of a strategy once, on its dataclass field: default, tensor, range and meaning.

The tensors of a request, the inputs of the served models, the command line, the REST interface, validation and the
reference are all derived from these declarations.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidOption
from ..validation.numbers import real, told, whole

_KEY = "option"


@dataclass(frozen=True)
class Option:
    """An option that every engine understands.

    Args:
        dtype: int64 or float32.
        lowest: smallest value.
        highest: largest value.
        meaning: one phrase for the command line, the REST interface and the reference.
        tensor: name of the option's tensor in a request.
        width: values in a row of the tensor.
        default: value if a caller gives none.
    """

    dtype: type[np.generic]
    lowest: float
    highest: float
    meaning: str
    tensor: str = ""
    width: int = 1
    default: Any = None

    @property
    def type(self) -> type[int] | type[float]:
        """Python's type of a value."""
        return int if self.dtype is np.int64 else float

    @property
    def sentence(self) -> str:
        """The meaning with a capital, without a full stop."""
        return self.meaning[0].upper() + self.meaning[1:]

    @property
    def range(self) -> str:
        """The range in words."""
        return f"{told(self.lowest)} to {told(self.highest)}"

    def checked(self, name: str, value: object) -> float:
        """Return ``value`` as a plain Python number.

        Raises:
            InvalidOption: it is not a number or out of range.
        """
        found = whole(name, value) if self.dtype is np.int64 else real(name, value)
        if not self.lowest <= found <= self.highest:
            raise InvalidOption(f"{name} must be from {self.range}, not {told(found)}")
        return found

    def random(self, batch: int, random: np.random.Generator) -> NDArray[np.generic]:
        """Return random valid values ``[batch, width]``."""
        if self.dtype is np.int64:
            return random.integers(int(self.lowest), int(self.highest) + 1, (batch, self.width))
        return random.uniform(self.lowest, self.highest, (batch, self.width)).astype(self.dtype)


def option(
    default: object,
    dtype: type[np.generic],
    lowest: float,
    highest: float,
    meaning: str,
    *,
    tensor: str = "",
    width: int = 1,
) -> Any:
    """Return a dataclass field that declares an :class:`Option`; its tensor has the field's name by default."""
    declared = Option(dtype, lowest, highest, meaning, tensor, width, default)
    return dataclasses.field(default=default, metadata={_KEY: declared})


def options_of(kind: type) -> dict[str, Option]:
    """Return the options of a strategy by field name, with those of a strategy that it contains."""
    found: dict[str, Option] = {}
    for field in dataclasses.fields(kind):
        if (declared := field.metadata.get(_KEY)) is not None:
            found[field.name] = dataclasses.replace(declared, tensor=declared.tensor or field.name)
        elif dataclasses.is_dataclass(field.default_factory):
            found |= options_of(field.default_factory)
    return found
