"""Values that the language model finds in a call: its wire against the stand-in, and against any bytes."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import orjson
import pytest

from tests.wires.peers import read_request, tcp_server, until
from tests.wires.test_language_model import NO_CREDITS, TOOL, answering, chunk, model_at, request, silent, text_of
from voice.errors import VendorError, VendorRefused, VendorUnavailable
from voice.sandbox import faults
from voice.sandbox.stand_ins import Sandbox
from voice.wires import language_model as wire
from voice.wires.completion import Extracted, Usage
from voice.wires.language_model import LanguageModel

SECRET = "my code is 4711"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "summary": {"type": "string"},
        "guests": {"type": ["integer", "null"]},
        "kind": {"type": ["string", "null"], "enum": ["table", "room", None]},
    },
    "required": ["summary", "guests", "kind"],
    "additionalProperties": False,
}
GOOD = {"summary": "A table.", "guests": None, "kind": "table"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def extract_from(serve: Callable[[socket.socket], None]) -> Extracted:
    with tcp_server(serve) as port:
        model = LanguageModel(f"http://127.0.0.1:{port}/v1", "key", 1)
        try:
            return model.extract(request(), "call", SCHEMA)
        finally:
            model.close()


def body(status: int, raw: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(raw)) + raw


def content(text: object, **others: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return orjson.dumps({"choices": [choice], **others})


def failure(serve: Callable[[socket.socket], None]) -> VendorError:
    with pytest.raises(VendorError) as caught:
        extract_from(serve)
    return caught.value


def test_the_request_is_what_the_vendor_takes_and_the_values_come_with_what_they_cost(sandbox: Sandbox) -> None:
    extracted = model_at(sandbox).extract(request(tools=[TOOL], temperature=0, max_tokens=500), "call_1", SCHEMA)
    assert extracted == Extracted({"summary": "Hello", "guests": 0, "kind": "table"}, Usage(3, 0, 1, 0))
    (asked,) = sandbox.xai.requests
    assert asked.finished and asked.headers["x-grok-conv-id"] == "CA1"
    assert asked.headers["accept"] == "application/json"
    assert asked.body == {
        "model": "grok-4.20-non-reasoning",
        "temperature": 0,
        "max_tokens": 500,
        "messages": list(request().messages),
        "response_format": {"type": "json_schema", "json_schema": {"name": "call_1", "strict": True, "schema": SCHEMA}},
    }


def test_a_model_that_thinks_is_told_not_to(sandbox: Sandbox) -> None:
    assert model_at(sandbox).extract(request(model="grok-4.3"), "call", SCHEMA)
    assert sandbox.xai.requests[0].body["reasoning_effort"] == "none"


def test_it_shares_the_streams_connection(sandbox: Sandbox) -> None:
    ports: list[str] = []
    answer = sandbox.xai.app

    def app(environ: Any, start_response: Any) -> Any:
        ports.append(environ["REMOTE_PORT"])
        return answer(environ, start_response)

    sandbox.xai.app = app  # type: ignore[method-assign]
    model = model_at(sandbox)
    assert list(model.stream(request())) and model.extract(request(), "call", SCHEMA) and list(model.stream(request()))
    assert len(ports) == 3 and len(set(ports)) == 1


@pytest.mark.parametrize(
    "values", [GOOD, GOOD | {"guests": 4, "kind": None}, GOOD | {"summary": "Für 4 🙂", "guests": 4.0}]
)
def test_what_fits_the_schema_is_taken(values: dict[str, Any]) -> None:
    assert extract_from(answering(body(200, content(orjson.dumps(values).decode())))) == Extracted(values, None)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "no JSON"),
        (f'{{"choices": {SECRET}'.encode(), "no JSON"),
        (b"null", "without content"),
        (b"[]", "without content"),
        (b"{}", "without content"),
        (b'{"choices":[]}', "without content"),
        (b'{"choices":[{}]}', "without content"),
        (b'{"choices":{"0":{}}}', "without content"),
        (content(None, error=SECRET), "without content"),
        (content([{"type": "text", "text": "{}"}]), "without content"),
        (content(SECRET), "no JSON, with finish_reason 'stop'"),
        (content('{"summary":"' + SECRET), "no JSON, with finish_reason 'stop'"),
        (content(f'["{SECRET}"]'), "no JSON object"),
        (content("{}"), "required at '$'"),
        (content(orjson.dumps(GOOD | {"guests": SECRET}).decode()), "type at '$.guests'"),
        (content(orjson.dumps(GOOD | {"guests": True}).decode()), "type at '$.guests'"),
        (content(orjson.dumps(GOOD | {"summary": None}).decode()), "type at '$.summary'"),
        (content(orjson.dumps(GOOD | {"kind": SECRET}).decode()), "enum at '$.kind'"),
        (content(orjson.dumps(GOOD | {SECRET: 1}).decode()), "additionalProperties at '$'"),
    ],
)
def test_an_answer_without_good_values_is_of_no_use_and_the_error_does_not_tell_them(answer: bytes, said: str) -> None:
    error = failure(answering(body(200, answer)))
    assert isinstance(error, VendorUnavailable) and said in error.detail
    assert "4711" not in str(error) and error.detail.isascii()


def test_values_that_were_cut_off_at_the_limit_are_of_no_use(sandbox: Sandbox) -> None:
    sandbox.xai.extract = lambda messages, schema: GOOD | {"summary": "It is a long story."}
    with pytest.raises(VendorUnavailable, match="no JSON, with finish_reason 'length'"):
        model_at(sandbox).extract(request(max_tokens=2), "call", SCHEMA)


@pytest.mark.parametrize(
    ("response", "kind", "said"),
    [
        (body(400, b'{"code":"x","error":"Bad schema."}'), VendorRefused, "400: 'Bad schema.'"),
        (body(403, orjson.dumps({"code": "x", "error": NO_CREDITS})), VendorRefused, "all available credits"),
        (body(429, b'{"error":"Slow down."}'), VendorUnavailable, "429"),
        (body(503, b""), VendorUnavailable, "503"),
        (body(200, b"<html>", b"text/html"), VendorUnavailable, "no application/json but text/html"),
        (body(200, b"", b"text/event-stream"), VendorUnavailable, "no application/json but text/event-stream"),
        (body(307, b""), VendorRefused, "307"),
        (body(200, b"{}")[:-1], VendorUnavailable, "IncompleteRead"),
        (b"", VendorUnavailable, "ConnectionError"),
        (b"garbage\r\n\r\n", VendorUnavailable, "ConnectionError"),
    ],
)
def test_errors_are_those_of_a_stream(response: bytes, kind: type[VendorError], said: str) -> None:
    error = failure(answering(response))
    assert type(error) is kind and said in error.detail


def test_a_name_that_the_vendor_does_not_take_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(VendorRefused, match="400"):
        model_at(sandbox).extract(request(), "the call", SCHEMA)


@pytest.mark.parametrize("fault", [faults.ResetAfter(0), faults.RawAfter(0, b"<html>"), faults.Trickle(20)])
def test_the_stand_ins_faults_make_it_unavailable_once(sandbox: Sandbox, fault: object) -> None:
    sandbox.xai.faults.append(fault)
    model = model_at(sandbox)
    with pytest.raises(VendorUnavailable):
        model.extract(request(), "call", SCHEMA)
    assert model.extract(request(), "call", SCHEMA).values["guests"] == 0


# The time limit


def dripping(head: bytes, drip: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(head)
        try:
            for _ in range(200):
                connection.sendall(drip)
                gevent.sleep(0.02)
        except OSError:
            return

    return serve


JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "serve",
    [
        silent,
        dripping(JSON_HEAD + b"Content-Length: 1000\r\n\r\n", b" "),
        dripping(JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk(b" ")),
        dripping(JSON_HEAD + b"Connection: close\r\n\r\n", b" "),
        dripping(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\n", b" "),
    ],
    ids=["silence", "drip", "drip of chunks", "drip to the end", "drip of an error"],
)
def test_the_limit_is_for_the_whole_answer(
    serve: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "EXTRACT_TIMEOUT_S", 0.15)
    began = time.monotonic()
    assert isinstance(failure(serve), VendorUnavailable)
    assert 0.1 < time.monotonic() - began < 1.0


def test_an_answer_in_time_leaves_no_timer_behind(sandbox: Sandbox) -> None:
    model_at(sandbox).extract(request(), "call", SCHEMA)
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(timer.finished.is_set() for timer in timers)


def test_an_answer_without_end_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_LARGEST_ANSWER", 100)
    whole = content(orjson.dumps(GOOD | {"summary": "A table." * 20}).decode())
    assert "without end" in failure(answering(body(200, whole))).detail


@pytest.mark.parametrize("fault", [faults.NeverAnswer(), faults.StallAfter(0)])
def test_to_kill_the_greenlet_closes_the_connection(sandbox: Sandbox, fault: object) -> None:
    sandbox.xai.faults.append(fault)
    model = model_at(sandbox)
    reader = gevent.spawn(model.extract, request(), "call", SCHEMA)
    until(lambda: sandbox.xai.requests and not sandbox.xai.faults, "a request that stalls")
    reader.kill()
    until(lambda: sandbox.xai.requests[0].cancelled, "the client's departure")
    assert text_of(list(model.stream(request()))).startswith("Hello")
