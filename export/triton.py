"""``config.pbtxt`` of every model, from Triton's own protobuf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from .modules import TensorSpec

Device = Literal["cpu", "gpu"]

MAX_BATCH = 32
PREFERRED_BATCHES = (4, 8)
#: A request that waited this long is refused: its caller has most likely given up.
QUEUE_TIMEOUT_US = 10_000_000
MAX_QUEUE = 256

IMAGE = TensorSpec("image", np.object_, (1,))

_TYPES = {np.float32: pb.TYPE_FP32, np.int64: pb.TYPE_INT64, np.uint8: pb.TYPE_UINT8, np.object_: pb.TYPE_STRING}


def onnx_config(
    name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], device: Device, stamps: dict[str, str]
) -> pb.ModelConfig:
    """Return the config of a model on ONNX Runtime."""
    config = _config(name, inputs, outputs, stamps)
    config.platform, config.backend, config.default_model_filename = "onnxruntime_onnx", "onnxruntime", "model.onnx"
    # Strings exist on the CPU only, whatever the rest of the chain runs on.
    on_gpu = device == "gpu" and not any(spec.dtype is np.object_ for spec in (*inputs, *outputs))
    config.instance_group.add(
        count=1, kind=pb.ModelInstanceGroup.KIND_GPU if on_gpu else pb.ModelInstanceGroup.KIND_CPU
    )
    if on_gpu:
        # EXHAUSTIVE, the backend's default, costs seconds at each new shape.
        config.parameters["cudnn_conv_algo_search"].string_value = "1"
    _batching(config)
    for batch in (1, *(PREFERRED_BATCHES if device == "gpu" else ())):
        _warmup(config, inputs, batch)
    return config


def python_config(
    name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], stamps: dict[str, str]
) -> pb.ModelConfig:
    """Return the config of a model on the Python backend; these always run on the CPU."""
    config = _config(name, inputs, outputs, stamps)
    config.backend, config.default_model_filename = "python", "model.py"
    config.instance_group.add(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)
    _batching(config)
    return config


def ensemble_config(
    name: str, decoder: str, configs: dict[str, pb.ModelConfig], stamps: dict[str, str]
) -> pb.ModelConfig:
    """Return the ensemble photograph -> pixels -> embedding -> tokens -> text with the named decoder.

    The decoder's options are inputs of the ensemble, all required: an ensemble cannot have optional ones.

    Triton prunes steps by the outputs that a caller did not ask for, and does it wrongly in two cases: it
    drops a step whose mapped outputs are all such, even when another step reads them, and it may drop any
    step once it has dropped one that reads an input of the ensemble. So what one step hands to the next
    is never an output of the ensemble, and every output comes from the decoder or from behind it.
    """
    options = [tensor for tensor in configs[decoder].input if tensor.name != "embedding"]
    config = pb.ModelConfig(name=name, platform="ensemble", max_batch_size=MAX_BATCH)
    config.version_policy.latest.num_versions = 1
    config.input.add(name="image", data_type=pb.TYPE_STRING, dims=[1])
    config.input.extend(options)
    sources = {
        "text": ("poem_text", "text"),
        "tokens": ("poem_text", "poem_tokens"),
        "score": (decoder, "scores"),
        "length": (decoder, "lengths"),
        "embedding": (decoder, "condition"),
    }
    for output, (model, tensor_name) in sources.items():
        [tensor] = [t for t in configs[model].output if t.name == tensor_name]
        config.output.add(name=output, data_type=tensor.data_type, dims=tensor.dims)
    steps = config.ensemble_scheduling.step
    _step(steps, "decode_image", {"image": "image"}, {"pixels": "pixels"})
    _step(steps, "image_encoder", {"pixels": "pixels"}, {"embedding": "encoded"})
    given = {"embedding": "encoded", **{option.name: option.name for option in options}}
    made = {"tokens": "decoded", "scores": "score", "lengths": "length", "condition": "embedding"}
    _step(steps, decoder, given, made)
    _step(steps, "poem_text", {"tokens": "decoded"}, {"text": "text", "poem_tokens": "tokens"})
    _stamp(config, stamps)
    return config


def to_text(config: pb.ModelConfig) -> str:
    """Return ``config`` as the text of a ``config.pbtxt``."""
    return "# Written by python -m export.all; changes are lost at the next export.\n" + str(
        text_format.MessageToString(config)
    )


def _config(
    name: str, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec], stamps: dict[str, str]
) -> pb.ModelConfig:
    config = pb.ModelConfig(name=name, max_batch_size=MAX_BATCH)
    config.version_policy.latest.num_versions = 1
    for spec in inputs:
        config.input.add(name=spec.name, data_type=_TYPES[spec.dtype], dims=spec.dims)
    for spec in outputs:
        config.output.add(name=spec.name, data_type=_TYPES[spec.dtype], dims=spec.dims)
    _stamp(config, stamps)
    return config


def _batching(config: pb.ModelConfig) -> None:
    config.dynamic_batching.preferred_batch_size.extend(PREFERRED_BATCHES)
    policy = config.dynamic_batching.default_queue_policy
    policy.timeout_action = pb.ModelQueuePolicy.REJECT
    policy.default_timeout_microseconds = QUEUE_TIMEOUT_US
    policy.allow_timeout_override = True
    policy.max_queue_size = MAX_QUEUE


def _warmup(config: pb.ModelConfig, inputs: Iterable[TensorSpec], batch: int) -> None:
    warmup = config.model_warmup.add(name=f"batch_{batch}", batch_size=batch)
    for spec in inputs:
        tensor = warmup.inputs[spec.name]
        tensor.data_type, tensor.zero_data = _TYPES[spec.dtype], True
        tensor.dims.extend(spec.dims)


def _stamp(config: pb.ModelConfig, stamps: dict[str, str]) -> None:
    for key, value in sorted(stamps.items()):
        config.parameters[key].string_value = value


def _step(steps: object, model: str, inputs: dict[str, str], outputs: dict[str, str]) -> None:
    step = steps.add(model_name=model, model_version=-1)  # type: ignore[attr-defined]
    step.input_map.update(inputs)
    step.output_map.update(outputs)
