"""What phone and stand-ins saw of one call of the load test, as plain values. All times are `time.monotonic()`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from voice.sandbox.bench_caller import Caller
from voice.sandbox.bench_script import Part, asker, question, sentences
from voice.sandbox.demo_script import text_of
from voice.sandbox.elevenlabs_context import Context
from voice.sandbox.openai_session import Session
from voice.sandbox.stand_ins import Sandbox
from voice.sandbox.xai import Asked


@dataclass(frozen=True)
class PhoneSide:
    sent: bytes
    """Every byte of caller audio, in order."""
    sent_at: Sequence[float]
    """Of each 20 ms frame of it."""
    spoke_at: Sequence[tuple[float, float]]
    """First and last frame of each question: just before they went out."""
    media_at: Sequence[float]
    clears_at: Sequence[float]
    heard: Sequence[str]
    """The agent's sentences, as far as they were played."""
    complaints: Sequence[str]
    """Twilio's warnings and errors."""
    late_ms: float = 0.0


@dataclass(frozen=True)
class Final:
    """One utterance, as the transcriber had it."""

    text: str
    committed_at: float
    sent_at: float


@dataclass(frozen=True)
class Request:
    """One request to the language model."""

    asked_at: float
    sent_at: Sequence[float]
    """Each event of the answer."""
    caller_said: Sequence[str]
    agent_said: Sequence[str]


@dataclass(frozen=True)
class Speech:
    """One context of the synthesizer."""

    text: str
    text_at: float | None
    audio_at: float | None


@dataclass(frozen=True)
class Observed:
    part: Part
    completed: int
    failure: str
    phone: PhoneSide
    sessions: int
    """How many transcription sessions had this caller's words; one is right. The same for `sockets`."""
    received: bytes
    """The audio of the first of them."""
    speech_started_at: Sequence[float]
    """When the transcriber told that the caller speaks, where it is the one who hears it."""
    finals: Sequence[Final]
    requests: Sequence[Request]
    sockets: int
    speeches: Sequence[Speech]


def observe(callers: Iterable[Caller], sandbox: Sandbox) -> list[Observed]:
    return [_observe(caller, sandbox) for caller in callers]


def _observe(caller: Caller, sandbox: Sandbox) -> Observed:
    part, phone = caller.part, caller.phone
    turns = range(1, len(part.interrupts) + 1)
    questions = {question(part.caller, turn) for turn in turns}
    answers = {sentences(part.caller, turn)[0] for turn in turns}
    sessions = [s for s in sandbox.openai.sessions if not questions.isdisjoint(s.finals)]
    sockets = [s for s in sandbox.elevenlabs.sockets if any(t.strip() in answers for c in s.contexts for t in c.texts)]
    asked = [a for a in sandbox.xai.requests if _asked_for(a, part.caller, phone.call_sid)]
    return Observed(
        part=part,
        completed=caller.completed,
        failure=caller.failure,
        phone=_phone_side(caller),
        sessions=len(sessions),
        received=sessions[0].audio if sessions else b"",
        speech_started_at=[at for session in sessions for at in session.speech_started_at],
        finals=[final for session in sessions for final in _finals(session)],
        requests=[_request(one) for one in asked],
        sockets=len(sockets),
        speeches=[_speech(context) for socket in sockets for context in socket.contexts],
    )


def _phone_side(caller: Caller) -> PhoneSide:
    phone, journal = caller.phone, caller.phone.journal
    began, ended = journal.all("utterance-began"), journal.all("utterance-ended")
    return PhoneSide(
        sent=bytes(phone.sent),
        sent_at=phone.sent_at,
        spoke_at=[(first.at, last.at) for first, last in zip(began, ended, strict=False)],
        media_at=[entry.at for entry in journal.all("media")],
        clears_at=[entry.at for entry in journal.all("clear")],
        heard=[utterance.text.strip() for utterance in phone.heard],
        complaints=[f"{notice.code} {notice.text}" for notice in (*phone.warnings, *phone.errors)],
        late_ms=phone.late_ms,
    )


def _finals(session: Session) -> list[Final]:
    # A commit whose transcript never went out is the last one: they go out in order.
    rows = zip(session.finals, session.committed_at, session.finals_at, strict=False)
    return [Final(text, committed_at, sent_at) for text, committed_at, sent_at in rows]


def _asked_for(asked: Asked, caller: int, call_sid: str) -> bool:
    """Who tells the call's name is believed; of others the latest message tells it."""
    named = asked.headers.get("x-grok-conv-id")
    if named is not None or not isinstance(asked.body, dict):
        return named == call_sid
    return asker(text_of(asked.body["messages"][-1])) == caller


def _request(asked: Asked) -> Request:
    messages = asked.body["messages"] if isinstance(asked.body, dict) else []
    said = {role: [text_of(m) for m in messages if m["role"] == role] for role in ("user", "assistant")}
    return Request(asked.asked_at, asked.sent_at, said["user"], said["assistant"])


def _speech(context: Context) -> Speech:
    return Speech(context.text, context.first_text_at, context.first_audio_at)
