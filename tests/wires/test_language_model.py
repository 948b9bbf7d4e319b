"""The language model's streams against the stand-in, and against a small server that sends any bytes in any pieces."""

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent
import orjson
import pytest
from gevent.event import Event
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wires.peers import read_request, tcp_server, until
from voice.errors import VendorError, VendorRefused, VendorUnavailable
from voice.sandbox import faults
from voice.sandbox.demo_script import Answer
from voice.sandbox.demo_script import ToolCall as Called
from voice.sandbox.stand_ins import Sandbox
from voice.wires import language_model as wire
from voice.wires.completion import Usage
from voice.wires.language_model import LanguageModel, Request, Text, ToolCall

TOOL = {"type": "function", "function": {"name": "hang_up", "description": "End.", "parameters": {"type": "object"}}}
HELLO: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def request(**changes: Any) -> Request:
    values: dict[str, Any] = {"call_sid": "CA1", "model": "grok-4.20-non-reasoning", "messages": HELLO, **changes}
    return Request(**values)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def model_at(sandbox: Sandbox, key: str | None = None) -> LanguageModel:
    env = sandbox.environment()
    return LanguageModel(env["XAI_BASE_URL"], key or env["XAI_API_KEY"], 10)


def text_of(parts: Sequence[Text | ToolCall | Usage]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


# A server that sends any bytes


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def streaming(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> Callable[[socket.socket], None]:
    """Serves one event stream in these pieces, each in a chunk and a packet of its own."""

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read_request(connection)
        connection.sendall(HEAD)
        for piece in pieces:
            gevent.sleep(0)  # lets the client read what is there, so that each piece is seen alone
            connection.sendall(chunk(piece))
        connection.sendall(end)

    return serve


def answering(response: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(response)

    return serve


def parts_from(serve: Callable[[socket.socket], None]) -> list[Text | ToolCall | Usage]:
    with tcp_server(serve) as port:
        model = LanguageModel(f"http://127.0.0.1:{port}/v1", "key", 1)
        try:
            return list(model.stream(request()))
        finally:
            model.close()


def event(*, choices: Any = None, delta: Any = None, **others: Any) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta}] if choices is None else choices, **others}
    return b"data: " + orjson.dumps(body) + b"\n\n"


def says(text: str) -> bytes:
    return event(delta={"content": text})


# The request


def test_the_request_is_what_the_vendor_takes(sandbox: Sandbox) -> None:
    model = model_at(sandbox)
    assert text_of(list(model.stream(request(tools=[TOOL], temperature=0.2, max_tokens=50)))).startswith("Hello")
    (asked,) = sandbox.xai.requests
    assert asked.status == 200
    assert asked.headers["x-grok-conv-id"] == "CA1"
    assert asked.headers["authorization"] == f"Bearer {sandbox.xai.api_key}"
    assert asked.headers["accept"] == "text/event-stream"
    assert asked.body == {
        "model": "grok-4.20-non-reasoning",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.2,
        "max_tokens": 50,
        "messages": HELLO,
        "tools": [TOOL],
        "tool_choice": "auto",
    }


def test_only_the_model_that_thinks_unless_told_not_to_is_told(sandbox: Sandbox) -> None:
    model = model_at(sandbox)
    for name in ("grok-4.3", "grok-4.20", "grok-4.20-0309-non-reasoning", "grok-4.5"):
        assert list(model.stream(request(model=name)))
    efforts = [asked.body.get("reasoning_effort") for asked in sandbox.xai.requests]
    assert efforts == ["none", None, None, None]
    assert not any("tools" in asked.body or "tool_choice" in asked.body for asked in sandbox.xai.requests)


def test_replies_one_after_the_other_use_one_connection(sandbox: Sandbox) -> None:
    ports: list[str] = []
    answer = sandbox.xai.app

    def app(environ: Any, start_response: Any) -> Any:
        ports.append(environ["REMOTE_PORT"])
        return answer(environ, start_response)

    sandbox.xai.app = app  # type: ignore[method-assign]
    model = model_at(sandbox)
    for _ in range(3):
        assert list(model.stream(request()))
    assert len(ports) == 3 and len(set(ports)) == 1


def test_many_streams_run_at_once(sandbox: Sandbox) -> None:
    model = model_at(sandbox)
    sandbox.xai.faults += [faults.StallAfter(2) for _ in range(5)]
    readers = [gevent.spawn(lambda: list(model.stream(request()))) for _ in range(5)]
    until(lambda: sum(asked.tokens_sent == 2 for asked in sandbox.xai.requests) == 5, "five stalled streams")
    assert text_of(list(model.stream(request()))).startswith("Hello")
    gevent.killall(readers)


