"""The steps of a session, performed by hand: what is sent where after which answer or error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from img2poem.client.session import LONGEST_PAUSE, Next, Open, Pause, Send, Session, Step
from img2poem.errors import BadImage, ConnectionFailed, ContractMismatch, Overloaded, Timeout
from img2poem.requests import Answer, Call, Deadline, Flow, Follow, Infer, Line, Look, ModelInfo, infer

LINES = ("one", "two", "three", "four", "five")
INFO = ModelInfo("poems", {"contract": "c1"})
DOWN = ConnectionFailed("nothing listens")


def streamed() -> Flow[int]:
    def line(part: Answer) -> Line | None:
        index = int(part.tensors["index"])
        return Line(index, LINES[index]) if index < len(LINES) else None

    closing = yield Follow("poems", {}, ("index",), line)
    return int(closing.tensors["index"])


def parts() -> Iterator[Answer]:
    return (Answer({"index": np.array(i)}, "1") for i in range(len(LINES) + 1))


def perform(session: Session, flow: Flow[Any], replies: dict[int, list[Any]]) -> tuple[Any, list[Step]]:
    """Return the flow's result and all steps; ``replies`` are each endpoint's answers and errors to requests."""
    steps, taken = session.steps(flow, Call(Deadline(60))), []
    reply: Any = None
    while True:
        try:
            step = steps.throw(reply) if isinstance(reply, Exception) else steps.send(reply)
        except StopIteration as end:
            return end.value, taken
        taken.append(step)
        reply = None
        if isinstance(step, Send):
            reply = INFO if isinstance(step.request, Look) else replies[step.endpoint].pop(0)


def places(steps: list[Step]) -> list[int]:
    return [step.endpoint for step in steps if isinstance(step, Send) and isinstance(step.request, Infer)]


def test_every_line_of_a_stream_has_retries_of_its_own() -> None:
    """Regression: the attempts of a whole stream were counted together, so that the fourth fault ended a poem."""
    steps = Session(["here"], 1, []).steps(streamed(), Call(Deadline(60)))
    lines, opened, reply = [], 0, None
    with pytest.raises(StopIteration) as end:
        while True:
            step = steps.throw(reply) if isinstance(reply, Exception) else steps.send(reply)
            reply = None
            if isinstance(step, Line):
                lines.append(step.text)
                fault = True
            elif isinstance(step, Open):
                coming, fault, opened = parts(), False, opened + 1
            elif isinstance(step, Next):
                reply = DOWN if fault else next(coming)
            elif isinstance(step, Send):
                reply = INFO
    assert end.value.value == len(LINES) and tuple(lines) == LINES and opened == len(LINES) + 1


def test_a_request_fails_after_its_retries() -> None:
    flow = infer("poems", {}, "x")
    with pytest.raises(ConnectionFailed):
        perform(Session(["here"], 2, []), flow, {0: [DOWN] * 3})


def test_another_endpoint_is_tried_at_once_and_the_same_one_after_a_pause() -> None:
    answer = Answer({"x": np.zeros(1)}, "1")
    _, steps = perform(Session(["here", "there"], 1, []), infer("poems", {}, "x"), {0: [DOWN, answer], 1: [DOWN]})
    assert places(steps) == [0, 1, 0]
    [pause] = [step.seconds for step in steps if isinstance(step, Pause)]
    assert 0 <= pause <= LONGEST_PAUSE
    after = [type(step) for step in steps if not isinstance(step, Send) or isinstance(step.request, Infer)]
    assert after == [Send, Send, Pause, Send]


def test_an_overloaded_endpoint_is_left_after_a_pause() -> None:
    answer = Answer({"x": np.zeros(1)}, "1")
    full = {0: [Overloaded("no room")], 1: [answer]}
    _, steps = perform(Session(["here", "there"], 1, []), infer("poems", {}, "x"), full)
    assert places(steps) == [0, 1] and sum(isinstance(step, Pause) for step in steps) == 1


@pytest.mark.parametrize("error", [BadImage("no picture"), Timeout("no answer")])
def test_what_another_attempt_cannot_mend_is_raised_at_once(error: Exception) -> None:
    session = Session(["here"], 3, [])
    steps = session.steps(infer("poems", {}, "x"), Call(Deadline(1e-3 if isinstance(error, Timeout) else 60)))
    with pytest.raises(type(error)):
        step = next(steps)
        while True:
            step = (
                steps.throw(error) if isinstance(step, Send) and isinstance(step.request, Infer) else steps.send(INFO)
            )


def test_endpoints_must_serve_one_package() -> None:
    session = Session(["here", "there"], 0, [])
    answer = Answer({"x": np.zeros(1)}, "1")
    perform(session, infer("poems", {}, "x"), {0: [answer]})
    steps = session.steps(infer("poems", {}, "x"), Call(Deadline(60)))
    next(steps)
    steps.throw(DOWN)
    with pytest.raises(ContractMismatch, match="there serves models of different packages"):
        steps.send(ModelInfo("poems", {"contract": "c2"}))
