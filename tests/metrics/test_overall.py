from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from img2poem.metrics import overall

tables = arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(1, 6)), elements=st.integers(-99, 99))


def test_mean_of_normalised_columns_by_hand() -> None:
    # Normalised: 0, 1, 0.5 and 1, 0, 0.25; the last column is the same for all.
    scores = [[10, 4, 7], [30, 0, 7], [20, 1, 7]]
    np.testing.assert_allclose(overall(scores), [100 / 3, 100 / 3, 25])


@given(tables, st.integers(1, 9), st.integers(-9, 9))
def test_units_do_not_matter_and_the_best_at_all_has_100(
    table: np.ndarray[tuple[int, int], np.dtype[np.float64]], scale: int, shift: int
) -> None:
    found = overall(table)
    assert found.min() >= 0 and found.max() <= 100
    np.testing.assert_allclose(overall(table * scale + shift), found, atol=1e-9)
    better, worse = table.max(0) + 1, table.min(0) - 1
    assert overall([*table, better, worse])[-2:] == pytest.approx([100, 0])


@pytest.mark.parametrize("scores", [[], [[1.0, 2.0]], [1.0, 2.0], [[], []]])
def test_too_little_to_compare_says_so(scores: list[object]) -> None:
    with pytest.raises(ValueError, match="at least two systems"):
        overall(scores)  # type: ignore[arg-type]


def test_a_missing_score_says_so() -> None:
    with pytest.raises(ValueError, match="not finite"):
        overall([[1.0, float("nan")], [1.0, 2.0]])
