"""The tools of one call: whatever the model calls it gets an answer, and it gets no further than the agent's file."""

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.tools import TOOLS
from tests.tools.desk import CALL, CALLER, DESK, Host, serving
from voice.errors import VendorUnavailable
from voice.tools import Outcome, Toolbox
from voice.tools.tones import tones

Sent = list[tuple[str, str]]


def told(outcome: Outcome) -> dict[str, Any]:
    result = orjson.loads(outcome.result)
    assert isinstance(result, dict)
    return result


def box(sent: Sent | None = None, caller: str = CALLER) -> Toolbox:
    note = (lambda to, text: sent.append((to, text))) if sent is not None else (lambda to, text: None)
    return Toolbox(DESK, CALL, caller, note, {})


def error(name: str, arguments: str, toolbox: Toolbox | None = None) -> dict[str, Any]:
    outcome = (toolbox or box()).run("call_1", name, arguments)
    assert outcome.audio is None and told(outcome)["error"]
    return told(outcome)


def test_the_model_is_told_of_all_that_can_be_done() -> None:
    assert [each["function"]["name"] for each in box().schemas()] == list(TOOLS)
    without = Toolbox(DESK, CALL, CALLER, None, {})
    assert "send_sms" not in [each["function"]["name"] for each in without.schemas()]
    assert "send_sms" not in error("send_sms", '{"text": "Hi"}', without)["tools"]


@pytest.mark.threat(7)
@pytest.mark.parametrize("name", ["transfer", "send_sms ", "", "__class__", "x" * 5000, "\r\n", "\x00"])
def test_a_tool_that_does_not_exist(name: str) -> None:
    result = error(name, "{}")
    assert result["tools"] == list(TOOLS) and len(result["error"]) < 500


def test_a_tool_that_is_not_the_agents() -> None:
    plain = Toolbox(replace(DESK, tools=("hang_up",)), CALL, CALLER, lambda to, text: None, {})
    assert error("send_sms", '{"text": "Hi"}', plain)["tools"] == ["hang_up"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "'text' is a required property"),
        ("{", "no JSON"),
        ("{'text': 'Hi'}", "no JSON"),
        ('{"text": NaN}', "no JSON"),
        ('{"text": "\\ud800"}', "no JSON"),
        ("[]", "no JSON object"),
        ("null", "no JSON object"),
        ('"Hi"', "no JSON object"),
        ('{"text": 5}', 'text: type has to be "string"'),
        ('{"text": ""}', "text: minLength has to be 1"),
        ('{"text": "' + "x" * 1601 + '"}', "text: maxLength has to be 1600"),
        ('{"text": "Hi", "to": "+19005550000"}', "'to' was unexpected"),
        ('{"text": "' + "x" * 20_000 + '"}', "too long; allowed: 16384"),
        ('{"text": ' + "[" * 600 + "]" * 600 + "}", "nested too deeply"),
        ("[" * 5000 + "]" * 5000, "no JSON"),
    ],
)
def test_arguments_that_are_broken(arguments: str, said: str) -> None:
    sent: Sent = []
    assert said in error("send_sms", arguments, box(sent))["error"] and not sent


@pytest.mark.threat(6)
@pytest.mark.parametrize("to", ["+15551234567", "Desk", "the front desk", "nobody", "", "desk\n", "*", ["desk"], None])
def test_a_transfer_to_anybody_else_is_refused(to: object) -> None:
    result = error("transfer_call", orjson.dumps({"to": to, "summary": "A question."}).decode())
    assert "to" in result["error"] and "+1555" not in str(result)
    assert result.get("allowed", ["desk", "nurse"]) == ["desk", "nurse"]


def test_who_is_allowed_is_told() -> None:
    assert error("transfer_call", '{"to": "chef", "summary": "Hungry."}')["allowed"] == ["desk", "nurse"]
    assert error("transfer_call", '{"to": "chef"}')["allowed"] == ["desk", "nurse"]
    assert error("ask_for_digits", '{"name": "card"}')["allowed"] == ["pin", "room"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("hang_up", "{}"),
        ("transfer_call", '{"to": "desk", "summary": "A question."}'),
        ("ask_for_digits", '{"name": "pin"}'),
    ],
)
def test_what_the_conversation_does_itself_is_not_done_here(name: str, arguments: str) -> None:
    assert error(name, arguments) == {"error": f"{name} cannot be done now"}


def test_keys_become_sound() -> None:
    outcome = box().run("call_1", "send_digits", '{"digits": "12w#"}')
    assert told(outcome) == {"sent": "12w#"} and outcome.audio == tones("12w#") and outcome.audio.payload
    assert told(box().run("call_1", "send_digits", '{"digits": "12\\n"}')) == {"sent": "12"}
    assert "digits: pattern" in error("send_digits", '{"digits": "12\\n\\n"}')["error"]


# Text messages


def test_a_message_goes_to_the_caller() -> None:
    sent: Sent = []
    outcome = box(sent).run("call_1", "send_sms", orjson.dumps({"text": " Mill\x00 Lane\r\n12\x1b[0m \x85"}).decode())
    assert told(outcome) == {"sent": True} and sent == [(CALLER, "Mill Lane\n12[0m")]


