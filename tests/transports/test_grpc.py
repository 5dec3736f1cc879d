"""Parsing of a server's gRPC responses."""

from __future__ import annotations

import numpy as np
import pytest
from tritonclient.grpc import InferResult, service_pb2

from img2poem.errors import ServerError
from img2poem.requests import Call, Deadline, Infer
from img2poem.transports.grpc_messages import answer

ASKED = Infer("decoder_init", {}, ("hidden", "state"))


def answered(call: Call, *names: str, values: int = 3) -> InferResult:
    response = service_pb2.ModelInferResponse(id=call.request_id, model_version="1")
    for name in names:
        response.outputs.add(name=name, datatype="FP32", shape=[1, 3])
        response.raw_output_contents.append(np.zeros(values, np.float32).tobytes())
    return InferResult(response)


def test_an_answer_has_every_output_that_was_asked_for() -> None:
    call = Call(Deadline(1))
    assert {*answer(answered(call, "state", "hidden"), ASKED, call, "it").tensors} == {"hidden", "state"}
    with pytest.raises(ServerError, match="it returned decoder_init without state"):
        answer(answered(call, "hidden"), ASKED, call, "it")


def test_tensors_that_do_not_fill_their_shape_are_refused() -> None:
    call = Call(Deadline(1))
    with pytest.raises(ServerError, match="incomplete tensors"):
        answer(answered(call, "hidden", "state", values=2), ASKED, call, "it")
