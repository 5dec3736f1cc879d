"""The GPU configs as readable text: ``python -m export.configs`` writes ``export/configs/gpu``.

They are the output of ``python -m export.all --device gpu --formats onnx,torchscript`` for the shipped package,
without the stamps, which change with every training.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from img2poem.nn.model import load_package

from . import triton
from .build import model_configs
from .graphs import graph_models
from .served import served_models
from .settings import FORMATS, Settings

ROOT = Path(__file__).resolve().parent
FOLDER = ROOT / "configs" / "gpu"


def texts(weights: Path) -> dict[str, str]:
    """Return the text of each model's ``config.pbtxt`` by name."""
    model, tokenizer = load_package(weights)
    settings = Settings(device="gpu", formats=FORMATS)
    graphs = graph_models(model.config, tokenizer)
    configs = model_configs(served_models(model, tokenizer), graphs, model.config, settings, lambda name: {})
    return {name: triton.to_text(config) for name, config in configs.items()}


def main() -> None:
    """Rewrite the folder."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for name, text in texts(ROOT.parent / "weights" / "lite").items():
        (FOLDER / f"{name}.pbtxt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
