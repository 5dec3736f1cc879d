"""Conversion between the client's requests and tritonclient's arguments, results and errors."""

from __future__ import annotations

import struct
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ..artifacts.inspection import PREFIX
from ..errors import Cancelled, ConnectionFailed, Img2PoemError, Overloaded, ServerError
from ..requests import Answer, Call, Follow, Infer, ModelInfo
from ..system.proxies import proxy_of
from . import server_errors
from .address import Access
from .base import check_id


def headers(access: Access) -> dict[str, str]:
    """Return the headers with lower-case names, as gRPC requires."""
    return {name.lower(): value for name, value in access.headers.items()}


def arguments(request: Infer, call: Call, access: Access) -> dict[str, Any]:
    """Return the arguments of tritonclient's ``infer``."""
    from tritonclient.grpc import InferRequestedOutput

    return {
        "model_name": request.model,
        "inputs": [_input(name, value) for name, value in request.inputs.items()],
        "outputs": [InferRequestedOutput(name, class_count=request.class_count(name)) for name in request.outputs],
        "request_id": call.request_id,
        "priority": access.priority,
    }


def answer(result: Any, request: Infer, call: Call, name: str) -> Answer:
    """Convert a tritonclient result to an :class:`Answer`.

    Raises:
        ServerError: the result belongs to another request, or lacks an output or part of one.
    """
    response = result.get_response()
    check_id(response.id, call, name)
    try:
        tensors = {output: result.as_numpy(output) for output in request.outputs}
    except (ValueError, TypeError, IndexError, struct.error) as error:  # fewer bytes than the shape needs
        raise ServerError(f"{name} returned incomplete tensors") from error
    # A part of a stream may lack outputs.
    absent = [output for output, value in tensors.items() if value is None and not isinstance(request, Follow)]
    if absent:
        raise ServerError(f"{name} returned {request.model} without {', '.join(absent)}")
    return Answer(tensors, response.model_version)


def info(model: str, config: Any) -> ModelInfo:
    """Return the metadata in a ``ModelConfig`` message."""
    stamps = {
        key.removeprefix(PREFIX): str(value.string_value)
        for key, value in config.parameters.items()
        if key.startswith(PREFIX)
    }
    steps = tuple(step.model_name for step in config.ensemble_scheduling.step)
    return ModelInfo(model, stamps, steps, config.max_batch_size)


def translated(error: Any, call: Call, name: str) -> Img2PoemError:
    """Return the img2poem error for a tritonclient error."""
    status, message = str(error.status()), str(error.message())
    if "DEADLINE_EXCEEDED" in status:
        return call.deadline.missed()
    if "CANCELLED" in status:
        return Cancelled("the client was closed")
    if "RESOURCE_EXHAUSTED" in status:
        return Overloaded(f"{name} has too many requests waiting: {message}")
    found = server_errors.from_message(message, name)
    broken = "UNAVAILABLE" in status or "RST_STREAM" in message or "Socket closed" in message
    if type(found) is not ServerError:
        return found
    if broken:
        return ConnectionFailed(server_errors.unreachable(name, message, proxy_of(urlsplit(name))))
    if "UNAUTHENTICATED" in status or "PERMISSION_DENIED" in status:
        return server_errors.refused(name, message)
    return server_errors.stranger(name, message) if "UNIMPLEMENTED" in status else found


def _input(name: str, value: NDArray[Any]) -> Any:
    from tritonclient.grpc import InferInput
    from tritonclient.utils import np_to_triton_dtype

    tensor = InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
    tensor.set_data_from_numpy(np.ascontiguousarray(value))
    return tensor
