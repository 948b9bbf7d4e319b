"""What the model is told of each tool."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from config.tools import TOOLS, WebhookTool
from tests.tools.desk import DESK, SCHEMA
from voice.tools.definitions import definitions

AGENT = replace(DESK, webhooks={"find_appointment": WebhookTool("Finds it.", "https://x.example", parameters=SCHEMA)})


def parameters(name: str) -> dict[str, Any]:
    (only,) = (each["function"]["parameters"] for each in definitions(AGENT) if each["function"]["name"] == name)
    assert isinstance(only, dict)
    return only


def test_every_tool_is_told_of_as_the_service_wants_it() -> None:
    told = definitions(AGENT)
    assert [each["function"]["name"] for each in told] == [*TOOLS, "find_appointment"]
    for each in told:
        assert each["type"] == "function" and each["function"]["description"]
        Draft202012Validator.check_schema(each["function"]["parameters"])


def test_the_order_is_that_of_the_file_and_the_same_every_time() -> None:
    turned = replace(AGENT, tools=tuple(reversed(TOOLS)))
    assert [each["function"]["name"] for each in definitions(turned)][:5] == list(reversed(TOOLS))
    assert orjson.dumps(definitions(AGENT)) == orjson.dumps(definitions(AGENT))


def test_a_transfer_goes_to_a_name_and_never_to_a_number() -> None:
    schema = parameters("transfer_call")
    assert schema["properties"]["to"]["enum"] == ["desk", "nurse"] and schema["required"] == ["to", "summary"]
    assert "nurse: the nurse" in schema["properties"]["to"]["description"]
    assert "+1555" not in str(definitions(AGENT))


def test_a_summary_is_asked_for_only_when_somebody_hears_it() -> None:
    cold = replace(AGENT.transfer, to={"nurse": AGENT.transfer.to["nurse"]})
    (told,) = definitions(replace(AGENT, tools=("transfer_call",), transfer=cold, webhooks={}))
    assert list(told["function"]["parameters"]["properties"]) == ["to"]


def test_what_is_keyed_in_secretly_has_a_placeholder() -> None:
    (told,) = definitions(replace(AGENT, tools=("ask_for_digits",), webhooks={}))
    assert told["function"]["parameters"]["properties"]["name"]["enum"] == ["pin", "room"]
    assert "{{pin}}" in told["function"]["description"] and "{{room}}" not in told["function"]["description"]


@pytest.mark.parametrize(
    ("name", "arguments", "good"),
    [
        ("hang_up", {}, True),
        ("send_digits", {"digits": "12w*#AD"}, True),
        ("send_digits", {"digits": ""}, False),
        ("send_digits", {"digits": "1" * 33}, False),
        ("send_digits", {"digits": "1 2"}, False),
        ("send_sms", {"text": "x" * 1600}, True),
        ("send_sms", {"text": "x" * 1601}, False),
        ("send_sms", {"text": "x", "to": "+15550000000"}, False),
        ("ask_for_digits", {"name": "pin"}, True),
        ("ask_for_digits", {"name": "card"}, False),
        ("transfer_call", {"to": "nurse", "summary": "A question."}, True),
        ("transfer_call", {"to": "+15550000000", "summary": "A question."}, False),
        ("find_appointment", {"id": "7"}, True),
    ],
)
def test_arguments(name: str, arguments: dict[str, object], good: bool) -> None:
    assert Draft202012Validator(parameters(name)).is_valid(arguments) is good
