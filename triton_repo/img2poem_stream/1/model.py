"""Triton Python model: a photograph to a poem, each line sent as soon as it is written.

Decoupled; it calls the other models of the same server (business logic scripting), ``poem_decoder_line`` once per
line, batched with other streams. docs/serving.md describes its inputs and outputs.
"""

import base64
import binascii
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import triton_python_backend_utils as pb_utils

from img2poem.decoding.noise import drawn
from img2poem.decoding.registry import check_tensors
from img2poem.decoding.strategies import MAX_TOKENS, Sampling
from img2poem.errors import BadImage, Img2PoemError, InvalidOption
from img2poem.images.decode import decode
from img2poem.text.vocabulary import EOS

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
DEFAULTS = Sampling().tensors()
REASONS = ("end", "length", "cancelled", "failed")
COUNTERS = {
    "img2poem_poems_total": f"Poems, by why they stopped: {', '.join(REASONS)}",
    "img2poem_lines_total": "Lines that were sent",
    "img2poem_tokens_total": "Tokens of these lines",
}


class Cancelled(Exception):
    """The caller has disconnected."""


class TritonPythonModel:
    """Serves ``streams`` requests concurrently, each in its own thread; others wait in Triton's queue."""

    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        streams = int(parameters["streams"]["string_value"])
        self.size = int(json.loads(parameters["img2poem.preprocessing"]["string_value"])["size"])
        self.state_dim = int(parameters["state_dim"]["string_value"])
        self.free, self.threads = threading.Semaphore(streams), ThreadPoolExecutor(streams)
        self.count = Counters(args["model_name"])

    def execute(self, requests):
        for request in requests:
            self.free.acquire()
            inputs = {tensor.name(): np.array(tensor.as_numpy()) for tensor in request.inputs()}
            self.threads.submit(self._answer, inputs, request.request_id(), request.get_response_sender())

    def finalize(self):
        self.threads.shutdown()
        self.count.close()

    def _answer(self, inputs, request_id, sender):
        reason, poem = "failed", Poem(inputs, Models(request_id), sender, self.size, self.state_dim)
        try:
            reason = poem.stream()
        except Cancelled:
            reason = "cancelled"
            sender.send(failure("cancelled", pb_utils.TritonError.CANCELLED), FINAL)
        except Img2PoemError as error:
            sender.send(failure(f"{type(error).__name__}: {error}", pb_utils.TritonError.INVALID_ARG), FINAL)
        except Exception as error:  # whatever it is: without a response the caller waits forever
            sender.send(failure(str(error), pb_utils.TritonError.INTERNAL), FINAL)
        finally:
            self.count.add(reason, poem.lines, poem.tokens)
            self.free.release()


class Poem:
    """The poem of one request."""

    def __init__(self, inputs, models, sender, size, state_dim):
        self.inputs, self.models, self.sender = inputs, models, sender
        self.size, self.state_dim = size, state_dim
        self.lines = self.tokens = 0

    def stream(self):
        """Send the lines and the final response; return why the poem ended."""
        options = decoder_options(self.inputs)
        call = self.models.call
        [embedding] = call("image_encoder", ["embedding"], pixels=self._pixels(photograph(self.inputs)))
        tokens, score = np.zeros((1, MAX_TOKENS), np.int64), np.zeros((1, 1), np.float32)
        hidden = np.zeros((1, self.state_dim), np.float32)
        while not self._ended(tokens):
            if self.sender.is_cancelled():
                raise Cancelled
            outputs = ["next_tokens", "next_hidden", "next_score"]
            prefix = {"tokens": tokens, "hidden": hidden, "score": score}
            tokens, hidden, score = call("poem_decoder_line", outputs, embedding=embedding, **prefix, **options)
            self._send_line(tokens)
        reason = "length" if self.tokens >= options["max_tokens"][0, 0] else "end"
        more = [pb_utils.Tensor("score", score / np.float32(self.tokens)), text_tensor("finish_reason", reason)]
        closing = response("", self.lines, tokens[:, : self.tokens], final=True, more=more)
        self.sender.send(closing, FINAL)
        return reason

    def _pixels(self, image):
        """Decode here, which saves a call before the first line; pass a bad photograph to the model that counts it."""
        try:
            return decode(image[0, 0], self.size)[None]
        except BadImage:
            with suppress(RuntimeError):  # the same error
                self.models.call("decode_image", ["pixels"], image=image)
            raise

    def _ended(self, tokens):
        return self.tokens == MAX_TOKENS or (self.tokens > 0 and tokens[0, self.tokens - 1] == EOS)

    def _send_line(self, tokens):
        length = int(np.count_nonzero(tokens))
        # Presented as part of the whole poem: the previous line decides whether this one begins with a capital.
        line = "".join(self.models.text(tokens).split("\n")[self.lines : self.lines + 1])
        self.sender.send(response(line, self.lines, tokens[:, self.tokens : length], final=False))
        self.lines, self.tokens = self.lines + 1, length


