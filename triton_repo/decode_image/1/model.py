"""Triton Python model: the encoded photograph to pixels, by the function that every engine uses.

As the first step of an ensemble it also receives the decoder's options and validates them.
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

from img2poem.decoding.registry import OPTIONS, check_tensors
from img2poem.errors import BadImage, InvalidOption
from img2poem.images.decode import decode


class TritonPythonModel:
    """``image`` BYTES [1] to ``pixels`` uint8 [size, size, 3]; a bad picture or option fails only its own request."""

    def initialize(self, args):
        [pixels] = json.loads(args["model_config"])["output"]
        self.size = int(pixels["dims"][0])
        self.family = pb_utils.MetricFamily(
            name="img2poem_bad_images_total",
            description="Photographs that could not be used",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self.bad = self.family.Metric(labels={"model": args["model_name"]})

    def finalize(self):
        # Delete the metric before its family: otherwise Triton's process crashes when the interpreter exits.
        del self.bad
        del self.family

    def execute(self, requests):
        return [self._respond(request) for request in requests]

    def _respond(self, request):
        images = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in OPTIONS}
        try:
            check_tensors({name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None})
            pixels = np.stack([decode(image, self.size) for image in images.reshape(-1)])
        except BadImage as error:
            self.bad.increment(1)
            return failure(error)
        except InvalidOption as error:
            return failure(error)
        return pb_utils.InferenceResponse([pb_utils.Tensor("pixels", pixels)])


def failure(error):
    """The response to a request that cannot be served."""
    fault = pb_utils.TritonError(f"{type(error).__name__}: {error}", pb_utils.TritonError.INVALID_ARG)
    return pb_utils.InferenceResponse(error=fault)
