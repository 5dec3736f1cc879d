"""Curves of a stage's training, from TensorBoard's logs to one small file of JSON."""

from __future__ import annotations

import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from img2poem.files.atomic import write_atomically

NAME = "curves.json"

#: Steps and values, by the name that a value is logged under, as ``train/loss``.
Curves = dict[str, list[tuple[int, float]]]


def write_curves(logs: Path, folder: Path) -> None:
    """Write ``curves.json`` into ``folder``: the values of TensorBoard's ``logs``, of resumed runs too."""
    write_atomically(folder / NAME, json.dumps(_read(logs)) + "\n")


def _read(logs: Path) -> Curves:
    events = EventAccumulator(str(logs), size_guidance={"scalars": 0})  # 0: all of them
    events.Reload()
    found: Curves = {}
    for name in sorted(events.Tags()["scalars"]):
        if "/" in name:  # the others are Lightning's own
            # A run that was resumed logs the steps since its checkpoint anew.
            values = {event.step: float(f"{event.value:.5g}") for event in events.Scalars(name)}
            found[name] = sorted(values.items())
    return found
