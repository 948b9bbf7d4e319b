"""One agent turn from the model's stream to the inbox: order, the second try, and what a kill leaves behind."""

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from tests.wires.peers import until
from voice.core import events as ev
from voice.reply import reply
from voice.sandbox import faults
from voice.sandbox.demo_script import Answer, ToolCall
from voice.sandbox.stand_ins import Sandbox
from voice.wires.language_model import LanguageModel, Request

TOOL = {"type": "function", "function": {"name": "hang_up", "parameters": {"type": "object"}}}
REQUEST = Request("CA1", "grok-4.20-non-reasoning", [{"role": "user", "content": "When?"}], tools=[TOOL])
FAILED = ev.VendorFailed


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        sandbox.xai.answer = lambda messages: Answer("We open at nine. Come early!")
        yield sandbox


def model_at(sandbox: Sandbox) -> LanguageModel:
    env = sandbox.environment()
    return LanguageModel(env["XAI_BASE_URL"], env["XAI_API_KEY"], 10)


def events_of(sandbox: Sandbox) -> list[ev.Event]:
    events: list[ev.Event] = []
    reply(7, REQUEST, model_at(sandbox), events.append)
    return events


WHOLE: list[ev.Event] = [
    ev.ReplyStarted(7),
    ev.SentenceReady(7, "We open at nine."),
    ev.SentenceReady(7, "Come early!"),
    ev.ReplyFinished(7),
]


def test_tokens_become_sentences_and_an_end(sandbox: Sandbox) -> None:
    assert events_of(sandbox) == WHOLE


def test_the_last_words_before_a_tool_call_are_said_and_the_call_is_told(sandbox: Sandbox) -> None:
    sandbox.xai.answer = lambda messages: Answer("All right. Goodbye", (ToolCall("hang_up", {"why": "done"}),))
    events = events_of(sandbox)
    calls = [event for event in events if isinstance(event, ev.ToolCalled)]
    assert [(call.turn, call.name, call.arguments) for call in calls] == [(7, "hang_up", '{"why":"done"}')]
    sentences = [event.text for event in events if isinstance(event, ev.SentenceReady)]
    assert sentences == ["All right.", "Goodbye"]
    assert events[0] == ev.ReplyStarted(7) and events[-1] == ev.ReplyFinished(7)


def test_an_answer_without_a_word_is_a_finished_reply_that_never_started(sandbox: Sandbox) -> None:
    sandbox.xai.answer = lambda messages: Answer("")
    assert events_of(sandbox) == [ev.ReplyFinished(7)]


@pytest.mark.parametrize(
    "fault",
    [faults.AnswerStatus(503), faults.AnswerStatus(429), faults.ResetAfter(0), faults.RawAfter(0, b"data: x\n\n" * 3)],
)
def test_unavailable_once_is_tried_again_at_once(sandbox: Sandbox, fault: object) -> None:
    sandbox.xai.faults.append(fault)
    assert events_of(sandbox) == WHOLE
    assert len(sandbox.xai.requests) == 2
    assert sandbox.xai.requests[0].body == sandbox.xai.requests[1].body


def test_unavailable_twice_has_failed_the_turn(sandbox: Sandbox) -> None:
    sandbox.xai.faults += [faults.AnswerStatus(503), faults.AnswerStatus(500), faults.AnswerStatus(502)]
    (failed,) = events_of(sandbox)
    assert isinstance(failed, FAILED) and (failed.vendor, failed.turn) == ("language model", 7)
    assert failed.detail.startswith("500")
    assert len(sandbox.xai.requests) == 2


def test_a_refusal_is_not_tried_again(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.AnswerStatus(403, b'{"code":"x","error":"No credits."}'))
    (failed,) = events_of(sandbox)
    assert isinstance(failed, FAILED) and "No credits." in failed.detail
    assert len(sandbox.xai.requests) == 1


@pytest.mark.parametrize("fault", [faults.ResetAfter(5), faults.RawAfter(5, b'data: {"error":"overloaded"}\n\n')])
def test_after_the_first_word_there_is_no_second_try(sandbox: Sandbox, fault: object) -> None:
    sandbox.xai.faults.append(fault)
    *said, failed = events_of(sandbox)
    assert said == WHOLE[:2]
    assert isinstance(failed, FAILED) and failed.turn == 7
    assert len(sandbox.xai.requests) == 1


def test_a_killed_reply_reports_nothing_more_and_hangs_up_on_the_model(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.StallAfter(5))
    events: list[Any] = []
    greenlet = gevent.spawn(reply, 7, REQUEST, model_at(sandbox), events.append)
    until(lambda: len(events) == 2, "the first sentence")
    greenlet.kill()
    until(lambda: sandbox.xai.requests[0].cancelled, "the end of the request")
    assert events == WHOLE[:2] and len(sandbox.xai.requests) == 1
