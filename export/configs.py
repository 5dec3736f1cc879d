"""The tracked files of ``triton_repo/``: ``python -m export.configs`` writes them anew.

They are what ``python -m export.all --device gpu`` writes for the shipped package, without its weights: configs and
label files. The sources of the Python models are tracked there too, and copied by every export.
"""

from __future__ import annotations

from pathlib import Path

from img2poem.artifacts.package import Package

from .build import model_configs, texts, write_text
from .graphs import graph_models
from .repository import TRACKED
from .settings import Settings
from .writing import Writer

WEIGHTS = TRACKED.parent / "weights" / "lite"


def tracked(weights: Path) -> dict[str, str]:
    """Return the texts of the tracked files by path, the Python models excluded."""
    settings = Settings(device="gpu")
    writer = Writer(Package.open(weights), TRACKED, settings)
    served, config = [*writer.served.values()], writer.model.config
    graphs = graph_models(config, writer.tokenizer)
    configs = model_configs(served, graphs, config, settings, writer.stamps)
    return {f"{name}/{path}": text for name, of in configs.items() for path, text in texts(of, served).items()}


def main() -> None:
    """Write the files, and delete the configs of models that no longer exist."""
    found = tracked(WEIGHTS)
    for config in TRACKED.glob("*/config.pbtxt"):
        if f"{config.parent.name}/{config.name}" not in found:
            config.unlink()
    for path, text in found.items():
        write_text(TRACKED / path, text)


if __name__ == "__main__":
    main()
