"""What is sent to the operator's server and what the model is told; and that no argument changes where it goes."""

import socket
import time
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.tools import WebhookTool
from tests.tools.desk import CALL, Host, answer, serving
from tests.wires.peers import read_request, tcp_server
from voice.tools import webhook
from voice.tools.webhook import ArgumentRefused


def told(host: Host, arguments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    with serving(host):
        result = orjson.loads(webhook.run("find", host.tool(**changes), arguments, CALL, "call_1"))
    assert isinstance(result, dict)
    return result


def placed(url: str, arguments: dict[str, Any], method: str = "GET") -> str:
    tool = WebhookTool("Finds it.", url, method)
    return webhook.request(tool, arguments, CALL, "call_1").url


def test_a_post_has_its_arguments_as_json_and_the_answer_is_told() -> None:
    host = Host()
    assert told(host, {"id": "7", "day": "Monday ☀"}) == {"status": 200, "body": {"found": True}}
    assert host.head[0] == "POST /v1/find HTTP/1.1" and orjson.loads(host.body) == {"id": "7", "day": "Monday ☀"}
    assert "Content-Type: application/json" in host.head and "Accept: application/json" in host.head


@pytest.mark.matrix(78)
def test_the_request_says_which_call_it_is_and_which_tool_call() -> None:
    host = Host()
    told(host, {"id": "7"}, headers={"Authorization": "Bearer abc", "accept": "text/plain"})
    assert f"X-Voice-Call: {CALL}" in host.head and f"Idempotency-Key: {CALL}-call_1" in host.head
    assert "Authorization: Bearer abc" in host.head
    assert [line for line in host.head if line.lower().startswith("accept:")] == ["accept: text/plain"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_get_and_delete_have_theirs_in_the_query(method: str) -> None:
    host = Host()
    told(host, {"id": "a&b=c", "n": 2.5, "yes": True, "day": None, "all": ["x", "y"]}, method=method)
    assert host.head[0] == f"{method} /v1/find?id=a%26b%3Dc&n=2.5&yes=true&all=x&all=y HTTP/1.1"
    assert host.body == b"" and not any(line.startswith("Content-") for line in host.head)


def test_what_stands_in_the_address_is_sent_nowhere_else() -> None:
    host = Host()
    with serving(host):
        url = f"http://127.0.0.1:{host.port}/v1/{{id}}/at?day={{day}}"
        arguments = {"id": "Ä 7?#%", "day": "1&x=2", "note": "n"}
        webhook.run("find", host.tool(url=url, method="PUT"), arguments, CALL, "call_1")
    assert host.head[0] == "PUT /v1/%C3%84%207%3F%23%25/at?day=1%26x%3D2 HTTP/1.1"
    assert orjson.loads(host.body) == {"note": "n"}


def test_a_query_that_is_there_is_added_to() -> None:
    assert placed("https://x.example/a?v=1", {"id": 7}) == "https://x.example/a?v=1&id=7"
    assert placed("https://x.example", {"id": 7}) == "https://x.example?id=7"
    assert placed("https://x.example/a?v={id}", {"id": 7}) == "https://x.example/a?v=7"


@pytest.mark.threat(9)
@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "../x", "a\\b", "a\nb", "a\x00b", "/"])
def test_a_value_that_would_leave_its_place_in_the_path(value: str) -> None:
    with pytest.raises(ArgumentRefused, match="id cannot be"):
        placed("https://x.example/a/{id}/b", {"id": value})
    assert placed("https://x.example/a?b={id}", {"id": value}).startswith("https://x.example/a?b=")


def test_two_values_are_no_step_upwards_either() -> None:
    with pytest.raises(ArgumentRefused):
        placed("https://x.example/{a}{b}/c", {"a": ".", "b": "."})
    assert placed("https://x.example/a.{b}", {"b": "."}) == "https://x.example/a.."


def test_a_refused_value_is_told_and_nothing_is_sent() -> None:
    host = Host()
    assert "cannot be only dots" in told(host, {"id": ".."}, url="http://127.0.0.1:9/{id}")["error"]
    assert host.seen == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[1, 2]", [1, 2]),
        (b"It is open.", "It is open."),
        (b'{"broken": ', '{"broken": '),
        (b"NaN", "NaN"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 500 + b"]" * 500, "[" * 500 + "]" * 500),
    ],
)
def test_the_body_is_json_or_text(body: bytes, said: object) -> None:
    assert told(Host(answer(body)), {}) == {"status": 200, "body": said}


def test_a_status_is_told_whatever_it_is() -> None:
    assert told(Host(answer(b'{"reason": "full"}', "409 Conflict")), {}) == {"status": 409, "body": {"reason": "full"}}
    assert told(Host(answer(b"<h1>Oops", "500 Internal")), {}) == {"status": 500, "body": "<h1>Oops"}


