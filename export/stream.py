"""``img2poem_stream``: config of the model that sends each line as soon as it is written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from img2poem.decoding.registry import OPTIONS, SAMPLE_OPTIONS

from .served import FREE, INSTANCES, TensorSpec
from .triton import IMAGE, python_config

NAME = "img2poem_stream"
#: Model that writes a line.
DECODER = "poem_decoder_line"
#: Models that it calls.
CALLS = ("decode_image", "image_encoder", DECODER, "poem_text")
_OUTPUTS = (
    TensorSpec("line", np.object_, (1,)),
    TensorSpec("index", np.int64, (1,)),
    TensorSpec("tokens", np.int64, (FREE,)),
    TensorSpec("final", np.bool_, (1,)),
    TensorSpec("score", np.float32, (1,)),
    TensorSpec("finish_reason", np.object_, (1,)),
)


def stream_config(stamps: Mapping[str, str], decoder: pb.ModelConfig, streams: int) -> pb.ModelConfig:
    """Return the config: one photograph per request, all options optional, one response per line and a final one.

    Args:
        stamps: written to the parameters.
        decoder: the config of ``DECODER``.
        streams: concurrent streams over all processes; the inner models batch them.
    """
    names = (*SAMPLE_OPTIONS, "seed")
    options = [TensorSpec(name, OPTIONS[name].dtype, (OPTIONS[name].width,)) for name in names]
    # JSON cannot carry bytes.
    photographs = [IMAGE, TensorSpec("image_base64", np.object_, (1,))]
    config = python_config(NAME, [], _OUTPUTS, dict(stamps), 1, [*photographs, *options])
    config.model_transaction_policy.decoupled = True
    config.parameters["streams"].string_value = str(-(-streams // INSTANCES))
    [state_dim] = next(tensor.dims for tensor in decoder.input if tensor.name == "hidden")
    config.parameters["state_dim"].string_value = str(state_dim)
    return config
