"""``config.pbtxt`` of every model, built from Triton's own protobuf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from img2poem.artifacts.labels import label_file

from . import warmup
from .repository import HEADER
from .served import FREE, INSTANCES, TensorSpec
from .settings import Device

#: A request that waits this long is refused: its caller has most likely given up.
QUEUE_TIMEOUT_US = 10_000_000
MAX_QUEUE = 256
#: Requests of level 1, the default, are served before those of level 2, which clients use for background work.
PRIORITY_LEVELS = 2

#: The only GPU that models are loaded on: the first that the server sees. Without it Triton loads every model on every
#: GPU.
_GPU = 0

ONNX_FILE, TORCHSCRIPT_FILE, PYTHON_FILE = "model.onnx", "model.pt", "model.py"
IMAGE = TensorSpec("image", np.object_, (1,))

_TYPES = {
    np.float32: pb.TYPE_FP32,
    np.int64: pb.TYPE_INT64,
    np.uint8: pb.TYPE_UINT8,
    np.bool_: pb.TYPE_BOOL,
    np.object_: pb.TYPE_STRING,
}


@dataclass(frozen=True)
class Load:
    """How Triton loads a model that runs on ONNX Runtime or libtorch."""

    max_batch: int
    instances: int = 1
    """Number of instances."""
    typical: int = 1
    """Size of free axes during warmup."""
    batched: bool = True
    """Whether requests may be batched; if not, each runs alone and there is no warmup."""
    awaited: bool = False
    """Whether this model is a bottleneck where requests queue, like a decoder: its queue has limits and priorities."""
    rare: bool = False
    """Whether it is seldom called: it then releases its GPU memory after each call, which costs time."""
    gpu_memory: int = 0
    """MiB of GPU memory that one instance may use; 0: no limit."""


def onnx_config(
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    device: Device,
    stamps: dict[str, str],
    load: Load,
) -> pb.ModelConfig:
    """Return the config of a model on ONNX Runtime.

    Args:
        name: name of the model.
        inputs: its input tensors.
        outputs: its output tensors.
        device: device that it runs on; strings and integer arithmetic run on the CPU only.
        stamps: written to the parameters.
        load: how Triton loads it.
    """
    config = _config(name, inputs, outputs, stamps, load.max_batch)
    config.platform, config.backend, config.default_model_filename = "onnxruntime_onnx", "onnxruntime", ONNX_FILE
    _place(config, device, load.instances)
    # Each instance is a session. By default each session has threads for all cores of the host (onnxruntime_backend,
    # README.md), which spin against those of the others: on two cores, the native backend then took 1.2 to 3.4 times
    # as long. On a GPU these threads have no work. On a machine with more cores, `deploy/start.sh` sets one thread
    # pool for all sessions, which overrides this; the Python-based backend of `img2poem serve` has its own rule.
    config.parameters["intra_op_thread_count"].string_value = "1"
    if device == "gpu":
        _on_cuda(config, load)
    if load.batched:
        _batching(config, load.awaited)
        _warmups(config, inputs, device, load.typical)
    return config


def torchscript_config(
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    device: Device,
    stamps: dict[str, str],
    load: Load,
) -> pb.ModelConfig:
    """Return the config of a model on Triton's PyTorch backend, which identifies tensors by position only."""
    inputs = [replace(spec, name=f"INPUT__{i}") for i, spec in enumerate(inputs)]
    outputs = [replace(spec, name=f"OUTPUT__{i}") for i, spec in enumerate(outputs)]
    config = _config(name, inputs, outputs, stamps, load.max_batch)
    config.platform, config.backend, config.default_model_filename = "pytorch_libtorch", "pytorch", TORCHSCRIPT_FILE
    _place(config, device, load.instances)
    # With profiling, the first calls recompile at every new shape.
    config.parameters["ENABLE_JIT_PROFILING"].string_value = "false"
    config.parameters["INFERENCE_MODE"].string_value = "true"
    # The instances on a device share one copy of the weights, which are never modified.
    config.parameters["ENABLE_WEIGHT_SHARING"].string_value = "true"
    _batching(config, load.awaited)
    _warmups(config, inputs, device, load.typical)
    return config


def python_config(
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    stamps: dict[str, str],
    max_batch: int,
    optional: Sequence[TensorSpec] = (),
    instances: int = INSTANCES,
) -> pb.ModelConfig:
    """Return the config of a model on the Python backend, which always runs on the CPU.

    ``optional`` are inputs that a request may omit. Every instance is a process.
    """
    config = _config(name, [*inputs, *optional], outputs, stamps, max_batch)
    for tensor in config.input[len(inputs) :]:
        tensor.optional = True
    config.backend, config.default_model_filename = "python", PYTHON_FILE
    _place(config, "cpu", instances)
    _batching(config, True)
    return config


