"""Triton Python model: the encoded photograph to pixels, by the function that every engine uses."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

from img2poem.errors import BadImage
from img2poem.images import decode


class TritonPythonModel:
    """``image`` BYTES [1] to ``pixels`` uint8 [size, size, 3]; a bad picture fails its own request only."""

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
        # The metric before its family: at the interpreter's own end Triton's process would crash.
        del self.bad
        del self.family

    def execute(self, requests):
        return [self._respond(request) for request in requests]

    def _respond(self, request):
        images = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        try:
            pixels = np.stack([decode(image, self.size) for image in images.reshape(-1)])
        except BadImage as error:
            self.bad.increment(1)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"BadImage: {error}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor("pixels", pixels)])
