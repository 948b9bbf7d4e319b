"""The REST API: who gets in, what is refused with which code, and that nothing is dialed then."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.web.served import Served
from tests.working import API_TOKEN, Working

MOST_A_MINUTE = 3
DOORS = [
    ("POST", "/api/calls"),
    ("GET", "/api/calls"),
    ("GET", "/api/calls/CA" + "0" * 32),
    ("DELETE", "/api/calls/CA" + "0" * 32),
    ("POST", f"/api/calls/CA{'0' * 32}/hangup"),
    ("POST", f"/api/calls/CA{'0' * 32}/transfer"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Working]:
    limits = {"OUTBOUND_PREFIXES": "+1", "OUTBOUND_PER_MINUTE": str(MOST_A_MINUTE)}
    with Working(tmp_path_factory.mktemp("api"), **limits) as working:
        yield working


@pytest.fixture
def working(server: Working) -> Iterator[Working]:
    server.forget()
    yield server
    assert [path for _, path, _ in server.running.sandbox.twilio.requests] == [], "Twilio was asked for something"


@pytest.mark.threat(5)
@pytest.mark.parametrize(("method", "path"), DOORS)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {API_TOKEN}",
        API_TOKEN,
        f"Bearer {API_TOKEN}x",
        "Bearer ü",
    ],
)
def test_nobody_gets_in_without_the_token(working: Working, method: str, path: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    answered = requests.request(method, working.running.server.url + path, headers=headers, json={}, timeout=5)
    assert answered.status_code == 401 and answered.json()["error"] == "unauthorized"


@pytest.mark.threat(5)
@pytest.mark.parametrize(("method", "path"), DOORS)
def test_without_a_token_of_its_own_the_server_lets_nobody_in(served: Served, method: str, path: str) -> None:
    for token in ("", "None", "null"):
        headers = {"Authorization": f"Bearer {token}"}
        assert requests.request(method, served.url + path, headers=headers, json={}, timeout=5).status_code == 401


NUMBER = "+15550007777"
REFUSED: dict[str, tuple[object, str]] = {
    "no JSON": ("text", "invalid_json"),
    "a list": ([], "invalid_json"),
    "nobody": ({}, "invalid_number"),
    "no plus": ({"to": "15550007777"}, "invalid_number"),
    "too short": ({"to": "+12"}, "invalid_number"),
    "too long": ({"to": "+1" + "5" * 30}, "invalid_number"),
    "letters": ({"to": "+1555CALLME"}, "invalid_number"),
    "another line": ({"to": NUMBER + "\n"}, "invalid_number"),
    "other digits": ({"to": "+१५५५०००७७७७"}, "invalid_number"),
    "SIP": ({"to": "sip:ann@example.com"}, "invalid_number"),
    "a list of numbers": ({"to": [NUMBER]}, "invalid_number"),
    "a number": ({"to": 15550007777}, "invalid_number"),
    "an agent that is not there": ({"to": NUMBER, "agent": "boss"}, "unknown_agent"),
    "a path": ({"to": NUMBER, "agent": "../working"}, "unknown_agent"),
    "no name": ({"to": NUMBER, "agent": 5}, "unknown_agent"),
    "a field too many": ({"to": NUMBER, "from": NUMBER}, "unknown_field"),
    "parameters that are none": ({"to": NUMBER, "parameters": "Ann"}, "invalid_parameters"),
    "a parameter too many": ({"to": NUMBER, "parameters": {"last_name": "Ann"}}, "unknown_parameter"),
    "a parameter that is no text": ({"to": NUMBER, "parameters": {"first_name": 5}}, "invalid_parameter"),
    "control characters": ({"to": NUMBER, "parameters": {"first_name": "Ann\u0007"}}, "invalid_parameter"),
    "a novel": ({"to": NUMBER, "parameters": {"first_name": "x" * 501}}, "invalid_parameter"),
}


@pytest.mark.parametrize(("body", "code"), REFUSED.values(), ids=REFUSED)
def test_a_call_that_cannot_be_placed_is_refused_with_a_code(working: Working, body: Any, code: str) -> None:
    answered = working.api("POST", "/api/calls", body)
    assert (answered.status_code, answered.json()["error"]) == (400, code)
    assert answered.json()["message"] and answered.headers["Content-Type"] == "application/json"


@pytest.mark.threat(5)
@pytest.mark.parametrize("number", ["+19005551234", "+8821234567", "+4915112345678"])
def test_numbers_that_are_not_allowed_are_not_called(working: Working, number: str) -> None:
    answered = working.api("POST", "/api/calls", {"to": number})
    assert (answered.status_code, answered.json()["error"]) == (403, "number_not_allowed")


def test_a_near_miss_is_named(working: Working) -> None:
    told = working.api("POST", "/api/calls", {"to": NUMBER, "agent": "workin"}).json()["message"]
    assert "did you mean" in told and "working" in told


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/calls?limit=0", 400, "invalid_limit"),
        ("/api/calls?limit=1000000", 400, "invalid_limit"),
        ("/api/calls?limit=ten", 400, "invalid_limit"),
        ("/api/calls?before=yesterday", 400, "invalid_before"),
        ("/api/calls?before=nan", 400, "invalid_before"),
        ("/api/calls?live=perhaps", 400, "invalid_live"),
        ("/api/calls/CA1", 404, "unknown_call"),
        ("/api/calls/CA" + "0" * 32, 404, "unknown_call"),
        ("/api/calls/CA' OR 1=1 --", 404, "unknown_call"),
    ],
)
def test_questions_that_have_no_answer(working: Working, path: str, status: int, code: str) -> None:
    answered = working.api("GET", path)
    assert (answered.status_code, answered.json().get("error")) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/", 404, "not_found"),
        ("GET", "/api/secrets", 404, "not_found"),
        ("PUT", "/api/calls", 405, "method_not_allowed"),
    ],
)
def test_what_is_no_door_is_told_in_json_too(working: Working, method: str, path: str, status: int, code: str) -> None:
    answered = working.api(method, path)
    assert (answered.status_code, answered.json()["error"]) == (status, code)


def test_an_empty_list_is_an_answer(working: Working) -> None:
    assert working.api("GET", "/api/calls?caller=%2B1000&live=true&agent=none&before=1").json() == {"calls": []}


@pytest.mark.parametrize("act", ["hangup", "transfer"])
def test_a_call_that_is_not_there_cannot_be_acted_on(working: Working, act: str) -> None:
    answered = working.api("POST", f"/api/calls/CA{'0' * 32}/{act}", {"to": "desk"})
    assert (answered.status_code, answered.json()["error"]) == (404, "unknown_call")


def test_a_call_that_is_not_there_cannot_be_deleted(working: Working) -> None:
    assert working.api("DELETE", "/api/calls/CA" + "0" * 32).json()["error"] == "unknown_call"


def test_a_body_too_large_is_refused(working: Working) -> None:
    answered = working.api("POST", "/api/calls", {"to": NUMBER, "parameters": {"first_name": "x" * 100_000}})
    assert (answered.status_code, answered.json()["error"]) == (413, "too_large")


@pytest.mark.threat(5)
def test_no_more_calls_than_the_limit(server: Working) -> None:
    server.forget()
    placed = [server.api("POST", "/api/calls", {"to": NUMBER}).status_code for _ in range(MOST_A_MINUTE + 1)]
    assert placed == [201] * MOST_A_MINUTE + [429]
