"""One answer from the model's stream to the inbox: order, failure, the flush, and what a kill leaves behind."""

import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from tests.wires.peers import read_request, tcp_server, until
from voice.core import events as ev
from voice.reply import Replies, Reply
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
    Reply(7, REQUEST, model_at(sandbox), {}, events.append).run()
    return events


WHOLE: list[ev.Event] = [
    ev.ReplyStarted(7),
    ev.SentenceReady(7, "We open at nine."),
    ev.TokensUsed(7, 1, 0, 6),
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
    assert events_of(sandbox) == [ev.TokensUsed(7, 1, 0, 0), ev.ReplyFinished(7)]


def test_thoughts_are_billed_as_output() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
            b'data: {"choices":[],"usage":{"prompt_tokens":291,"completion_tokens":26,"total_tokens":513,'
            b'"prompt_tokens_details":{"cached_tokens":290},"completion_tokens_details":{"reasoning_tokens":196}}}\n\n'
        )

    events: list[ev.Event] = []
    with tcp_server(serve) as port:
        Reply(7, REQUEST, LanguageModel(f"http://127.0.0.1:{port}/v1", "key", 1), {}, events.append).run()
    assert events == [ev.TokensUsed(7, 291, 290, 222), ev.ReplyFinished(7)]


@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        (faults.AnswerStatus(503), False),
        (faults.AnswerStatus(429), False),
        (faults.ResetAfter(0), False),
        (faults.RawAfter(0, b"data: x\n\n" * 3), False),
        (faults.AnswerStatus(403, b'{"code":"x","error":"No credits."}'), True),
    ],
)
def test_a_failure_is_told_and_whether_it_is_final(sandbox: Sandbox, fault: object, refused: bool) -> None:
    sandbox.xai.faults.append(fault)
    (failed,) = events_of(sandbox)
    assert isinstance(failed, FAILED)
    assert (failed.vendor, failed.turn, failed.refused) == ("language model", 7, refused)
    assert len(sandbox.xai.requests) == 1, "to ask again is the conversation's decision"


def test_a_sentence_without_an_end_can_be_taken_as_it_is(sandbox: Sandbox) -> None:
    sandbox.xai.answer = lambda messages: Answer("We open at nine. Come early and bring")
    sandbox.xai.faults.append(faults.StallAfter(7))
    events: list[Any] = []
    reply = Reply(7, REQUEST, model_at(sandbox), {}, events.append)
    greenlet = gevent.spawn(reply.run)
    until(lambda: bool(sandbox.xai.requests) and sandbox.xai.requests[0].tokens_sent >= 7, "the stall")
    until(lambda: len(events) == 2, "the first sentence")
    gevent.sleep(0)
    until(lambda: (reply.flush(), len(events) == 3)[1], "the part")
    greenlet.kill()
    assert isinstance(events[-1], ev.SentenceReady) and events[-1].text.startswith("Come early")


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
    greenlet = gevent.spawn(Reply(7, REQUEST, model_at(sandbox), {}, events.append).run)
    until(lambda: len(events) == 2, "the first sentence")
    greenlet.kill()
    until(lambda: sandbox.xai.requests[0].cancelled, "the end of the request")
    assert events == WHOLE[:2] and len(sandbox.xai.requests) == 1


def test_what_had_come_of_a_cancelled_reply_is_counted(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.StallAfter(5))
    events: list[Any] = []
    replies = Replies(model_at(sandbox), events.append)
    replies.start("CA1", 7, REQUEST, {})
    until(lambda: len(events) == 2, "the first sentence")
    until(lambda: sandbox.xai.requests[0].tokens_sent == 5, "five tokens")
    until(lambda: replies._running[7][0].pieces == 5, "they have come")
    assert replies.cancel(7) == 5 and replies.cancel(7) == 0


def test_what_the_model_writes_is_made_speakable(sandbox: Sandbox) -> None:
    sandbox.xai.answer = lambda messages: Answer("**We** open at 9 \N{PARTY POPPER} \N{PARTY POPPER}. Ask Dr. Who!")
    events: list[ev.Event] = []
    Reply(7, REQUEST, model_at(sandbox), {"Dr.": "Doctor"}, events.append).run()
    assert [e.text for e in events if isinstance(e, ev.SentenceReady)] == ["We open at 9.", "Ask Doctor Who!"]
