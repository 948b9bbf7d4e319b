"""The demo: what its callers say, and the receptionist of the Riverside Clinic who answers them by keywords."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]

CALLER_SENTENCES = (
    "Hello.",
    "What are your opening hours?",
    "Are you open on Saturday?",
    "Where are you located?",
    "What is your address?",
    "I would like to book an appointment.",
    "Monday please.",
    "Tuesday please.",
    "Wednesday please.",
    "Friday please.",
    "Can I speak to a human being?",
    "Yes please.",
    "No thank you.",
    "Thank you very much.",
    "That is all.",
    "Goodbye.",
)
"""What the ears of the demo understand, alone or two in a row."""


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    """Only those that the request offers are made."""


_DAY = re.compile(r"\b(monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b")
_HOURS = "We are open Monday to Friday, from nine in the morning until six in the evening."
_CLOSED = "We are closed at the weekend. On Monday we open at nine in the morning."
_ADDRESS = "The Riverside Clinic is at twelve Mill Lane, right beside the river."
_WHICH_DAY = "Of course. Which day would suit you, Monday to Friday?"
_HUMAN = "Of course. One moment, please, I am putting you through."
_FAREWELL = "Thank you for calling the Riverside Clinic. Goodbye."


def receptionist(messages: Sequence[Message]) -> Answer:
    """The answer to the last message; knows what was said before only by its own words in `messages`."""
    last = messages[-1]
    if last["role"] == "tool":
        return Answer("Is there anything else I can do for you?")
    said = text_of(last)
    words = said.lower()
    if re.search(r"\b(goodbye|bye|that is all|that's all|hang up)\b", words):
        return Answer(_FAREWELL, (ToolCall("hang_up"),))
    if re.search(r"\b(human|person|somebody|someone|operator|nurse|doctor)\b", words):
        return Answer(_HUMAN, (ToolCall("transfer", {"reason": "The caller asked for a human being."}),))
    return Answer(_small_talk(words) or f"I am sorry, I can only help with appointments. You said: {said}")


def text_of(message: Message) -> str:
    """The words of one message, whose content is a string or a list of parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def _small_talk(words: str) -> str | None:
    day = _DAY.search(words)
    if day and day[1] in ("saturday", "sunday"):
        return _CLOSED
    if re.search(r"\b(hours|open|opening)\b", words):
        return _HOURS
    if re.search(r"\b(where|address|located|location)\b", words):
        return _ADDRESS
    if day:
        return f"I have booked you for {day[1].capitalize()} at ten in the morning. Is there anything else?"
    if re.search(r"\b(appointment|book|booking)\b", words):
        return _WHICH_DAY
    return _politeness(words)


def _politeness(words: str) -> str | None:
    if re.search(r"\b(no thank you|no thanks)\b", words):
        return "Very well. Have a good day."
    if re.search(r"\bthank", words):
        return "You are welcome. Is there anything else?"
    if re.search(r"\b(hello|hi|good morning|good afternoon)\b", words):
        return "Hello, this is the Riverside Clinic. How can I help you?"
    if re.search(r"\byes\b", words):
        return "What would you like to know?"
    return None
