"""The shipped package and its served models as torch modules."""

from __future__ import annotations

import pytest

from export.served import ServedModel, served_models
from img2poem.nn.model import PhotoToPoem, load_package
from img2poem.text.tokenizer import PoemTokenizer

from ..conftest import WEIGHTS


@pytest.fixture(scope="module")
def package() -> tuple[PhotoToPoem, PoemTokenizer]:
    return load_package(WEIGHTS)


@pytest.fixture(scope="module")
def served(package: tuple[PhotoToPoem, PoemTokenizer]) -> dict[str, ServedModel]:
    return {model.name: model for model in served_models(*package)}
