"""Each tool as the language model is told of it (Grok's function calling), in the same order in every call.

The order matters: tools stand before the conversation, and a changed beginning is not in the vendor's prompt cache.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from config.agents import Agent
from config.tools import Digits, Target
from voice.core import own_tools

SEND_SMS = "send_sms"
SEND_DIGITS = "send_digits"

LONGEST_SMS = 1600
"""Characters; Twilio takes no more."""

Definition = dict[str, Any]


def definitions(agent: Agent) -> list[Definition]:
    """The agent's tools as its file names them, then its webhooks."""
    own = (_own(name, agent) for name in agent.tools)
    webhooks = (_tool(name, tool.description, tool.parameters) for name, tool in agent.webhooks.items())
    return [*own, *webhooks]


def _own(name: str, agent: Agent) -> Definition:
    match name:
        case own_tools.TRANSFER:
            return _transfer(agent.transfer.to)
        case "send_sms":
            return _send_sms()
        case "send_digits":
            return _send_digits()
        case own_tools.ASK_FOR_DIGITS:
            return _ask_for_digits(agent.digits)
        case _:
            return _hang_up()


def _hang_up() -> Definition:
    said = "End the phone call. Say goodbye in the same answer: the caller hears it first."
    return _tool(own_tools.HANG_UP, said, _object({}))


def _transfer(targets: Mapping[str, Target]) -> Definition:
    parameters: dict[str, Any] = {
        "to": {"type": "string", "enum": list(targets), "description": _listed(targets.items())},
    }
    if any(target.warm for target in targets.values()):
        parameters["summary"] = {
            "type": "string",
            "description": "One or two sentences for the human who takes the call: who calls, and what for.",
        }
    said = "Hand the caller over to a human. Say so in the same answer: the caller hears it first."
    return _tool(own_tools.TRANSFER, said, _object(parameters))


def _send_sms() -> Definition:
    text = {"type": "string", "minLength": 1, "maxLength": LONGEST_SMS, "description": "The whole message."}
    return _tool(SEND_SMS, "Send a text message to the caller's own number.", _object({"text": text}))


def _send_digits() -> Definition:
    digits = {
        "type": "string",
        "pattern": "^[0-9*#wA-D]{1,32}$",
        "description": "The keys in order; w is a pause of half a second.",
    }
    said = "Press telephone keys, as a menu of a machine at the other end asks for."
    return _tool(SEND_DIGITS, said, _object({"digits": digits}))


def _ask_for_digits(asked: Mapping[str, Digits]) -> Definition:
    name = {"type": "string", "enum": list(asked), "description": _listed(asked.items())}
    hidden = [each for each, digits in asked.items() if digits.sensitive]
    said = "Listen for keys that the caller presses. Ask for them in the same answer: the caller hears it first."
    if hidden:
        secret = ", ".join(f"{{{{{each}}}}}" for each in hidden)
        said += f" You do not get to see what was pressed; in the arguments of other tools, {secret} stands for it."
    return _tool(own_tools.ASK_FOR_DIGITS, said, _object({"name": name}))


def _listed(described: Iterable[tuple[str, Target | Digits]]) -> str:
    return "; ".join(f"{name}: {each.description}" for name, each in described)


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of arguments that are all required; with any others the model is told that they count for nothing."""
    if not properties:
        return {"type": "object", "properties": {}}
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _tool(name: str, description: str, parameters: Mapping[str, Any]) -> Definition:
    function = {"name": name, "description": description, "parameters": dict(parameters)}
    return {"type": "function", "function": function}
