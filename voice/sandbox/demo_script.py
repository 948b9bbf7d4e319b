"""The demo: what its callers say, and the receptionist of the Riverside Clinic who answers them by keywords."""

import re
from collections.abc import Iterable, Iterator, Sequence
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
    "When is my appointment?",
    "Please text me the address.",
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
    arguments: dict[str, object] | str = field(default_factory=dict)
    """A text goes out as it is, JSON or not."""
    unasked: bool = False
    """Made although the request does not offer it."""


@dataclass(frozen=True)
class Answer:
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    """Only those that the request offers are made."""


_DAY = re.compile(r"\b(monday|tuesday|wednesday|thursday|friday)\b")
_APPOINTMENT = re.compile(r"\b([A-Z][a-z]+day) at ten in the morning\b")
_HOURS = "We are open Monday to Friday, from nine in the morning until six in the evening."
_CLOSED = "We are closed at the weekend. On Monday we open at nine in the morning."
_ADDRESS = "The Riverside Clinic is at twelve Mill Lane, right beside the river."
_WHICH_DAY = "Of course. Which day would suit you, Monday to Friday?"
_NO_APPOINTMENT = "I have no appointment for you yet. Which day would suit you, Monday to Friday?"
_PATIENT_NUMBER = "at ten in the morning. Please key in your patient number."
_TEXTING = "Of course."
_MESSAGE = "Riverside Clinic: 12 Mill Lane, right beside the river. Monday to Friday, 9 to 6."
_HUMAN = "One moment, please. I am putting you through."
_FAREWELL = "Thank you for calling the Riverside Clinic. Goodbye."


def receptionist(messages: Sequence[Message]) -> Answer:
    """The answer to the last message; knows what was said before only by its own words in `messages`."""
    last = messages[-1]
    if last["role"] == "tool":
        return Answer(_after_tool(text_of(last)))
    said = text_of(last)
    words = said.lower()
    if re.search(r"\b(goodbye|bye|that is all|that's all|hang up)\b", words):
        return Answer(_FAREWELL, (ToolCall("hang_up"),))
    if re.search(r"\b(human|person|somebody|someone|operator|nurse|doctor)\b", words):
        return Answer(_HUMAN, (ToolCall("transfer_call", {"to": "front_desk", "summary": _summary(messages)}),))
    if re.search(r"\b(text|message|sms)\b", words):
        return Answer(_TEXTING, (ToolCall("send_sms", {"text": _MESSAGE}),))
    facts = _facts(words)
    return Answer(facts) if facts else _booking(messages, words) or Answer(_small_talk(words) or _lost(said))


def text_of(message: Message) -> str:
    """The words of one message, whose content is a string or a list of parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def appointment(agent_said: Iterable[str]) -> str | None:
    """The day that the receptionist has named last for an appointment."""
    days = [day for text in agent_said for day in _APPOINTMENT.findall(text)]
    return days[-1] if days else None


def _after_tool(result: str) -> str:
    if "error" in result:
        return "I am sorry, that did not work. Is there anything else I can do for you?"
    return "It is done. Is there anything else?"


def _summary(messages: Sequence[Message]) -> str:
    day = appointment(_own_words(messages))
    return "The caller wants to speak to a human." + (f" There is an appointment on {day} at ten." if day else "")


def _booking(messages: Sequence[Message], words: str) -> Answer | None:
    """Which day, then the patient number, which completes it."""
    known, wished = appointment(_own_words(messages)), _DAY.search(words)
    if "[keypad" in words:
        booked = f"I have booked you for {known} at ten in the morning."
        return Answer(f"Thank you. {booked if known else 'Is there anything else?'}")
    if re.search(r"\bwhen\b.*\bappointment\b", words):
        return Answer(f"Your appointment is on {known} at ten in the morning." if known else _NO_APPOINTMENT)
    if wished:
        asked = ToolCall("ask_for_digits", {"name": "patient_number"})
        return Answer(f"{wished[1].capitalize()} {_PATIENT_NUMBER}", (asked,))
    return Answer(_WHICH_DAY) if re.search(r"\b(appointment|book|booking)\b", words) else None


def _own_words(messages: Sequence[Message]) -> Iterator[str]:
    return (text_of(message) for message in messages if message["role"] == "assistant")


def _lost(said: str) -> str:
    return f"I am sorry, I can only help with appointments. You said: {said}"


def _facts(words: str) -> str | None:
    if re.search(r"\b(saturday|sunday)\b", words):
        return _CLOSED
    if re.search(r"\b(hours|open|opening)\b", words):
        return _HOURS
    if re.search(r"\b(where|address|located|location)\b", words):
        return _ADDRESS
    return None


def _small_talk(words: str) -> str | None:
    if re.search(r"\b(no thank you|no thanks)\b", words):
        return "Very well. Have a good day."
    if re.search(r"\bthank", words):
        return "You are welcome. Is there anything else?"
    if re.search(r"\b(hello|hi|good morning|good afternoon)\b", words):
        return "Hello, this is the Riverside Clinic. How can I help you?"
    if re.search(r"\byes\b", words):
        return "What would you like to know?"
    return None
