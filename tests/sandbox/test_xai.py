"""The language model's stand-in, judged by the openai SDK and by the bytes on the wire."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gevent
import openai
import orjson
import pytest
import requests

from tests.sandbox.clients import until
from voice.sandbox import faults
from voice.sandbox.delays import Delays
from voice.sandbox.demo_script import CALLER_SENTENCES, Answer, ToolCall, receptionist
from voice.sandbox.stand_ins import Sandbox

MODEL = "grok-4.20-non-reasoning"
HANG_UP: Any = {"type": "function", "function": {"name": "hang_up", "parameters": {"type": "object"}}}
SLOW = replace(Delays(), token_ms=200)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> openai.OpenAI:
    environment = sandbox.environment()
    return openai.OpenAI(base_url=environment["XAI_BASE_URL"], api_key=environment["XAI_API_KEY"], max_retries=0)


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def post(
    sandbox: Sandbox, stream: bool = True, key: str | None = None, timeout: float = 2, **body: Any
) -> requests.Response:
    environment = sandbox.environment()
    given = {"model": MODEL, "messages": [user("Hello")], "stream": stream, **body}
    headers = {"Authorization": f"Bearer {key or environment['XAI_API_KEY']}"}
    url = environment["XAI_BASE_URL"] + "/chat/completions"
    return requests.post(url, json=given, headers=headers, stream=True, timeout=timeout)


def events(response: requests.Response) -> list[Any]:
    lines = [line for line in response.iter_lines() if line]
    assert lines.pop() == b"data: [DONE]"
    return [orjson.loads(line.removeprefix(b"data: ")) for line in lines]


# Answers


def test_the_sdk_reads_text_tool_call_and_usage(sandbox: Sandbox, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[user("Goodbye.")],
        tools=[HANG_UP],
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"x-grok-conv-id": "CA1"},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    calls = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]
    assert text == "Thank you for calling the Riverside Clinic. Goodbye."
    assert [(call.function and call.function.name, call.function and call.function.arguments) for call in calls] == [
        ("hang_up", "{}")
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "tool_calls"
    assert chunks[-1].choices == [] and chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 8
    asked = sandbox.xai.requests[0]
    until(lambda: asked.finished)
    assert (asked.headers["x-grok-conv-id"], asked.body["model"], asked.cancelled) == ("CA1", MODEL, False)


def test_the_sdk_reads_a_whole_answer_and_the_models(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=[user("Where are you located?")])
    assert whole.choices[0].message.content == "The Riverside Clinic is at twelve Mill Lane, right beside the river."
    assert whole.choices[0].finish_reason == "stop"
    assert MODEL in {model.id for model in client.models.list()}


def test_the_stream_on_the_wire(sandbox: Sandbox) -> None:
    sandbox.xai.answer = lambda messages: Answer("Füße, bitte.", (ToolCall("hang_up", {"reason": "x"}), ToolCall("no")))
    response = post(sandbox, tools=[HANG_UP])
    assert response.headers["content-type"] == "text/event-stream"
    chunks = events(response)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[:2] == [{"content": "Füße,", "role": "assistant"}, {"content": " bitte."}]
    [call] = deltas[2]["tool_calls"]
    assert call["function"] == {"name": "hang_up", "arguments": '{"reason":"x"}'} and call["index"] == 0
    assert (deltas[3], chunks[3]["choices"][0]["finish_reason"]) == ({}, "tool_calls")
    assert len(chunks) == 4, "no usage unless asked for, and no tool that was not offered"


def test_max_tokens_cuts_the_answer(sandbox: Sandbox) -> None:
    chunks = events(post(sandbox, max_tokens=2))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["Hello,", " this", None]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_a_retired_model_is_answered_by_another(sandbox: Sandbox) -> None:
    assert events(post(sandbox, model="grok-4-fast-non-reasoning"))[0]["model"] == "grok-4.3"


def test_a_tool_result_is_a_good_last_message(sandbox: Sandbox) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "hang_up", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    answered = {"role": "tool", "tool_call_id": "call_1", "content": "done"}
    assert post(sandbox, messages=[user("Bye"), asked, answered], tools=[HANG_UP]).status_code == 200


def test_the_receptionist_knows_every_sentence_of_the_demo() -> None:
    answers = {sentence: receptionist([user(sentence)]) for sentence in CALLER_SENTENCES}
    assert not [sentence for sentence, answer in answers.items() if "You said" in answer.text]
    assert {s: answer.tool_calls[0].name for s, answer in answers.items() if answer.tool_calls} == {
        "Monday please.": "ask_for_digits",
        "Tuesday please.": "ask_for_digits",
        "Wednesday please.": "ask_for_digits",
        "Friday please.": "ask_for_digits",
        "Please text me the address.": "send_sms",
        "Can I speak to a human being?": "transfer_call",
        "That is all.": "hang_up",
        "Goodbye.": "hang_up",
    }
    assert "Wednesday" in answers["Wednesday please."].text
    assert "no appointment" in answers["When is my appointment?"].text
    assert receptionist([user("The moon is round")]).text.endswith("You said: The moon is round")


# Structured outputs

FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "guests": {"type": ["integer", "null"]},
        "price": {"type": "number"},
        "smoker": {"type": "boolean"},
        "kind": {"type": "string", "enum": ["table", "room"]},
        "wishes": {"type": "array", "items": {"type": "string"}},
        "address": {"type": "object", "properties": {"street": {}, "none": {"type": "null"}}},
    },
    "required": ["name"],
}
RECORD = (
    '<call>\n{"caller": "A table."}\n{"agent": "Your name?"}\n{"caller": "Smith\u2028"}\n{"agent": "Bye."}\n</call>'
)


def form(schema: object = FORM, name: object = "call") -> Any:
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def test_the_sdk_reads_an_object_that_fits_the_schema(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model=MODEL, messages=[user("Hi"), user(RECORD)], response_format=form(), stream=False
    )
    assert orjson.loads(whole.choices[0].message.content or "") == {
        "name": "Smith\u2028",
        "guests": 0,
        "price": 0,
        "smoker": False,
        "kind": "table",
        "wishes": [],
        "address": {"street": "Smith\u2028", "none": None},
    }
    assert whole.usage is not None and whole.usage.completion_tokens >= 1


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([user("One"), user("Two"), {"role": "assistant", "content": "Three"}], "Two"),
        ([{"role": "system", "content": "Be brief."}], ""),
        ([user('[1]\n{"caller": 7}')], '[1]\n{"caller": 7}'),
    ],
)
def test_without_a_record_the_last_message_is_what_the_caller_said(
    sandbox: Sandbox, messages: list[Any], words: str
) -> None:
    schema = {"type": "object", "properties": {"words": {"type": "string"}}}
    answer = post(sandbox, stream=False, messages=messages, response_format=form(schema)).json()
    assert orjson.loads(answer["choices"][0]["message"]["content"]) == {"words": words}


def test_what_it_finds_can_be_told_and_streamed(sandbox: Sandbox) -> None:
    asked: list[Any] = []

    def extract(messages: list[Any], schema: dict[str, Any]) -> dict[str, Any]:
        asked.append((messages, schema))
        return {"name": "J. Smith"}

    sandbox.xai.extract = extract
    for stream in (True, False):
        response = post(sandbox, stream=stream, response_format=form())
        if stream:
            text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events(response))
        else:
            text = response.json()["choices"][0]["message"]["content"]
        assert text == '{"name":"J. Smith"}'
    assert asked == [([user("Hello")], FORM)] * 2


@pytest.mark.parametrize("given", [None, {"type": "text"}, {"type": "json_object"}])
def test_any_other_form_is_answered_in_words(sandbox: Sandbox, given: Any) -> None:
    answer = post(sandbox, stream=False, response_format=given).json()
    assert answer["choices"][0]["message"]["content"].startswith("Hello, this is")


@pytest.mark.parametrize(
    "given",
    [
        "json",
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "schema": FORM},
        {"type": "json_schema", "json_schema": {"schema": FORM}},
        form(name=""),
        form(name="the call"),
        form(schema={"type": "array"}),
        form(schema={"properties": {}}),
        form(schema={"type": "object", "properties": {"a": {"type": "text"}}}),
    ],
)
def test_a_form_that_is_none_is_refused(sandbox: Sandbox, given: Any) -> None:
    response = post(sandbox, stream=False, response_format=given)
    assert response.status_code == 400 and "response_format" in response.json()["error"]


def test_faults_meet_a_whole_answer_too(sandbox: Sandbox) -> None:
    sandbox.xai.extract = lambda messages, schema: {"name": "a b c d"}

    def suffering(fault: object) -> requests.Response:
        sandbox.xai.faults[:] = [fault]
        return post(sandbox, stream=False, timeout=0.2, response_format=form())

    assert suffering(faults.AnswerStatus(503)).status_code == 503
    assert "then" in suffering(faults.Trickle(3)).json()["choices"][0]["message"]["content"]
    assert suffering(faults.RawAfter(1, b"<p>")).text.startswith('<p>{"id"')
    with pytest.raises(requests.ConnectionError):
        suffering(faults.ResetAfter(2))
    for silence in (faults.NeverAnswer(), faults.StallAfter(3)):
        with pytest.raises(requests.ReadTimeout):
            suffering(silence)
        until(lambda: sandbox.xai.requests[-1].cancelled)
    answer = post(sandbox, stream=False, response_format=form()).json()
    assert answer["choices"][0]["message"]["content"] == '{"name":"a b c d"}'


# Refusals


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "grok-9"}, 404),
        ({"reasoning_effort": "low"}, 400),
        ({"model": "grok-4.7", "reasoning_effort": "none"}, 400),
        ({"model": "grok-4.20", "stop": ["."]}, 400),
        ({"model": "grok-4.3", "presence_penalty": 1}, 400),
        ({"reasoning": {"effort": "low"}}, 400),
        ({"search_parameters": {"mode": "auto"}}, 410),
        ({"messages": []}, 400),
        ({"messages": [{"role": "user", "content": ""}]}, 400),
        ({"messages": [{"role": "user", "content": []}]}, 400),
        ({"messages": [{"role": "assistant", "content": None}]}, 400),
        ({"messages": [{"role": "caller", "content": "Hi"}]}, 400),
        ({"messages": [{"role": "tool", "content": "done", "tool_call_id": "call_1"}]}, 400),
        ({"max_tokens": 0}, 400),
        ({"tools": [{"name": "hang_up"}]}, 400),
    ],
)
def test_what_the_vendor_refuses_is_refused_flat(sandbox: Sandbox, body: dict[str, Any], status: int) -> None:
    response = post(sandbox, **body)
    assert response.status_code == status == sandbox.xai.requests[0].status
    assert set(response.json()) == {"code", "error"} and isinstance(response.json()["error"], str)


def test_what_the_vendor_takes_is_taken(sandbox: Sandbox) -> None:
    assert post(sandbox, model="grok-4.3", reasoning_effort="none", stop=["."]).status_code == 200
    assert post(sandbox, model="grok-4.7", reasoning_effort="xhigh").status_code == 200
    text = [{"type": "text", "text": "Hello"}]
    options: dict[str, Any] = {"temperature": 0.6, "service_tier": "priority", "parallel_tool_calls": True}
    assert post(sandbox, messages=[{"role": "user", "content": text}], **options).status_code == 200


def test_keys_are_checked(sandbox: Sandbox) -> None:
    assert post(sandbox, key="xai-wrong").status_code == 403
    base = sandbox.environment()["XAI_BASE_URL"]
    assert requests.get(base + "/models", timeout=2).status_code == 401
    with pytest.raises(openai.PermissionDeniedError):
        openai.OpenAI(base_url=base, api_key="wrong", max_retries=0).models.list()


def test_a_body_that_is_not_json(sandbox: Sandbox) -> None:
    environment = sandbox.environment()
    headers = {"Authorization": f"Bearer {environment['XAI_API_KEY']}"}
    url = environment["XAI_BASE_URL"] + "/chat/completions"
    assert requests.post(url, data=b"{nope", headers=headers, timeout=2).status_code == 400


# Cancelling


def test_a_client_that_leaves_is_noticed_within_100_ms() -> None:
    with Sandbox(delays=SLOW) as sandbox:
        response = post(sandbox)
        next(response.iter_lines())
        left = time.monotonic()
        response.close()
        until(lambda: sandbox.xai.requests[0].cancelled)
        assert time.monotonic() - left < 0.1
        assert not sandbox.xai.requests[0].finished


def test_a_client_that_leaves_before_the_first_token_is_noticed() -> None:
    with Sandbox(delays=replace(Delays(), first_token_ms=5000)) as sandbox:
        reader = gevent.spawn(post, sandbox)
        until(lambda: sandbox.xai.requests)
        reader.kill()
        until(lambda: sandbox.xai.requests[0].cancelled, seconds=0.1)
        assert sandbox.xai.requests[0].tokens_sent == 0


def test_a_killed_reader_is_noticed(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.StallAfter(2))

    def read() -> None:
        with post(sandbox) as response:
            list(response.iter_lines())

    reader = gevent.spawn(read)
    until(lambda: sandbox.xai.requests and sandbox.xai.requests[0].tokens_sent == 2)
    reader.kill()
    until(lambda: sandbox.xai.requests[0].cancelled, seconds=0.1)


def test_one_connection_serves_many_requests(sandbox: Sandbox) -> None:
    environment = sandbox.environment()
    with requests.Session() as session:
        for _ in range(3):
            session.headers["Authorization"] = f"Bearer {environment['XAI_API_KEY']}"
            body = {"model": MODEL, "messages": [user("Hello")], "stream": True}
            with session.post(environment["XAI_BASE_URL"] + "/chat/completions", json=body, stream=True) as response:
                assert len(events(response)) > 3
    assert [(asked.finished, asked.cancelled) for asked in sandbox.xai.requests] == [(True, False)] * 3


def test_tokens_arrive_one_by_one_without_a_delayed_ack() -> None:
    with Sandbox(delays=Delays(first_token_ms=0, token_ms=1)) as sandbox:
        sandbox.xai.answer = lambda messages: Answer(" ".join(["word"] * 50))
        began = time.monotonic()
        assert len(events(post(sandbox))) == 51
        assert time.monotonic() - began < 1.0, "50 tokens of 40 ms would be 2 s"


# Faults


def test_a_status_with_headers(sandbox: Sandbox) -> None:
    body = b'{"code":"Some resource has been exhausted","error":"Too many requests"}'
    sandbox.xai.faults.append(faults.AnswerStatus(429, body, {"Retry-After": "1"}))
    response = post(sandbox)
    assert (response.status_code, response.headers["retry-after"], response.content) == (429, "1", body)
    assert post(sandbox).status_code == 200


def test_html_with_200(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.AnswerStatus(200, b"<html>busy</html>", content_type="text/html"))
    response = post(sandbox)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html")


def test_never_an_answer(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.NeverAnswer())
    with pytest.raises(requests.ReadTimeout):
        environment = sandbox.environment()
        requests.post(environment["XAI_BASE_URL"] + "/chat/completions", json={}, timeout=0.1)
    until(lambda: sandbox.xai.requests[0].cancelled)


def test_a_stall_holds_the_connection_open(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.StallAfter(3))
    response = post(sandbox, timeout=0.2)
    lines = response.iter_lines()
    assert sum(next(lines).startswith(b"data: ") for _ in range(5)) == 3
    with pytest.raises(requests.ConnectionError):
        list(lines)


def test_a_reset_in_the_middle(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.ResetAfter(2))
    with pytest.raises(requests.RequestException):
        list(post(sandbox).iter_lines())
    assert sandbox.xai.requests[0].tokens_sent == 2


@pytest.mark.parametrize("raw", [b"data: {broken\n\n", b'data: {"error":{"message":"overloaded"}}\n\n', b"\xff\xfe\n"])
def test_raw_bytes_in_the_middle(sandbox: Sandbox, raw: bytes) -> None:
    sandbox.xai.faults.append(faults.RawAfter(1, raw))
    received = post(sandbox).content
    assert received.count(raw) == 1 and received.endswith(b"data: [DONE]\n\n")
    assert received.index(b"Hello,") < received.index(raw) < received.index(b" this")


def test_a_trickle_has_no_sentence(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.Trickle(100))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events(post(sandbox)))
    assert len(text.split()) >= 100 and not set(text) & set(".?!,")


def test_half_a_request_harms_nobody(sandbox: Sandbox) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.port)) as half:
        half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    assert post(sandbox).status_code == 200