def test_no_proxy_of_the_host_has_a_say(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert list(model_at(sandbox).stream(request()))


# What comes


def test_text_comes_token_by_token(sandbox: Sandbox) -> None:
    sandbox.xai.answer = lambda messages: Answer("We open at nine.")
    parts = list(model_at(sandbox).stream(request()))
    assert parts == [Text("We"), Text(" open"), Text(" at"), Text(" nine."), Usage(3, 0, 4, 0)]


def test_the_first_token_is_not_held_back_for_the_second(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.StallAfter(1))
    parts = model_at(sandbox).stream(request())
    with gevent.Timeout(1):
        assert next(parts) == Text("Hello,")
    parts.close()  # type: ignore[attr-defined]


def test_text_before_a_tool_call_and_the_call_whole(sandbox: Sandbox) -> None:
    sandbox.xai.answer = lambda messages: Answer("Goodbye.", (Called("hang_up", {"why": "done"}),))
    text, call, usage = model_at(sandbox).stream(request(tools=[TOOL]))
    assert isinstance(usage, Usage)
    assert text == Text("Goodbye.")
    assert isinstance(call, ToolCall) and call.name == "hang_up" and call.call_id.startswith("call_")
    assert orjson.loads(call.arguments) == {"why": "done"}


def test_tool_calls_in_fragments_are_joined_by_their_index() -> None:
    fragments: list[list[dict[str, Any]]] = [
        [{"index": 0, "id": "call_a", "function": {"name": "hang", "arguments": ""}}],
        [{"index": 1, "id": "call_b", "function": {"name": "transfer", "arguments": '{"to"'}}],
        [{"index": 0, "function": {"name": "_up", "arguments": "{"}}],
        [{"index": 1, "function": {"arguments": ':"sales"}'}}, {"index": 0, "function": {"arguments": "}"}}],
    ]
    stream = [says("Bye."), *(event(delta={"tool_calls": calls}) for calls in fragments), DONE]
    assert parts_from(streaming(*stream)) == [
        Text("Bye."),
        ToolCall("call_a", "hang_up", "{}"),
        ToolCall("call_b", "transfer", '{"to":"sales"}'),
    ]


def told(prompt: object, completion: object, cached: object = 0, thoughts: object = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thoughts},
    }


def test_usage_role_finish_and_reasoning_are_no_text_wherever_they_stand() -> None:
    usage = event(choices=[], usage=told(1, 0))
    stream = [
        usage,
        event(delta={"role": "assistant"}),
        event(delta={"reasoning_content": "The caller greets."}),
        event(delta={"content": "", "tool_calls": None}),
        says("Hi."),
        event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=told(291, 26, 290, 196)),
        DONE,
        says("Never said."),
    ]
    assert parts_from(streaming(*stream)) == [Text("Hi."), Usage(291, 290, 26, 196)]


@pytest.mark.parametrize(
    ("usage", "parts"),
    [
        (None, []),
        ([7], []),
        ({}, []),
        ({"total_tokens": 3}, []),
        (told("291", None, [1], -4), []),
        (told(0, 0), []),
        (told(True, 1.5), []),
        ({"prompt_tokens": 5, "prompt_tokens_details": None, "completion_tokens_details": 7}, [Usage(5, 0, 0, 0)]),
    ],
)
def test_usage_that_tells_nothing_is_none(usage: object, parts: list[Any]) -> None:
    assert parts_from(streaming(event(choices=[], usage=usage), DONE)) == parts


def test_the_end_of_the_body_ends_the_answer_too() -> None:
    assert parts_from(streaming(says("Hi."))) == [Text("Hi.")]


def test_a_server_that_says_done_and_goes_on_holding_the_line_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "_END_TIMEOUT_S", 0.05)
    over = Event()

    def serve(connection: socket.socket) -> None:
        streaming(says("Hi."), DONE, end=b"")(connection)
        over.wait()

    with gevent.Timeout(2):
        assert parts_from(serve) == [Text("Hi.")]
    over.set()