@pytest.mark.threat(7, 16)
def test_three_messages_and_no_more() -> None:
    sent: Sent = []
    toolbox = box(sent)
    for _ in range(3):
        assert told(toolbox.run("call_1", "send_sms", '{"text": "Hi"}')) == {"sent": True}
    assert "3 text messages" in error("send_sms", '{"text": "Hi"}', toolbox)["error"] and len(sent) == 3


@pytest.mark.parametrize(
    "caller", ["", "anonymous", "Restricted", "266696687", "+1555123456\n", "sip:a@b.example", "+0123456789"]
)
def test_a_caller_without_a_number_gets_no_message(caller: str) -> None:
    sent: Sent = []
    assert "withheld" in error("send_sms", '{"text": "Hi"}', box(sent, caller))["error"] and not sent


def test_a_message_of_nothing_is_not_sent() -> None:
    sent: Sent = []
    assert "no text" in error("send_sms", '{"text": " \\u0000 "}', box(sent))["error"] and not sent


def test_a_message_that_fails_is_told_and_counted() -> None:
    def fail(to: str, text: str) -> None:
        raise VendorUnavailable("telephone", f"21610: {to} has opted out")

    toolbox = Toolbox(DESK, CALL, CALLER, fail, {})
    for _ in range(3):
        result = error("send_sms", '{"text": "Hi"}', toolbox)
        assert result == {"error": "the text message could not be sent"}
    assert "3 text messages" in error("send_sms", '{"text": "Hi"}', toolbox)["error"]


# Webhooks

PRESSED = {"pin": "4711", "room": "12"}


def find(host: Host, arguments: dict[str, Any], secrets: dict[str, str], **changes: Any) -> dict[str, Any]:
    with serving(host):
        agent = replace(DESK, webhooks={"find": host.tool(**changes)})
        toolbox = Toolbox(agent, CALL, CALLER, None, secrets)
        return told(toolbox.run("call_1", "find", orjson.dumps(arguments).decode()))


def test_a_webhook_is_run() -> None:
    host = Host()
    assert find(host, {"id": "7"}, {}) == {"status": 200, "body": {"found": True}}
    assert orjson.loads(host.body) == {"id": "7"} and f"Idempotency-Key: {CALL}-call_1" in host.head


def test_a_webhooks_arguments_are_checked() -> None:
    host = Host()
    assert "'id' is a required property" in find(host, {}, {})["error"]
    assert "day: type" in find(host, {"id": "7", "day": 1}, {})["error"]
    assert not host.seen


def test_what_was_keyed_in_stands_for_its_name() -> None:
    host = Host()
    find(host, {"id": "room-{{room}}", "pin": "{{pin}}", "more": [{"deep": "{{pin}} {{other}}"}]}, PRESSED)
    sent = {"id": "room-12", "pin": "4711", "more": [{"deep": "4711 {{other}}"}]}
    assert orjson.loads(host.body) == sent


def test_what_was_not_keyed_in_is_asked_for() -> None:
    host = Host()
    assert "has not keyed in pin yet" in find(host, {"id": "7", "pin": "{{pin}}"}, {})["error"] and not host.seen


def test_what_was_keyed_in_later_is_known_too() -> None:
    host, secrets = Host(), dict[str, str]()
    with serving(host):
        toolbox = Toolbox(replace(DESK, webhooks={"find": host.tool()}), CALL, CALLER, None, secrets)
        secrets["pin"] = "4711"
        toolbox.run("call_1", "find", '{"id": "7", "pin": "{{pin}}"}')
    assert orjson.loads(host.body)["pin"] == "4711"


def test_what_was_keyed_in_is_told_to_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    host = Host()
    # Filled in it breaks the schema: the fault must not show it.
    result = find(host, {"id": "7", "pin": "x{{pin}}", "day": "{{pin}}"}, PRESSED)
    assert "pin: pattern has to be" in result["error"] and not host.seen
    find(Host(), {"id": "{{pin}}"}, PRESSED, url="http://127.0.0.1:9/{id}")
    sent: Sent = []
    box(sent).run("call_1", "send_sms", '{"text": "{{pin}}"}')
    assert "4711" not in caplog.text + str(result) + str(sent)


@pytest.mark.threat(9)
def test_the_file_alone_says_where_a_webhook_goes() -> None:
    host = Host()
    find(host, {"id": "7", "url": "http://127.0.0.1:9/", "headers": {"Host": "evil.example"}, "method": "GET"}, {})
    assert host.head[0] == "POST /v1/find HTTP/1.1" and f"Host: 127.0.0.1:{host.port}" in host.head


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["desk", "{{pin}}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["to", "text", "digits", "name", "id", "summary"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ARGUMENTS = st.one_of(st.text(max_size=30), JSON.map(json.dumps))


@pytest.mark.threat(7)
@settings(max_examples=150, deadline=None)
@given(name=st.one_of(st.text(max_size=10), st.sampled_from(TOOLS)), arguments=ARGUMENTS)
def test_whatever_the_model_calls_it_gets_an_answer(name: str, arguments: str) -> None:
    sent: Sent = []
    outcome = box(sent).run("call_1", name, arguments)
    assert told(outcome).keys() & {"error", "sent"}
    assert all(to == CALLER for to, _ in sent)
