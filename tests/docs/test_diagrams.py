"""The diagrams are the output of their script, and show the exported models."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from export.ensembles import ENSEMBLES

from ..conftest import ROOT

DOCS = ROOT / "docs"
DRAWINGS = runpy.run_path(str(DOCS / "diagrams.py"))["DRAWINGS"]


def texts_of(drawing: Path) -> str:
    return " ".join(re.findall(r"<text [^>]*>([^<]*)</text>", drawing.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_committed_drawing_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == DRAWINGS[name]().svg(), "run python docs/diagrams.py"


def test_the_ensemble_is_drawn_with_all_of_its_steps() -> None:
    [best] = [ensemble for ensemble in ENSEMBLES if ensemble.name == "img2poem_best"]
    shown = texts_of(DOCS / "ensemble.svg")
    places = [shown.index(model) for model in best.models]
    assert places == sorted(places)
    tensors = {name for _, _, made in best.steps([]) for name in made.values()}
    whole = {"drawn_candidate_scores", "drawn_candidate_lengths"}  # shown as scores and lengths
    assert all(tensor in shown for tensor in tensors - whole)
