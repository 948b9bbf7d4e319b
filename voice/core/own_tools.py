"""The tools that the conversation performs itself: it ends the call, hands it on, or listens for keys.

A call of the model that is not as it should be is no such tool: it goes to the toolbox, which tells what is wrong.
"""

import json
from dataclasses import dataclass

from voice.core.events import EndCall, ToolCalled
from voice.core.rules import Digits, Rules

HANG_UP = "hang_up"
TRANSFER = "transfer_call"
ASK_FOR_DIGITS = "ask_for_digits"
_LONGEST_SUMMARY = 600


@dataclass(frozen=True)
class Ending:
    """The call is to end when the turn that says so has been heard."""

    call_id: str
    """Of the tool's call; it is in the transcript only for a transfer, from which the caller may come back."""
    end: EndCall


def ending(call: ToolCalled, rules: Rules) -> Ending | None:
    if call.name == HANG_UP:
        return Ending(call.call_id, EndCall("completed", "agent-hung-up"))
    arguments = _arguments(call.arguments)
    if call.name == TRANSFER and arguments.get("to") in rules.transfers:
        # JSON can hold half a character, which nobody could write down.
        written = str(arguments.get("summary") or "").encode("utf-8", "replace").decode()
        summary = " ".join(written.split())[:_LONGEST_SUMMARY]
        target = str(arguments["to"])
        return Ending(call.call_id, EndCall("transferred", "transferred", transfer_to=target, summary=summary))
    return None


def digits_wanted(call: ToolCalled, rules: Rules) -> Digits | None:
    if call.name != ASK_FOR_DIGITS:
        return None
    name = _arguments(call.arguments).get("name")
    return next((digits for digits in rules.digits if digits.name == name), None)


def _arguments(text: str) -> dict[str, object]:
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}
