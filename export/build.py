"""Fill an empty folder with the models of a repository, checking each as it is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from img2poem.nn.model import load_package
from img2poem.package import contract_hash

from . import onnx, parity, poem_text, triton
from .ensembles import ENSEMBLES, ensemble_config
from .served import MAX_BATCH, TensorSpec, served_models

_PYTHON_MODELS = Path(__file__).parent / "python_models"

Row = tuple[str, str, int, str]


def build(weights: Path, folder: Path, device: triton.Device, progress: Callable[[str], None]) -> Iterator[Row]:
    """Write every model; yields name, format, size in bytes and largest difference of each."""
    model, tokenizer = load_package(weights)
    contract, config = contract_hash(weights), model.config
    configs: dict[str, pb.ModelConfig] = {}

    def stamps(name: str) -> dict[str, str]:
        return onnx.stamps_of(config, tokenizer.pieces, contract, name)

    for served in served_models(model, tokenizer):
        progress(f"exporting {served.name}")
        path = folder / served.name / "1" / "model.onnx"
        onnx.write(onnx.export_module(served), path, stamps(served.name))
        progress(f"checking {served.name} against torch")
        checked = parity.check_model(served, path)
        tensors = (served.inputs, served.outputs)
        configs[served.name] = triton.onnx_config(
            served.name, *tensors, device, stamps(served.name), served.max_batch, served.typical
        )
        yield served.name, "onnx", path.stat().st_size, f"{checked.largest_difference:.1e}"

    steps, vocabulary = config.decoder.max_tokens, config.decoder.vocabulary_size
    path = folder / "poem_text" / "1" / "model.onnx"
    onnx.write(onnx.export_poem_text(tokenizer, config), path, stamps("poem_text"))
    parity.check_poem_text(path, tokenizer, vocabulary, steps)
    configs["poem_text"] = triton.onnx_config(
        "poem_text", *poem_text.signature(steps), device, stamps("poem_text"), MAX_BATCH
    )
    yield "poem_text", "onnx", path.stat().st_size, "equal"

    size = config.preprocessing.size
    pixels = TensorSpec("pixels", np.uint8, (size, size, 3))
    (folder / "decode_image" / "1").mkdir(parents=True)
    shutil.copyfile(_PYTHON_MODELS / "decode_image.py", folder / "decode_image" / "1" / "model.py")
    configs["decode_image"] = triton.python_config(
        "decode_image", [triton.IMAGE], [pixels], stamps("decode_image"), MAX_BATCH
    )
    yield "decode_image", "python", 0, ""

    for ensemble in ENSEMBLES:
        # Triton wants a version folder even where there is nothing to put into it.
        (folder / ensemble.name / "1").mkdir(parents=True)
        configs[ensemble.name] = ensemble_config(ensemble, configs, stamps(ensemble.name))
        yield ensemble.name, "ensemble", 0, ""
    for name, model_config in configs.items():
        (folder / name / "config.pbtxt").write_text(triton.to_text(model_config), encoding="utf-8")
