"""Triton's ``onnxruntime`` backend for the PyPI wheel, which does not contain the native one.

It is a Python-based backend: Triton starts it for every model whose config says ``backend: "onnxruntime"``. The NGC
image serves the same repository, unmodified, with the native backend.
"""

import json
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

from img2poem.system.cores import allowed

_CONTRACT = "img2poem.contract"
_PRECISION = "img2poem.precision"


class TritonPythonModel:
    """Runs ``<version>/model.onnx`` on batches that Triton's dynamic batcher formed."""

    def initialize(self, args):
        """Create the session, and check the stamp of the model file."""
        config = json.loads(args["model_config"])
        filename = config.get("default_model_filename") or "model.onnx"
        path = os.path.join(args["model_repository"], args["model_version"], filename)
        options = _options(config)
        gpu = args["model_instance_kind"] == "GPU"
        cuda = ("CUDAExecutionProvider", {"device_id": args["model_instance_device_id"]})
        providers = [cuda, "CPUExecutionProvider"] if gpu else ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(path, options, providers=providers)
        _check_stamp(config, self.session)
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests):
        """Run the requests as one batch; if that fails, run each alone."""
        feeds = [self._feed(request) for request in requests]
        try:
            return self._run(feeds)
        except Exception:
            # One bad request must not fail the others in its batch.
            return [self._alone(feed) for feed in feeds]

    def _feed(self, request):
        return {name: _from_triton(pb_utils.get_input_tensor_by_name(request, name).as_numpy()) for name in self.inputs}

    def _run(self, feeds):
        batch = {name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs}
        results = [_to_triton(result) for result in self.session.run(self.outputs, batch)]
        sizes = [len(feed[self.inputs[0]]) for feed in feeds]
        ends = np.cumsum(sizes)
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(name, result[end - size : end])
                    for name, result in zip(self.outputs, results, strict=True)
                ]
            )
            for size, end in zip(sizes, ends, strict=True)
        ]

    def _alone(self, feed):
        try:
            return self._run([feed])[0]
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnxruntime: {error}"))


def _options(config):
    """Return session options that limit the spinning of idle threads to 20 us.

    Each model runs in its own process, and spinning threads take cores from the other processes. Spinning for about
    as long as a small operator takes is worth it: a poem for a single caller takes 0.8 to 0.9 of the time, and sixteen
    callers lose nothing.
    """
    options = onnxruntime.SessionOptions()
    # spin_duration_us exists since ONNX Runtime 1.26; earlier releases would spin for milliseconds.
    measured = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) >= (1, 26)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if measured else "0")
    options.add_session_config_entry("session.intra_op.spin_duration_us", "20")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.intra_op_num_threads = _threads(config)
    return options


def _threads(config):
    """Return the number of threads of an instance; 0 means one per core of the host.

    In int8, each instance gets its share of the cores: more threads speed up no single call, and cost many concurrent
    callers a fifth of the throughput. In float32, where more threads do speed up a call, each gets all cores.
    """
    if config.get("parameters", {}).get(_PRECISION, {}).get("string_value") != "int8":
        return 0 if allowed() == os.cpu_count() else allowed()
    instances = sum(group["count"] for group in config["instance_group"])
    return max(1, allowed() // instances)


def _check_stamp(config, session):
    """Reject a model file that is not from the package of its config; Triton then keeps serving the loaded version.

    Raises:
        TritonModelException: the stamps differ.
    """
    wanted = config.get("parameters", {}).get(_CONTRACT, {}).get("string_value")
    stamped = session.get_modelmeta().custom_metadata_map.get(_CONTRACT)
    if wanted != stamped:
        raise pb_utils.TritonModelException(
            f"ContractMismatch: the file of {config['name']} was exported from package {stamped}, "
            f"its config.pbtxt from {wanted}; export the repository anew"
        )


def _from_triton(array):
    """Convert Triton's strings, which are bytes, to str for ONNX Runtime; leave other arrays as they are."""
    if array.dtype != np.object_:
        return array
    return np.array([item.decode() for item in array.reshape(-1)], np.object_).reshape(array.shape)


def _to_triton(array):
    if array.dtype != np.object_:
        return array
    return np.array([item.encode() for item in array.reshape(-1)], np.object_).reshape(array.shape)
