"""What can go wrong at a vendor. Put one into a stand-in's `faults`: the first occasion it fits consumes it."""

from collections.abc import MutableSequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

_Fault = TypeVar("_Fault")


def take(faults: MutableSequence[object], kind: type[_Fault]) -> _Fault | None:
    """Remove and return the oldest fault of this kind; None if there is none."""
    for index, fault in enumerate(faults):
        if isinstance(fault, kind):
            del faults[index]
            return fault
    return None


# Any vendor


@dataclass(frozen=True)
class RefuseUpgrade:
    """Answer the WebSocket handshake with this HTTP status."""

    status: int
    body: bytes = b'{"detail":"refused"}'


@dataclass(frozen=True)
class NeverAnswer:
    """Take the request and say nothing until the client leaves."""


# Transcriber

Moment = Literal["connect", "update", "append", "commit"]


@dataclass(frozen=True)
class DropAt:
    """Reset the TCP connection at this moment, without a close frame."""

    moment: Moment = "commit"


@dataclass(frozen=True)
class CloseAt:
    """Send a close frame at this moment."""

    moment: Moment
    code: int
    reason: str = ""


@dataclass(frozen=True)
class ErrorAfterUpdate:
    """Answer a good session.update with an error event; the session keeps its default configuration."""

    code: str
    kind: str = "invalid_request_error"
    message: str = "The update was refused."
    param: str | None = None
    """The field that is to blame, such as session.audio.input.transcription.keywords."""


@dataclass(frozen=True)
class NoFinal:
    """Commit, but never finish the transcript."""


@dataclass(frozen=True)
class LateFinal:
    """Finish the transcript this much later."""

    seconds: float


@dataclass(frozen=True)
class FailedFinal:
    """Send `failed` in the place of `completed`."""

    code: str = "transcription_failed"


@dataclass(frozen=True)
class BeforeFinal:
    """Send this text message just before the final transcript, whatever it is."""

    raw: str


# Language model; the first also for the synthesizer's requests


@dataclass(frozen=True)
class AnswerStatus:
    """Answer a request with this status and body."""

    status: int
    body: bytes = b'{"code":"The service is currently unavailable","error":"The model is overloaded."}'
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True)
class StallAfter:
    """Fall silent after so many tokens and keep the connection open."""

    tokens: int


@dataclass(frozen=True)
class ResetAfter:
    """Reset the TCP connection after so many tokens."""

    tokens: int


@dataclass(frozen=True)
class RawAfter:
    """Put these bytes into the event stream after so many tokens, then go on."""

    tokens: int
    raw: bytes


@dataclass(frozen=True)
class Trickle:
    """Answer with so many words and never end a sentence."""

    words: int


# Synthesizer


@dataclass(frozen=True)
class CloseMidContext:
    """Send an error message and close the socket after the first audio of a context."""

    code: int = 1008
    error: str = "something_went_wrong"
    message: str = "We are sorry, something went wrong. You are not charged for this request."


@dataclass(frozen=True)
class DropMidContext:
    """Reset the TCP connection after the first audio of a context."""


@dataclass(frozen=True)
class NoAudio:
    """Synthesize nothing for one context; it still ends when it is closed."""


@dataclass(frozen=True)
class FinalWithoutAudio:
    """End one context at its first flush, without audio and without being asked to close it."""


@dataclass(frozen=True)
class AudioForDeadContext:
    """Precede a context's first audio with audio for a context that nobody opened."""

    context_id: str = "nobody"


@dataclass(frozen=True)
class GarbageAudio:
    """Spell a context's first audio in something that is not base64."""


@dataclass(frozen=True)
class StallFirstAudio:
    """Let a context's first audio wait this much longer."""

    seconds: float


@dataclass(frozen=True)
class BeforeAudio:
    """Send this text message just before a context's first audio, whatever it is."""

    raw: str
