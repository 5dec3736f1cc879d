"""Triton Python model: a photograph to a poem, each line sent as soon as it is written.

Decoupled, by calls of the other models of the same server (business logic scripting): one call of
``poem_decoder_line`` a line, batched with those of other streams. docs/serving.md says what goes in and out.
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
from img2poem.decoding.strategies import MAX_TOKENS, Sampling, check_tensors
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
    """The caller has gone."""


class TritonPythonModel:
    """Answers ``streams`` requests at a time, each in a thread of its own; more wait in Triton's queue."""

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
        except Exception as error:  # whatever it is, the caller must not wait for ever
            sender.send(failure(str(error), pb_utils.TritonError.INTERNAL), FINAL)
        finally:
            self.count.add(reason, poem.lines, poem.tokens)
            self.free.release()


class Poem:
    """One request's poem."""

    def __init__(self, inputs, models, sender, size, state_dim):
        self.inputs, self.models, self.sender = inputs, models, sender
        self.size, self.state_dim = size, state_dim
        self.lines = self.tokens = 0

    def stream(self):
        """Send the lines and the closing response; returns why the poem ended."""
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
        """Decoded here, which saves the first line a call; what cannot be is shown to the model that counts it."""
        try:
            return decode(image[0, 0], self.size)[None]
        except BadImage:
            with suppress(RuntimeError):  # it says the same
                self.models.call("decode_image", ["pixels"], image=image)
            raise

    def _ended(self, tokens):
        return self.tokens == MAX_TOKENS or (self.tokens > 0 and tokens[0, self.tokens - 1] == EOS)

    def _send_line(self, tokens):
        length = int(np.count_nonzero(tokens))
        # Of the whole poem's text, since the line before decides whether a line begins with a capital.
        line = "".join(self.models.text(tokens).split("\n")[self.lines : self.lines + 1])
        self.sender.send(response(line, self.lines, tokens[:, self.tokens : length], final=False))
        self.lines, self.tokens = self.lines + 1, length


class Models:
    """The other models of this server, called in the name of one request."""

    def __init__(self, request_id):
        self.request_id = request_id

    def call(self, model, outputs, **inputs):
        tensors = [pb_utils.Tensor(name, value) for name, value in inputs.items()]
        request = pb_utils.InferenceRequest(
            model_name=model,
            requested_output_names=outputs,
            inputs=tensors,
            request_id=self.request_id,
            # On GPU servers too, where outputs would else stay on the device.
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
    """What the model counts for Prometheus, beside what Triton does."""

    def __init__(self, model):
        self.lock, labels = threading.Lock(), {"model": model}
        # A family must live as long as its metrics.
        self.families = [
            pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.COUNTER)
            for name, description in COUNTERS.items()
        ]
        poems, lines, tokens = self.families
        self.poems = {reason: poems.Metric(labels={**labels, "reason": reason}) for reason in REASONS}
        self.lines, self.tokens = lines.Metric(labels=labels), tokens.Metric(labels=labels)

    def close(self):
        """Let the metrics go before their families: at the interpreter's own end Triton's process would crash."""
        del self.poems, self.lines, self.tokens
        del self.families

    def add(self, reason, lines, tokens):
        """Count a poem, after its lines; once for all of them, since each count waits for the server."""
        # Triton 2.51 dies of two threads that count at once.
        with self.lock:
            self.lines.increment(lines)
            self.tokens.increment(tokens)
            self.poems[reason].increment(1)


def decoder_options(inputs):
    """The decoder's options: the defaults of ``Sampling`` and, checked, those of the request."""
    given = {name: inputs[name] for name in DEFAULTS if name in inputs}
    # A float32 of 0.05 is not quite Python's.
    values = {name: round(value.item(), 6) for name, value in given.items() if value.size == 1}
    if values.get("temperature") == 0:  # greedy
        del values["temperature"]
    Sampling(**values)
    tensors = {**DEFAULTS, **given}
    check_tensors({"forbidden_tokens": tensors["forbidden_tokens"]})
    return drawn(tensors)


def photograph(inputs):
    """The encoded photograph, BYTES [1, 1], from whichever of the two inputs is there."""
    if ("image" in inputs) == ("image_base64" in inputs):
        raise InvalidOption("give the photograph as image or as image_base64")
    if "image" in inputs:
        return inputs["image"]
    try:
        return np.array([[base64.b64decode(inputs["image_base64"].reshape(-1)[0], validate=True)]], np.object_)
    except binascii.Error as error:
        raise InvalidOption(f"image_base64 is not Base64: {error}") from error


def response(line, index, tokens, final, more=()):
    """A response; only the closing one has ``more``."""
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
    """A response that tells the caller what went wrong."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))
