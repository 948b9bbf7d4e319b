"""What the demo's language model finds in a call that is over, by keywords in the record that it is shown."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from voice.sandbox.demo_script import Message, appointment, text_of


def report(messages: Sequence[Message], schema: dict[str, Any]) -> dict[str, Any]:
    """An object that fits the receptionist's `[after_call]`; whatever else it has is null."""
    lines = list(_lines(text_of(messages[-1])))
    said = " ".join(line["caller"] for line in lines if "caller" in line).lower()
    used = {line["tool"] for line in lines if "tool" in line}
    day = appointment(line["agent"] for line in lines if "agent" in line)
    wanted = [
        "asked for the opening hours" if "hours" in said else "",
        f"booked an appointment for {day}" if day else "",
        "was texted the address" if "send_sms" in used else "",
        "asked for a human, who did not answer" if "transfer_call" in used else "",
    ]
    known = {
        "summary": f"The caller {', '.join(filter(None, wanted)) or 'wanted nothing in particular'}.",
        "appointment_day": day,
        "asked_for_human": "transfer_call" in used,
    }
    return {name: known.get(name) for name in schema["properties"]}


def _lines(text: str) -> Iterator[dict[str, Any]]:
    """The record in the text: JSON objects, one a line, among other lines."""
    for line in text.split("\n"):
        if line.startswith("{"):
            yield json.loads(line)
