"""The language model that measures: SmolLM2 itself, from its package."""

from __future__ import annotations

import pytest

from img2poem.metrics import order_gain
from training.language_model import LanguageModel

ENGLISH = "the dog runs down to the water\nand shakes the whole lake from its coat"
LIST = "red yellow red green wet mouth\nwet water flax away and splash"


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel()


def test_bits_are_of_each_text_whatever_is_in_its_batch(model: LanguageModel) -> None:
    alone, together = model.bits([ENGLISH])[0], model.bits(["sea", ENGLISH, f"{ENGLISH}\n{LIST}"])
    assert together[1] == pytest.approx(alone, rel=0.02)  # bfloat16
    assert 0 < together[0] < together[1] < together[2]
    assert 100 < alone < 160  # 15 words at 8 or 9 bits
    assert model.bits([]) == []


def test_english_depends_on_the_order_of_its_words_and_a_list_does_not(model: LanguageModel) -> None:
    english, salad = (order_gain([text], model.bits) for text in (ENGLISH, LIST))
    assert english > 2.5 and salad < 1.5
