"""Training curves of a stage: TensorBoard's logs as one small JSON file."""

from __future__ import annotations

import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from img2poem.files.atomic import write_atomically

NAME = "curves.json"

#: Steps and values by log name, as ``train/loss``.
Curves = dict[str, list[tuple[int, float]]]


def write_curves(logs: Path, folder: Path) -> None:
    """Write ``curves.json`` into ``folder``: the values in TensorBoard's ``logs``, including those of resumed runs."""
    write_atomically(folder / NAME, json.dumps(_read(logs)) + "\n")


def _read(logs: Path) -> Curves:
    events = EventAccumulator(str(logs), size_guidance={"scalars": 0})  # 0: no limit
    events.Reload()
    found: Curves = {}
    for name in sorted(events.Tags()["scalars"]):
        if "/" in name:  # other names are Lightning's
            # A resumed run logs the steps after its checkpoint again.
            values = {event.step: float(f"{event.value:.5g}") for event in events.Scalars(name)}
            found[name] = sorted(values.items())
    return found