@pytest.mark.matrix(20)
@pytest.mark.parametrize(
    "line",
    [
        b": a comment\n\n",
        b"event: message\nid: 7\nretry: 10\n\n",
        b"data:\n\n",
        b"data: not json\n\n",
        b"data: null\n\ndata: []\n\ndata: 7\n\n",
        b'data: "text"\n\n',
        b"data: {}\n\n",
        b'data: {"choices":null}\n\n',
        b'data: {"choices":{}}\n\n',
        b'data: {"choices":[null]}\n\n',
        b'data: {"choices":[{}]}\n\n',
        b'data: {"choices":[{"delta":null}]}\n\n',
        b'data: {"choices":[{"delta":[]}]}\n\n',
        b'data: {"choices":[{"delta":{"content":null}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":["x"]}}]}\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":7}}]}\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":{"a":1}}}]}\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":[null,7,"x",{},{"function":null}]}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"x"}}],"err\n\n',
    ],
)
def test_malformed_lines_are_passed_over(line: bytes) -> None:
    assert parts_from(streaming(says("One "), line, says("two."), DONE)) == [Text("One "), Text("two.")]


@pytest.mark.parametrize("index", [None, "0", [], {}, 1.5, -1])
def test_an_index_that_is_none_makes_one_call(index: object) -> None:
    call = {"index": index, "id": "call_a", "function": {"name": "hang_up", "arguments": "{}"}}
    stream = streaming(event(delta={"tool_calls": [call]}), DONE)
    assert parts_from(stream) == [ToolCall("call_a", "hang_up", "{}")]


@pytest.mark.matrix(20)
def test_three_lines_in_a_row_that_are_no_json_are_a_failure() -> None:
    bad = b"data: <html>\n\n"
    assert parts_from(streaming(bad, bad, says("Hi."), bad, bad, DONE)) == [Text("Hi.")]
    with pytest.raises(VendorUnavailable, match="three lines in a row"):
        parts_from(streaming(bad, bad, bad, says("Hi."), DONE))


_SSE = b"".join(
    [
        b": hello\r\n\r\n",
        says("Grüße aus Köln – 您好 🙂\u2028 and\x85more. "),
        says("Two.").replace(b"\n\n", b"\r\n\r\n"),
        event(delta={"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"ä":"🙂"}'}}]}),
        event(choices=[], usage={"total_tokens": 3}),
        DONE,
    ]
)
_PARTS = [Text("Grüße aus Köln – 您好 🙂\u2028 and\x85more. "), Text("Two."), ToolCall("c", "f", '{"ä":"🙂"}')]


def test_every_byte_may_come_alone() -> None:
    assert parts_from(streaming(*(_SSE[at : at + 1] for at in range(len(_SSE))))) == _PARTS


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, len(_SSE) - 1), max_size=12, unique=True).map(sorted))
def test_any_split_of_the_same_bytes_gives_the_same_parts(cuts: list[int]) -> None:
    pieces = [_SSE[start:end] for start, end in zip([0, *cuts], [*cuts, len(_SSE)], strict=True)]
    assert parts_from(streaming(*pieces)) == _PARTS


# What goes wrong

NO_CREDITS = "Your team has either used all available credits or reached its monthly spending limit."


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"code": "Client specified an invalid argument", "error": "Bad field."}, VendorRefused, "Bad field."),
        (401, {"code": "Unauthenticated", "error": "No API key provided."}, VendorRefused, "No API key"),
        (
            403,
            {"code": "The caller does not have permission", "error": NO_CREDITS},
            VendorRefused,
            "all available credits",
        ),
        (
            404,
            {"error": {"message": "No such model", "type": "x", "code": None}},
            VendorRefused,
            "404: 'No such model'",
        ),
        (410, {"error": "Live search is deprecated"}, VendorRefused, "deprecated"),
        (422, b"Failed to deserialize the JSON body", VendorRefused, "Failed to deserialize"),
        (429, {"code": "Too many requests", "error": "Slow down."}, VendorUnavailable, "Slow down."),
        (429, {"code": "Exhausted", "error": NO_CREDITS}, VendorRefused, "spending limit"),
        (429, {"error": "You reached your monthly spending limit"}, VendorRefused, "spending limit"),
        (500, b"", VendorUnavailable, "500: ''"),
        (502, b"<html><h1>Bad Gateway</h1></html>", VendorUnavailable, "Bad Gateway"),
        (503, {"error": None}, VendorUnavailable, "503"),
        (503, {"error": {"message": None}}, VendorUnavailable, "503"),
        (503, [1], VendorUnavailable, "503"),
        (529, b"\xff\xfe", VendorUnavailable, "529"),
    ],
)
def test_every_error_body_is_read(status: int, body: Any, kind: type[VendorError], words: str) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    response = b"HTTP/1.1 %d No\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(raw))
    with pytest.raises(kind) as caught:
        parts_from(answering(response + raw))
    assert caught.value.detail.startswith(f"{status}: ") and words in caught.value.detail
    accounts = status in (401, 403) or "spending limit" in words or "credits" in words
    assert getattr(caught.value, "account", False) == accounts, "whether it is every call's"
    assert caught.value.detail.isascii() and len(caught.value.detail) < 1000


