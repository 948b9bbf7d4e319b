"""What Twilio does for one call: fetches TwiML and runs it, verb by verb, until the call is over.

Runs on the call's own greenlet. The caller and the REST API act from other greenlets: they leave word and nudge it.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import gevent
from gevent.event import Event

from voice.sandbox.call_plan import CallPlan, Document, standard_form
from voice.sandbox.callbacks import Callbacks
from voice.sandbox.documents import Documents
from voice.sandbox.journal import Journal
from voice.sandbox.line import End, Line
from voice.sandbox.mouth import Mouth
from voice.sandbox.playback import Playback
from voice.sandbox.stream_messages import StreamNames
from voice.sandbox.stream_socket import LineFault
from voice.sandbox.twiml import Connect, Dial, Hangup, Pause, Play, Redirect, Reject, Say, Stream, Unknown, Verb
from voice.sandbox.webhook import WebhookFailed, Webhooks


@dataclass(eq=False, repr=False)
class TwilioCall:
    plan: CallPlan
    web: Webhooks
    mouth: Mouth
    playback: Playback
    journal: Journal
    sent: bytearray | None
    state: str = "queued"
    reason: str = ""
    """Why the call is over."""
    # Words of `<Say>`, numbers of `<Dial>`, streams that opened: each in order.
    said: list[str] = field(default_factory=list)
    dialed: list[str] = field(default_factory=list)
    # What those who were dialed heard before they were connected.
    whispered: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    # Where in the caller's timeline each stream began, and how much had been sent by then.
    line_starts: list[tuple[int, int]] = field(default_factory=list)
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended_at: datetime | None = None
    over: Event = field(default_factory=Event)
    _handshakes: int = 0
    _ending: tuple[str, str] | None = None
    _replacement: Document | None = None
    _nudge: Event = field(default_factory=Event)
    _timer: gevent.Greenlet = field(default_factory=gevent.Greenlet)
    _documents: Documents = field(init=False)
    _callbacks: Callbacks = field(init=False)

    def __post_init__(self) -> None:
        setup = self.plan.setup
        has_fallback = setup.fallback_url is not None or setup.fallback_twiml is not None
        fallback = Document(setup.fallback_url or "", twiml=setup.fallback_twiml) if has_fallback else None
        self._documents = Documents(self.web, self.journal, fallback)
        self._callbacks = Callbacks(self.plan, self.web, self.journal)

    # What others ask for

    def end(self, state: str, reason: str) -> None:
        """The call is to end; an open stream ends now. The first reason counts."""
        self._ending = self._ending or (state, reason)
        self._interrupt()

    def complete(self) -> None:
        self.end("completed", "ended by the REST API")

    def replace_document(self, *, twiml: str | None, url: str | None, method: str) -> None:
        """Run this instead of what is running; an open stream ends now."""
        self._replacement = Document(url or "", method, twiml)
        self._interrupt()

    def limit(self, seconds: int) -> bool:
        """End the call when it has lasted so long, whatever limit it had; False when it already has."""
        left = seconds - (datetime.now(UTC) - self.began_at).total_seconds()
        if left > 0:
            self._timer.kill(block=False)
            self._timer = gevent.spawn_later(left, self.end, "completed", "time limit")
        return left > 0

    @property
    def from_number(self) -> str:
        return self.plan.from_number

    @property
    def to_number(self) -> str:
        return self.plan.to_number

    @property
    def direction(self) -> str:
        return self.plan.setup.direction

    # The call, in order

    def run(self) -> None:
        setup = self.plan.setup
        try:
            self._ring()
            if setup.outcome != "answered":
                self.end(setup.outcome, f"nobody answered: {setup.outcome}")
                return
            verbs = self._document(Document(setup.voice_url, setup.voice_method, setup.twiml))
            if not (verbs and isinstance(verbs[0], Reject)):
                self._answer()
            while verbs and self._ending is None:
                verbs = self._next(verbs)
            self.end("completed", "the end of the TwiML")
        except WebhookFailed as failure:
            self.journal.fault(failure.code, failure.text)
            self.end("completed" if self.state == "in-progress" else "failed", str(failure))
        finally:
            self._close()

    def _ring(self) -> None:
        if self.plan.setup.direction != "inbound":
            self._callbacks.status("initiated", "initiated")
        self.state = "ringing"
        self._callbacks.status("ringing", self.state)
        if self.plan.setup.time_limit_s is not None:
            self.limit(self.plan.setup.time_limit_s)

    def _answer(self) -> None:
        self.state = "in-progress"
        self.journal.add("call", "answered")
        self._callbacks.status("answered", self.state)
        self._callbacks.answering_machine(self.state)

    def _close(self) -> None:
        self.state, self.reason = self._ending or ("failed", "the phone itself failed")
        self.ended_at = datetime.now(UTC)
        self.mouth.shut()
        self._timer.kill(block=False)
        self._interrupt()
        self._callbacks.wait()
        self._callbacks.status("completed", self.state, (self.ended_at - self.began_at).total_seconds())
        self._callbacks.wait()
        self.journal.add("call", "over", self.reason)
        self.over.set()
        self.journal.close()

    # Documents and verbs

    def _next(self, verbs: list[Verb]) -> list[Verb]:
        more = self._do(verbs[0])
        document, self._replacement = self._replacement, None
        if document is not None and self._ending is None:
            return self._document(document)
        return verbs[1:] if more is None else more

    def _do(self, verb: Verb) -> list[Verb] | None:
        """Run one verb. Returns the document that takes over, if one does."""
        match verb:
            case Say(text):
                self.said.append(text)
                self.journal.add("received", "say", text)
            case Pause(seconds):
                self._rest(seconds)
            case Connect():
                return self._connect(verb)
            case Redirect(url, method):
                return self._document(Document(url, method))
            case Dial():
                return self._dial(verb)
            case Hangup():
                self.end("completed", "<Hangup>")
            case Reject(reason):
                self.end("busy" if reason == "busy" else "no-answer", f"<Reject> {reason}")
            case Unknown(name):
                self.journal.warn(12200, f"unknown element <{name}>")
            case Play():
                pass  # its sound is not the server's
        return None

    def _document(self, document: Document, extra: dict[str, str] | None = None) -> list[Verb]:
        """Raises WebhookFailed."""
        return self._documents.load(document, standard_form(self.plan, self.state) | (extra or {}))

    def _dial(self, verb: Dial) -> list[Verb] | None:
        self.dialed.extend(verb.numbers)
        self.journal.add("received", "dial", " ".join(verb.numbers))
        if verb.whisper_url and self.plan.setup.dial_outcome in ("completed", "bridged"):
            self._whisper(verb.whisper_url)
        if self.plan.setup.dial_outcome == "bridged":
            self._rest(None)
        if verb.action is None or self._interrupted():
            return None
        outcome = {"DialCallStatus": self.plan.setup.dial_outcome, "DialCallSid": "CA" + secrets.token_hex(16)}
        return self._document(Document(verb.action, verb.method), outcome | {"DialCallDuration": "0"})

    def _whisper(self, url: str) -> None:
        """The leg to whoever was dialed is a call of its own."""
        leg = standard_form(self.plan, "in-progress") | {
            "CallSid": "CA" + secrets.token_hex(16),
            "ParentCallSid": self.plan.call_sid,
            "Direction": "outbound-dial",
        }
        verbs = self._documents.load(Document(url), leg)
        self.whispered += [verb.text for verb in verbs if isinstance(verb, Say)]

    # Streams

    def _connect(self, verb: Connect) -> list[Verb] | None:
        line = Line(
            StreamNames(self.plan.account_sid, self.plan.call_sid, "MZ" + secrets.token_hex(16)),
            self.mouth,
            self.playback,
            self.journal,
            self._nudge.set,
            self.sent,
            returns_marks=self.plan.setup.returns_marks,
        )
        try:
            self._open(line, verb.stream)
        except LineFault as fault:
            self.journal.fault(fault.code, fault.text)
            self._callbacks.stream(verb.stream, line.names, "stream-error", fault.text)
            self._hang_in_the_air()
        else:
            self._callbacks.stream(verb.stream, line.names, "stream-started")
            self._rest(None, lambda: line.end is not None)
            line.stop()
            self._callbacks.stream(verb.stream, line.names, "stream-stopped")
            if line.end in (End.BROKEN, End.DROPPED):
                self._hang_in_the_air()
        if verb.action is None or self._interrupted():
            return None
        return self._document(Document(verb.action, verb.method))

    def _hang_in_the_air(self) -> None:
        if not self.plan.setup.falls_through:
            self._rest(None)

    def _open(self, line: Line, stream: Stream) -> None:
        """Raises LineFault."""
        self._handshakes += 1
        if self._handshakes <= self.plan.setup.failing_handshakes:
            raise LineFault(31901, "no answer to the handshake, as was asked for")
        url = self._documents.stream_url(stream.url)
        line.open(self.web.address, url, self.web.headers(url, {}), stream.parameters)
        self.lines.append(line)
        self.line_starts.append((self.playback.position(time.monotonic()), len(self.sent or b"")))

    # Waiting

    def _interrupted(self) -> bool:
        return self._ending is not None or self._replacement is not None

    def _interrupt(self) -> None:
        if self.lines:
            self.lines[-1].stop()
        self._nudge.set()

    def _rest(self, seconds: float | None, until: Callable[[], bool] = lambda: False) -> None:
        """Wait until something happens to the call, or `until()`, or the time is up."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not (self._interrupted() or until()):
            if not self._nudge.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
                return
            self._nudge.clear()
