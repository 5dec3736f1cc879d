"""``config.pbtxt`` of every model, from Triton's own protobuf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from .served import FREE, INSTANCES, TensorSpec
from .settings import Device

#: A GPU takes as many as wait, up to the largest batch; on a CPU more than 8 together only keep each other waiting.
PREFERRED_BATCHES: dict[Device, tuple[int, ...]] = {"cpu": (4, 8), "gpu": (4, 8, 16, 32, 64, 128, 256)}
#: A request that waited this long is refused: its caller has most likely given up.
QUEUE_TIMEOUT_US = 10_000_000
MAX_QUEUE = 256
#: Requests of level 1, the usual one, go before those of level 2, which a client says are in the background.
PRIORITY_LEVELS = 2

ONNX_FILE, TORCHSCRIPT_FILE, PYTHON_FILE = "model.onnx", "model.pt", "model.py"
IMAGE = TensorSpec("image", np.object_, (1,))

_TYPES = {
    np.float32: pb.TYPE_FP32,
    np.int64: pb.TYPE_INT64,
    np.uint8: pb.TYPE_UINT8,
    np.bool_: pb.TYPE_BOOL,
    np.object_: pb.TYPE_STRING,
}


def onnx_config(
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    device: Device,
    stamps: dict[str, str],
    max_batch: int,
    typical: int = 1,
    batched: bool = True,
    instances: int = 1,
) -> pb.ModelConfig:
    """Return the config of a model on ONNX Runtime.

    Args:
        name: of the model.
        inputs: its tensors.
        outputs: its tensors.
        device: where it runs; strings and integer arithmetic are on the CPU only.
        stamps: for the parameters.
        max_batch: largest batch.
        typical: size of free axes at warmup.
        batched: whether requests may be put together; without, each runs alone and there is no warmup.
        instances: how many times it is loaded.
    """
    config = _config(name, inputs, outputs, stamps, max_batch)
    config.platform, config.backend, config.default_model_filename = "onnxruntime_onnx", "onnxruntime", ONNX_FILE
    _place(config, device, instances)
    if device == "gpu":
        # EXHAUSTIVE, the backend's default, costs seconds at each new shape.
        config.parameters["cudnn_conv_algo_search"].string_value = "1"
    if batched:
        _batching(config, device)
        _warmups(config, inputs, device, typical)
    return config


def torchscript_config(
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    device: Device,
    stamps: dict[str, str],
    max_batch: int,
    typical: int = 1,
    instances: int = 1,
) -> pb.ModelConfig:
    """Return the config of a model on Triton's PyTorch backend, which knows tensors by their place only."""
    inputs = [replace(spec, name=f"INPUT__{i}") for i, spec in enumerate(inputs)]
    outputs = [replace(spec, name=f"OUTPUT__{i}") for i, spec in enumerate(outputs)]
    config = _config(name, inputs, outputs, stamps, max_batch)
    config.platform, config.backend, config.default_model_filename = "pytorch_libtorch", "pytorch", TORCHSCRIPT_FILE
    _place(config, device, instances)
    # Profiling recompiles at every new shape for the first calls.
    config.parameters["ENABLE_JIT_PROFILING"].string_value = "false"
    config.parameters["INFERENCE_MODE"].string_value = "true"
    _batching(config, device)
    _warmups(config, inputs, device, typical)
    return config


def python_config(
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    stamps: dict[str, str],
    max_batch: int,
    optional: Sequence[TensorSpec] = (),
) -> pb.ModelConfig:
    """Return the config of a model on the Python backend; these always run on the CPU.

    ``optional`` are further inputs, which a request may leave out.
    """
    config = _config(name, [*inputs, *optional], outputs, stamps, max_batch)
    for tensor in config.input[len(inputs) :]:
        tensor.optional = True
    config.backend, config.default_model_filename = "python", PYTHON_FILE
    _place(config, "cpu", INSTANCES)
    _batching(config, "cpu")
    return config


def to_text(config: pb.ModelConfig) -> str:
    """Return ``config`` as the text of a ``config.pbtxt``."""
    return "# Written by python -m export.all; changes are lost at the next export.\n" + str(
        text_format.MessageToString(config)
    )


def stamp(config: pb.ModelConfig, stamps: dict[str, str]) -> None:
    """Write ``stamps`` into the parameters of ``config``."""
    for key, value in sorted(stamps.items()):
        config.parameters[key].string_value = value


def _config(
    name: str, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec], stamps: dict[str, str], max_batch: int
) -> pb.ModelConfig:
    config = pb.ModelConfig(name=name, max_batch_size=max_batch)
    config.version_policy.latest.num_versions = 1
    for spec in inputs:
        config.input.add(name=spec.name, data_type=_TYPES[spec.dtype], dims=spec.dims)
    for spec in outputs:
        config.output.add(name=spec.name, data_type=_TYPES[spec.dtype], dims=spec.dims)
    stamp(config, stamps)
    return config


def _batching(config: pb.ModelConfig, device: Device) -> None:
    preferred = [batch for batch in PREFERRED_BATCHES[device] if batch <= config.max_batch_size]
    config.dynamic_batching.preferred_batch_size.extend(preferred)
    config.dynamic_batching.priority_levels = PRIORITY_LEVELS
    config.dynamic_batching.default_priority_level = 1
    policy = config.dynamic_batching.default_queue_policy
    policy.timeout_action = pb.ModelQueuePolicy.REJECT
    policy.default_timeout_microseconds = QUEUE_TIMEOUT_US
    policy.allow_timeout_override = True
    policy.max_queue_size = MAX_QUEUE


def _place(config: pb.ModelConfig, device: Device, instances: int) -> None:
    kind = pb.ModelInstanceGroup.KIND_GPU if device == "gpu" else pb.ModelInstanceGroup.KIND_CPU
    config.instance_group.add(count=instances, kind=kind)


def _warmups(config: pb.ModelConfig, inputs: Sequence[TensorSpec], device: Device, typical: int) -> None:
    """Warm up one row and, on a GPU, each preferred batch."""
    for batch in (1, *(config.dynamic_batching.preferred_batch_size if device == "gpu" else ())):
        warmup = config.model_warmup.add(name=f"batch_{batch}", batch_size=batch)
        for spec in inputs:
            tensor = warmup.inputs[spec.name]
            tensor.data_type, tensor.zero_data = _TYPES[spec.dtype], True
            tensor.dims.extend(typical if size == FREE else size for size in spec.dims)