@pytest.mark.threat(9)
def test_a_redirect_is_an_error() -> None:
    result = told(Host(answer(b"", "307 Temporary", "Location: http://169.254.169.254/")), {})
    assert result == {"status": 307, "error": "it points to another address, which is not followed"}


@pytest.mark.threat(8)
def test_an_answer_that_is_compressed_is_not_unpacked() -> None:
    assert "compressed" in told(Host(answer(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip")), {})["error"]


@pytest.mark.threat(8)
@pytest.mark.parametrize(
    ("body", "note"),
    [
        (b"x" * 4001, "only the first 4000 characters of 4001 characters"),
        (b'{"a": "' + b"x" * 5000 + b'"}', "only the first 4000 characters of 5009 characters"),
        (b"x" * 70_000, "only the first 4000 characters of more than 65536 bytes"),
    ],
)
def test_a_long_answer_is_cut_and_says_so(body: bytes, note: str) -> None:
    result = told(Host(answer(body)), {})
    assert result == {"status": 200, "body": body[:4000].decode(), "note": note}


def test_4000_characters_are_not_cut() -> None:
    assert told(Host(answer(b"x" * 4000)), {}) == {"status": 200, "body": "x" * 4000}


@pytest.mark.matrix(77, 78)
@pytest.mark.parametrize(("method", "doubt"), [("POST", True), ("DELETE", True), ("GET", False)])
def test_no_answer_is_told_once_and_the_request_is_not_made_again(method: str, doubt: bool) -> None:
    asked = []

    def serve(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        connection.recv(1)

    with tcp_server(serve) as port:
        tool = WebhookTool("Finds it.", f"http://127.0.0.1:{port}/", method, timeout_s=0.2)
        began = time.monotonic()
        result = orjson.loads(webhook.run("find", tool, {}, CALL, "call_1"))
        assert time.monotonic() - began < 0.4
    assert result["error"].startswith("there was no complete answer within 0.2 seconds")
    assert ("is not known" in result["error"]) is doubt and len(asked) == 1


@pytest.mark.threat(10)
def test_what_is_sent_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    told(Host(), {"id": "4711"}, method="GET", headers={"Authorization": "Bearer hush"})
    told(Host(b"nonsense 4711\r\n"), {"id": "4711"}, method="GET", headers={"Authorization": "Bearer hush"})
    assert "webhook find: 200" in caplog.text and "no HTTP" in caplog.text
    assert "4711" not in caplog.text and "hush" not in caplog.text and "127.0.0.1" not in caplog.text


# What a caller can make a model say: anything.
NASTY = st.sampled_from(
    [
        "@evil.example",
        "#",
        "?",
        "..",
        "/..",
        "%2e%2e",
        "%2F",
        "\r\nX-Evil: 1",
        "{id}",
        "{{pin}}",
        "evil.example:1",
        "//",
    ]
)
VALUES = st.one_of(
    NASTY, st.text(max_size=12), st.lists(NASTY, max_size=3).map("".join), st.integers(-(2**63), 2**63 - 1), st.floats()
)


@pytest.fixture(scope="module")
def host() -> Any:
    with serving(Host()) as host:
        yield host


@pytest.mark.threat(7, 9)
@settings(max_examples=150, deadline=None)
@given(first=VALUES, second=VALUES, other=VALUES, method=st.sampled_from(["GET", "POST", "DELETE"]))
def test_no_argument_changes_host_path_or_headers(host: Host, first: Any, second: Any, other: Any, method: str) -> None:
    host.seen.clear()
    tool = host.tool(url=f"http://127.0.0.1:{host.port}/v1/{{a}}/x-{{b}}/end?q={{a}}", method=method)
    result = orjson.loads(webhook.run("find", tool, {"a": first, "b": second, "c": other}, CALL, "call_1"))
    if "error" in result:
        assert "cannot be" in result["error"] and not host.seen
        return
    target = host.head[0].split(" ")[1]
    path, _, query = target.partition("?")
    # As a server sees it that decodes the path before it splits it.
    assert unquote(path).split("/") == ["", "v1", str(first), f"x-{second}", "end"]
    assert query.split("&")[0].removeprefix("q=").isascii() and query.count("&") <= 1
    names = sorted(line.partition(":")[0] for line in host.head[1:])
    body = [] if method in ("GET", "DELETE") else ["Content-Length", "Content-Type"]
    assert names == sorted(["Accept", "Accept-Encoding", "Host", "Idempotency-Key", "X-Voice-Call", *body])
    assert f"Host: 127.0.0.1:{host.port}" in host.head