def test_a_page_in_the_place_of_the_stream_is_unavailable() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
    with pytest.raises(VendorUnavailable, match="no text/event-stream but text/html"):
        parts_from(answering(page))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_because_the_callers_words_would_go_with_it(status: int) -> None:
    reached: list[bytes] = []
    with tcp_server(lambda connection: reached.append(connection.recv(65536))) as port:
        head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: http://127.0.0.1:{port}/v1\r\nContent-Length: 0\r\n\r\n"
        with pytest.raises(VendorRefused, match=f"{status}"):
            parts_from(answering(head.encode()))
    assert reached == []


def test_a_bad_key_refuses(sandbox: Sandbox) -> None:
    with pytest.raises(VendorRefused, match="403.*Incorrect API key"):
        list(model_at(sandbox, key="wrong").stream(request()))


@pytest.mark.parametrize(
    "body",
    [
        {"error": "The model is overloaded."},
        {"error": {"message": "The model is overloaded."}},
        {"error": {"message": "The model is overloaded."}, "choices": []},
        {"code": "x", "error": "The model is overloaded.", "choices": None},
    ],
)
def test_an_error_in_the_middle_of_the_stream_breaks_off(body: dict[str, Any]) -> None:
    parts: list[Text | ToolCall | Usage] = []
    with tcp_server(streaming(says("One "), b"data: " + orjson.dumps(body) + b"\n\n", DONE)) as port:
        with pytest.raises(VendorUnavailable, match="broke off.*The model is overloaded"):
            parts.extend(LanguageModel(f"http://127.0.0.1:{port}/v1", "key", 1).stream(request()))
    assert parts == [Text("One ")]


def test_a_reset_in_the_middle_is_unavailable_after_what_came(sandbox: Sandbox) -> None:
    sandbox.xai.faults.append(faults.ResetAfter(2))
    parts = []
    with pytest.raises(VendorUnavailable):
        for part in model_at(sandbox).stream(request()):
            parts.append(part)
    assert parts == [Text("Hello,"), Text(" this")]


@pytest.mark.parametrize("end", [b"", b"5\r\nab", b"zz\r\n"])
def test_a_body_that_is_cut_off_is_unavailable(end: bytes) -> None:
    with pytest.raises(VendorUnavailable):
        parts_from(streaming(says("One "), end=end))


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\ncut",
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        HEAD.replace(b"Transfer-Encoding: chunked", b"Content-Encoding: gzip\r\nContent-Length: 4") + b"abcd",
    ],
)
def test_an_answer_that_breaks_or_makes_no_sense_is_unavailable(response: bytes) -> None:
    with pytest.raises(VendorUnavailable):
        parts_from(answering(response))


def test_a_reset_instead_of_the_body_of_an_error_is_unavailable() -> None:
    def serve(connection: socket.socket) -> None:
        answering(b"HTTP/1.1 503 No\r\nContent-Length: 100\r\n\r\n")(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with pytest.raises(VendorUnavailable):
        parts_from(serve)


def silent(connection: socket.socket) -> None:
    read_request(connection)
    connection.recv(1)


def half(connection: socket.socket) -> None:
    streaming(says("One "), end=b"")(connection)
    connection.recv(1)


@pytest.mark.parametrize("serve", [silent, half])
def test_silence_is_unavailable(serve: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "READ_TIMEOUT_S", 0.05)
    with pytest.raises(VendorUnavailable, match="(?i)timed out|timeout"):
        parts_from(serve)


def test_nobody_at_the_address_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(VendorUnavailable):
            list(LanguageModel(f"http://127.0.0.1:{unused.getsockname()[1]}/v1", "key", 1).stream(request()))


@pytest.mark.parametrize("fault", [faults.NeverAnswer(), faults.StallAfter(0), faults.StallAfter(3)])
def test_to_kill_the_greenlet_closes_the_connection(sandbox: Sandbox, fault: object) -> None:
    sandbox.xai.faults.append(fault)
    model = model_at(sandbox)
    reader = gevent.spawn(lambda: list(model.stream(request())))
    wanted = fault.tokens if isinstance(fault, faults.StallAfter) else 0
    until(lambda: sandbox.xai.requests and sandbox.xai.requests[0].tokens_sent == wanted, "a request that stalls")
    reader.kill()
    until(lambda: sandbox.xai.requests[0].cancelled, "the client's departure")
    assert not sandbox.xai.requests[0].finished
    assert text_of(list(model.stream(request()))).startswith("Hello"), "the next request suffers from it"