class Models:
    """The other models of this server, called on behalf of one request."""

    def __init__(self, request_id):
        self.request_id = request_id

    def call(self, model, outputs, **inputs):
        tensors = [pb_utils.Tensor(name, value) for name, value in inputs.items()]
        request = pb_utils.InferenceRequest(
            model_name=model,
            requested_output_names=outputs,
            inputs=tensors,
            request_id=self.request_id,
            # Needed on GPU servers, where outputs would otherwise stay on the device.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        found = request.exec()
        if found.has_error():
            raise RuntimeError(found.error().message())
        return [np.array(pb_utils.get_output_tensor_by_name(found, name).as_numpy()) for name in outputs]

    def text(self, tokens):
        """The text of the poem so far, int64 [1, MAX_TOKENS]."""
        [text] = self.call("poem_text", ["text"], tokens=tokens)
        return text[0, 0].decode()


class Counters:
    """Prometheus metrics of this model, beside Triton's."""

    def __init__(self, model):
        self.lock, labels = threading.Lock(), {"model": model}
        # A family must outlive its metrics.
        self.families = [
            pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.COUNTER)
            for name, description in COUNTERS.items()
        ]
        poems, lines, tokens = self.families
        self.poems = {reason: poems.Metric(labels={**labels, "reason": reason}) for reason in REASONS}
        self.lines, self.tokens = lines.Metric(labels=labels), tokens.Metric(labels=labels)

    def close(self):
        """Delete the metrics before their families: otherwise Triton's process crashes when the interpreter exits."""
        del self.poems, self.lines, self.tokens
        del self.families

    def add(self, reason, lines, tokens):
        """Count a poem after its lines are sent. Counting is slow, so all lines are added at once."""
        # Triton 2.51 crashes if two threads count at once.
        with self.lock:
            self.lines.increment(lines)
            self.tokens.increment(tokens)
            self.poems[reason].increment(1)


def decoder_options(inputs):
    """The decoder's options: the defaults of ``Sampling``, updated by the request's validated options."""
    given = {name: inputs[name] for name in DEFAULTS if name in inputs}
    # A float32 0.05 differs slightly from Python's.
    values = {name: round(value.item(), 6) for name, value in given.items() if value.size == 1}
    if values.get("temperature") == 0:  # greedy
        del values["temperature"]
    Sampling(**values)
    tensors = {**DEFAULTS, **given}
    check_tensors({"forbidden_tokens": tensors["forbidden_tokens"]})
    return drawn(tensors)


def photograph(inputs):
    """The encoded photograph, BYTES [1, 1], from the input that was given."""
    if ("image" in inputs) == ("image_base64" in inputs):
        raise InvalidOption("give the photograph as image or as image_base64")
    if "image" in inputs:
        return inputs["image"]
    try:
        return np.array([[base64.b64decode(inputs["image_base64"].reshape(-1)[0], validate=True)]], np.object_)
    except binascii.Error as error:
        raise InvalidOption(f"image_base64 is not Base64: {error}") from error


def response(line, index, tokens, final, more=()):
    """A response; only the final one has ``more``."""
    tensors = [
        text_tensor("line", line),
        pb_utils.Tensor("index", np.array([[index]])),
        pb_utils.Tensor("tokens", np.ascontiguousarray(tokens)),
        pb_utils.Tensor("final", np.array([[final]])),
    ]
    return pb_utils.InferenceResponse([*tensors, *more])


def text_tensor(name, text):
    """BYTES [1, 1]."""
    return pb_utils.Tensor(name, np.array([[text.encode()]], np.object_))


def failure(text, code):
    """An error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))
