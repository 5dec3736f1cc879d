"""Write the models of a repository into an empty folder and check each of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from img2poem.artifacts.package import Package, PackageConfig
from img2poem.decoding.registry import OPTIONS
from img2poem.errors import InvalidOption

from . import onnx, quality, stream, torchscript, triton, warmup
from .ensembles import DECODERS, ENSEMBLES, ensemble_config
from .graphs import GraphModel, graph_models
from .repository import TRACKED
from .reuse import Earlier, Made
from .served import MAX_BATCH, ServedModel, TensorSpec
from .settings import Settings
from .writing import Row, Writer, written

#: File with the measured loss of quality of a lower precision.
QUALITY = "quality.json"
README = "README.md"

Stamps = Callable[[str], dict[str, str]]


def build(
    package: Package,
    folder: Path,
    settings: Settings,
    earlier: Earlier,
    progress: Callable[[str, int], None],
    processes: int = 1,
) -> Iterator[Row]:
    """Write every model that ``settings`` select, or keep the earlier file; yield a row for each.

    Args:
        package: the model package.
        folder: an empty folder.
        settings: options of the export.
        earlier: the repository that this one replaces.
        progress: called with the name of the current model and the number of rows to come.
        processes: models written in parallel.

    Raises:
        ParityError: an exported file differs from torch.
        PlacementError: a GPU file has operators without a CUDA kernel.
        InvalidOption: ``settings`` name a model that does not exist.
    """
    writer = Writer(package, folder, settings)
    model, tokenizer = writer.model, writer.tokenizer
    graphs = {graph.name: graph for graph in graph_models(model.config, tokenizer)}
    configs = model_configs([*writer.served.values()], [*graphs.values()], model.config, settings, writer.stamps)
    progress("tracing and comparing", len(configs))
    jobs = {job: writer.keep(job, earlier) for job in writer.jobs([*configs])}
    yield from (row for row in jobs.values() if row)
    for row in written(writer, [job for job, kept in jobs.items() if not kept], processes):
        progress(row.model, len(configs))
        yield row
    if settings.precision != "fp32" and configs.keys() >= quality.MODELS:
        progress("quality", len(configs))
        measures = quality.check(folder, model, tokenizer, settings.precision, writer.converter.held_out, settings.data)
        (folder / QUALITY).write_text(json.dumps(measures, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(TRACKED / README, folder / README)
    for name, config in configs.items():
        if name in graphs:
            yield _write_graph(graphs[name], folder, settings.cpu_opset, writer.stamps(name))
        elif config.backend == "python":
            (folder / name / "1").mkdir(parents=True)
            shutil.copyfile(TRACKED / name / "1" / triton.PYTHON_FILE, folder / name / "1" / triton.PYTHON_FILE)
            yield Row(name, "python")
        elif config.platform == "ensemble":
            yield Row(name, "ensemble")
        for path, text in texts(config, writer.served.values()).items():
            write_text(folder / name / path, text)
        warmup.write(folder / name, config)


def texts(config: pb.ModelConfig, served: Iterable[ServedModel]) -> dict[str, str]:
    """Return the text files of a model by path: its config, its label files, and what keeps an ensemble's folder."""
    found = {"config.pbtxt": triton.to_text(config)}
    classes = {one.name: [spec.classes for spec in one.outputs] for one in served}
    for tensor, names in zip(config.output, classes.get(config.name, ()), strict=False):
        if tensor.label_filename:
            found[tensor.label_filename] = "".join(f"{name}\n" for name in names)
    if config.platform == "ensemble":
        # Triton requires a version folder even if it is empty, and git keeps no empty folder.
        found["1/.gitkeep"] = ""
    return found


def write_text(path: Path, text: str) -> None:
    """Write a text file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def model_configs(
    served: list[ServedModel], graphs: list[GraphModel], package: PackageConfig, settings: Settings, stamps: Stamps
) -> dict[str, pb.ModelConfig]:
    """Return the config of every model that ``settings`` select, by name.

    Raises:
        InvalidOption: ``settings`` name a model that does not exist.
    """
    device = settings.device
    configs: dict[str, pb.ModelConfig] = {}
    for one in served:
        tensors, load = (one.inputs, one.outputs), _load(one, settings)
        if "onnx" in settings.formats:
            configs[one.name] = triton.onnx_config(one.name, *tensors, device, stamps(one.name), load)
        if "torchscript" in settings.formats and one.name in torchscript.MODELS:
            name = one.name + torchscript.SUFFIX
            configs[name] = triton.torchscript_config(name, *tensors, device, stamps(name), load)
    if "onnx" in settings.formats:
        for graph in graphs:
            largest, instances = settings.largest_batch(graph.max_batch), settings.instances_of(graph.instances)
            load = triton.Load(largest, instances, batched=graph.batched)
            tensors = (graph.inputs, graph.outputs)
            configs[graph.name] = triton.onnx_config(graph.name, *tensors, "cpu", stamps(graph.name), load)
        largest, size = settings.largest_batch(MAX_BATCH), package.preprocessing.size
        pixels = TensorSpec("pixels", np.uint8, (size, size, 3))
        # It validates the options too: an option out of range fails its own request, not a batch of the decoder.
        options = [TensorSpec(name, option.dtype, (option.width,)) for name, option in OPTIONS.items()]
        configs["decode_image"] = triton.python_config(
            "decode_image",
            [triton.IMAGE],
            [pixels],
            stamps("decode_image"),
            largest,
            options,
            settings.photo_processes,
        )
        for ensemble in ENSEMBLES:
            configs[ensemble.name] = ensemble_config(ensemble, configs, stamps(ensemble.name))
        configs[stream.NAME] = stream.stream_config(stamps(stream.NAME), configs[stream.DECODER], settings.streams)
    return _chosen(configs, settings)


def _load(one: ServedModel, settings: Settings) -> triton.Load:
    """Return how Triton loads a model."""
    part_of_poems = {*chain.from_iterable(ensemble.models for ensemble in ENSEMBLES), *stream.CALLS}
    return triton.Load(
        one.max_batch,
        settings.instances_of(one.instances),
        one.typical,
        awaited=one.name in {*DECODERS, stream.DECODER},
        rare=one.name not in part_of_poems,
        gpu_memory=settings.gpu_memory,
    )


def _chosen(configs: dict[str, pb.ModelConfig], settings: Settings) -> dict[str, pb.ModelConfig]:
    if unknown := set(settings.models) - configs.keys():
        raise InvalidOption(f"there is no model {', '.join(sorted(unknown))}; there are {', '.join(configs)}")
    whole = {ensemble.name for ensemble in ENSEMBLES} | {stream.NAME}
    wanted = {*(settings.models or (whole & configs.keys() if settings.profile == "serving" else configs))}
    for name in [*wanted]:
        wanted |= {step.model_name for step in configs[name].ensemble_scheduling.step}
        wanted |= {*stream.CALLS} if name == stream.NAME else set()
    return {name: config for name, config in configs.items() if name in wanted}


def _write_graph(graph: GraphModel, folder: Path, opset: int, stamps: dict[str, str]) -> Row:
    path = folder / graph.name / "1" / triton.ONNX_FILE
    onnx.write(graph.build(opset), path, stamps)
    made = Made("", "onnx", opset, **asdict(graph.check(path)))
    return Row(graph.name, "onnx", path.stat().st_size, made)