def to_text(config: pb.ModelConfig) -> str:
    """Return ``config`` as the text of a ``config.pbtxt``."""
    return HEADER + str(text_format.MessageToString(config))


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
        labels = label_file(spec.name) if spec.classes else ""
        config.output.add(name=spec.name, data_type=_TYPES[spec.dtype], dims=spec.dims, label_filename=labels)
    stamp(config, stamps)
    return config


def _batching(config: pb.ModelConfig, awaited: bool) -> None:
    """Batch waiting requests, up to the largest batch.

    No preferred sizes: Triton would split 31 waiting requests into 16 + 8 + 4 + 3 (core, ``GetDynamicBatch``). No
    queue delay: no request is held back to fill a batch.

    The queue of an ``awaited`` model has limits and priorities if there are two instances or more. Either of them
    disables batches made ahead of time (core ``scheduler_utils.cc``, ``support_prefetching_``). The batcher may then
    miss that an instance has become free: it waits on a mutex of its own (``dynamic_batch_scheduler.cc``,
    ``WaitForPayloadSlotAvailable``), is notified when a call ends, and may check before the instance has registered
    as waiting (``rate_limiter.cc``, ``DequeuePayload``). It checks again 500 ms later, or when another instance ends a
    call; with a single instance there is no other.
    """
    config.dynamic_batching.SetInParent()
    if not awaited or sum(group.count for group in config.instance_group) < 2:
        return
    config.dynamic_batching.priority_levels = PRIORITY_LEVELS
    config.dynamic_batching.default_priority_level = 1
    policy = config.dynamic_batching.default_queue_policy
    policy.timeout_action = pb.ModelQueuePolicy.REJECT
    policy.default_timeout_microseconds = QUEUE_TIMEOUT_US
    policy.allow_timeout_override = True
    policy.max_queue_size = MAX_QUEUE


def _place(config: pb.ModelConfig, device: Device, instances: int) -> None:
    if device == "gpu":
        config.instance_group.add(count=instances, kind=pb.ModelInstanceGroup.KIND_GPU, gpus=[_GPU])
    else:
        config.instance_group.add(count=instances, kind=pb.ModelInstanceGroup.KIND_CPU)


def _on_cuda(config: pb.ModelConfig, load: Load) -> None:
    """Set the CUDA provider's options.

    The backend overwrites four of the accelerator's options by those of ``parameters``, or by its own defaults:
    ``cudnn_conv_algo_search``, ``gpu_mem_limit``, ``arena_extend_strategy`` and ``do_copy_in_default_stream``
    (onnxruntime_backend ``onnxruntime.cc``, ``LoadModel``). So they are set in ``parameters``.
    The last one stays at its default of 1: a CUDA ``Loop`` refuses 0 (onnxruntime ``cuda/controlflow/loop.cc``).
    """
    parameters = {
        # HEURISTIC; EXHAUSTIVE, the backend's default, costs seconds at each new shape.
        "cudnn_conv_algo_search": "1",
        # Allocate exactly what is requested; the default doubles the memory each time it is too small.
        "arena_extend_strategy": "1",
        **({"gpu_mem_limit": str(load.gpu_memory * 2**20)} if load.gpu_memory else {}),
        **({"memory.enable_memory_arena_shrinkage": f"gpu:{_GPU}"} if load.rare else {}),
    }
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    # TF32, a GPU's default for float32, gives other poems than other machines.
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")
    accelerator.parameters["use_tf32"] = "0"


def _warmups(config: pb.ModelConfig, inputs: Sequence[TensorSpec], device: Device, typical: int) -> None:
    """Warm up with one row and, on a GPU, with more; see :mod:`export.warmup`."""
    for batch in warmup.batches(inputs, config.max_batch_size) if device == "gpu" else (1,):
        warm = config.model_warmup.add(name=f"batch_{batch}", batch_size=batch)
        for spec in inputs:
            tensor = warm.inputs[spec.name]
            tensor.data_type = _TYPES[spec.dtype]
            if spec.name in warmup.VALUES:
                tensor.input_data_file = spec.name
            else:
                tensor.zero_data = True
            tensor.dims.extend(typical if size == FREE else size for size in spec.dims)
