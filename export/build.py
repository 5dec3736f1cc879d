"""Fill an empty folder with the models of a repository, checking each as it is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx as onnx_format
from tritonclient.grpc import model_config_pb2 as pb

from img2poem.decoding import OPTIONS
from img2poem.errors import InvalidOption
from img2poem.nn.model import load_package
from img2poem.package import PackageConfig, contract_hash

from . import onnx, parity, quality, stream, torchscript, triton
from .ensembles import ENSEMBLES, ensemble_config
from .graphs import GraphModel, graph_models
from .precision import Converter
from .repository import sources
from .reuse import Earlier, Made, key_of
from .served import MAX_BATCH, ServedModel, TensorSpec, served_models
from .settings import Settings

#: What a lower precision was measured to cost.
QUALITY = "quality.json"
_PYTHON_MODELS = Path(__file__).parent / "python_models"

Stamps = Callable[[str], dict[str, str]]


class Row(NamedTuple):
    """A line of the closing table, and what the manifest keeps of a file that was checked."""

    model: str
    format: str
    size: int = 0
    made: Made | None = None
    kept: bool = False


def build(
    weights: Path, folder: Path, settings: Settings, earlier: Earlier, progress: Callable[[str, int], None]
) -> Iterator[Row]:
    """Write every model that ``settings`` ask for, or keep the earlier one; yields a row for each.

    Args:
        weights: the model package.
        folder: an empty one.
        settings: what to write.
        earlier: the repository that this one replaces.
        progress: is told what is going on, and how many rows there will be.

    Raises:
        ParityError: an exported file differs from torch.
        InvalidOption: a model is asked for that there is none of.
    """
    model, tokenizer = load_package(weights)
    contract = contract_hash(weights)
    if settings.forbidden_words is not None:
        decoder = replace(model.config.decoder, forbidden_words=[*settings.forbidden_words])
        model.config, model.poem_decoder.config = replace(model.config, decoder=decoder), decoder

    def stamps(name: str) -> dict[str, str]:
        return onnx.stamps_of(model.config, tokenizer.pieces, contract, name, settings.precision)

    served = [replace(s, max_batch=min(s.max_batch, settings.max_batch)) for s in served_models(model, tokenizer)]
    graphs = {graph.name: graph for graph in graph_models(model.config, tokenizer)}
    configs = model_configs(served, [*graphs.values()], model.config, settings, stamps)
    converter = Converter(settings, model.config.preprocessing.size)
    writer = _Writer(folder, settings, earlier, stamps, converter)
    for one in served:
        for name, write in ((one.name, writer.onnx), (one.name + torchscript.SUFFIX, writer.torchscript)):
            if name in configs:
                progress(name, len(configs))
                yield write(one, name)
    if settings.precision != "fp32" and configs.keys() >= quality.MODELS:
        progress("quality", len(configs))
        measures = quality.check(folder, model, tokenizer, settings.precision, converter.held_out, settings.data)
        (folder / QUALITY).write_text(json.dumps(measures, indent=2) + "\n", encoding="utf-8")
    for name, config in configs.items():
        if name in graphs:
            yield _write_graph(graphs[name], folder, settings.opset, stamps(name))
        elif config.backend == "python":
            (folder / name / "1").mkdir(parents=True)
            shutil.copyfile(_PYTHON_MODELS / f"{name}.py", folder / name / "1" / triton.PYTHON_FILE)
            yield Row(name, "python")
        elif config.platform == "ensemble":
            # Triton wants a version folder even where there is nothing to put into it.
            (folder / name / "1").mkdir(parents=True)
            yield Row(name, "ensemble")
        (folder / name / "config.pbtxt").write_text(triton.to_text(config), encoding="utf-8")


def model_configs(
    served: list[ServedModel], graphs: list[GraphModel], package: PackageConfig, settings: Settings, stamps: Stamps
) -> dict[str, pb.ModelConfig]:
    """Return the config of every model that ``settings`` ask for, by name.

    Raises:
        InvalidOption: a model is asked for that there is none of.
    """
    device = settings.device
    configs: dict[str, pb.ModelConfig] = {}
    for one in served:
        tensors, limits = (one.inputs, one.outputs), (one.max_batch, one.typical)
        if "onnx" in settings.formats:
            configs[one.name] = triton.onnx_config(
                one.name, *tensors, device, stamps(one.name), *limits, instances=one.instances
            )
        if "torchscript" in settings.formats and one.name in torchscript.MODELS:
            name = one.name + torchscript.SUFFIX
            configs[name] = triton.torchscript_config(
                name, *tensors, device, stamps(name), *limits, instances=one.instances
            )
    if "onnx" in settings.formats:
        for graph in graphs:
            tensors, largest = (graph.inputs, graph.outputs), min(graph.max_batch, settings.max_batch)
            configs[graph.name] = triton.onnx_config(
                graph.name,
                *tensors,
                "cpu",
                stamps(graph.name),
                largest,
                batched=graph.batched,
                instances=graph.instances,
            )
        largest, size = min(MAX_BATCH, settings.max_batch), package.preprocessing.size
        pixels = TensorSpec("pixels", np.uint8, (size, size, 3))
        # It looks at the options too: one that is out of range fails its own request, and not a batch of the decoder.
        options = [TensorSpec(name, option.dtype, (option.width,)) for name, option in OPTIONS.items()]
        configs["decode_image"] = triton.python_config(
            "decode_image", [triton.IMAGE], [pixels], stamps("decode_image"), largest, options
        )
        for ensemble in ENSEMBLES:
            configs[ensemble.name] = ensemble_config(ensemble, configs, stamps(ensemble.name))
        configs[stream.NAME] = stream.stream_config(stamps(stream.NAME))
    return _chosen(configs, settings.models)


def _chosen(configs: dict[str, pb.ModelConfig], models: tuple[str, ...]) -> dict[str, pb.ModelConfig]:
    if unknown := set(models) - configs.keys():
        raise InvalidOption(f"there is no model {', '.join(sorted(unknown))}; there are {', '.join(configs)}")
    wanted = {*(models or configs)}
    for name in [*wanted]:
        wanted |= {step.model_name for step in configs[name].ensemble_scheduling.step}
        wanted |= {*stream.CALLS} if name == stream.NAME else set()
    return {name: config for name, config in configs.items() if name in wanted}


class _Writer:
    """Writes one model, or keeps the earlier file under new stamps."""

    def __init__(
        self, folder: Path, settings: Settings, earlier: Earlier, stamps: Stamps, converter: Converter
    ) -> None:
        self._folder, self._settings, self._earlier, self._stamps = folder, settings, earlier, stamps
        self._converter = converter
        options = {"precision": settings.precision, "data": str(settings.data)}
        self._made_from: Mapping[str, Any] = {**sources(), **options}

    def onnx(self, served: ServedModel, name: str) -> Row:
        path, opset = self._folder / name / "1" / triton.ONNX_FILE, self._settings.opset
        key = key_of(served, {**self._made_from, "format": "onnx", "opset": opset})
        if found := self._earlier.find(name, key, triton.ONNX_FILE):
            source, made = found
            onnx.write(onnx_format.load(source), path, self._stamps(name))
            return Row(name, "onnx", path.stat().st_size, made, kept=True)
        exported = self._converter.convert(name, onnx.export_module(served, opset))
        onnx.write(exported, path, self._stamps(name))
        tried = replace(served, sample=self._converter.sample(served.sample))
        checked = parity.check_model(tried, path, opset, self._settings.precision)
        return Row(name, "onnx", path.stat().st_size, Made(key, "onnx", opset, **asdict(checked)))

    def torchscript(self, served: ServedModel, name: str) -> Row:
        path = self._folder / name / "1" / triton.TORCHSCRIPT_FILE
        key = key_of(served, {**self._made_from, "format": "torchscript"})
        if found := self._earlier.find(name, key, triton.TORCHSCRIPT_FILE):
            source, made = found
            torchscript.restamp(source, path, self._stamps(name))
            return Row(name, "torchscript", path.stat().st_size, made, kept=True)
        torchscript.write(served, path, self._stamps(name))
        checked = parity.check_torchscript(served, path)
        return Row(name, "torchscript", path.stat().st_size, Made(key, "torchscript", 0, **asdict(checked)))


def _write_graph(graph: GraphModel, folder: Path, opset: int, stamps: dict[str, str]) -> Row:
    path = folder / graph.name / "1" / triton.ONNX_FILE
    onnx.write(graph.build(opset), path, stamps)
    made = Made("", "onnx", opset, **asdict(graph.check(path)))
    return Row(graph.name, "onnx", path.stat().st_size, made)
