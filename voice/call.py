"""One phone call, from the accepted socket to the hang-up: an inbox, a greenlet for each peer, and the call greenlet.

The call greenlet takes one event at a time out of the inbox, asks the Conversation what to do and does it. It alone
writes to Twilio's and ElevenLabs' sockets. Every other greenlet does one blocking job and reports to the inbox.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import gevent
from gevent.event import Event as Flag
from gevent.queue import Empty, Queue

from config.agents import Agent
from voice import registry, tools
from voice.call_log import CallLog
from voice.core import events as ev
from voice.core.conversation import Conversation, Rules
from voice.core.endpointing import Endpointing, Speech
from voice.errors import CallerStreamError, CallRefused, VendorError, VendorUnavailable
from voice.reply import reply
from voice.wires.caller import Caller, Digit, Mark, Media, Started, Stopped, StreamClosed
from voice.wires.language_model import LanguageModel, Request
from voice.wires.synthesizer import KEEP_ALIVE_S, Synthesizer
from voice.wires.telephone import Telephone
from voice.wires.transcriber import Transcriber
from voice.wires.vendor_socket import CONNECT_TIMEOUT_S

STREAM_END_WAIT_S = 5.0
"""After telling Twilio to end or redirect the call it closes the stream itself; if not, we do."""

_log = logging.getLogger("voice.call")


@dataclass(frozen=True)
class Services:
    """What all calls of a worker share, and how a call gets sockets of its own."""

    agents: Mapping[str, Agent]
    default_agent: str
    language_model: LanguageModel
    default_model: str
    telephone: Telephone
    call_log_dir: Path
    new_transcriber: Callable[[str], Transcriber]
    """Takes the name that stands in the log."""
    new_synthesizer: Callable[[Agent], Synthesizer]


@dataclass(frozen=True)
class Admission:
    """Who calls whom, and which agent answers: what the signed webhook said of this call."""

    agent: str
    caller_number: str
    called_number: str


class Call:
    def __init__(self, caller: Caller, connection: registry.Connection, services: Services) -> None:
        self._caller = caller
        self._connection = connection
        self._services = services
        self._name = connection.client_id
        self._inbox: Queue[ev.Event] = Queue()
        self._greenlets: list[gevent.Greenlet] = []
        self._caller_reader: gevent.Greenlet | None = None
        self._replies: dict[int, gevent.Greenlet] = {}
        # Set when `start` has told which agent answers: until then no vendor can be configured.
        self._agent_known = Flag()
        self._agent = services.agents[services.default_agent]
        self._conversation: Conversation | None = None
        self._endpointing: Endpointing | None = None
        self._log: CallLog | None = None
        self._end: ev.EndCall | None = None
        self._born = time.monotonic()
        # A transcriber that cannot be written to is reported once, and spared from then on.
        self._deaf = False
        self._transcriber = services.new_transcriber(self._name)
        self._synthesizer = services.new_synthesizer(self._agent)
        self._listen_to_registry()

    def _listen_to_registry(self) -> None:
        connection = self._connection
        connection.caller, connection.transcriber = self._caller, self._transcriber
        connection.synthesizer = self._synthesizer
        connection.request_end = lambda reason: self._report(ev.EndRequested(reason))
        connection.greenlets = lambda: [*self._greenlets, *self._replies.values()]

    def run(self, admit: Callable[[Started], Admission]) -> None:
        """The whole call, on the greenlet that accepted the socket. `admit` raises CallRefused for a call that may not be."""
        greenlet = gevent.getcurrent()
        greenlet.name = f"{self._name} call"
        self._connection.kill = lambda: greenlet.kill(block=False)
        refusal = ""
        try:
            self._spawn("transcript-reader", self._read_transcriber)
            reader = self._spawn("speech-reader", self._read_synthesizer)
            started = self._caller.wait_for_start()
            self._start(started, admit(started), reader)
            greenlet.name = f"{self._name} call"
            self._converse()
        except (CallRefused, CallerStreamError, StreamClosed) as error:
            refusal = str(error)
        finally:
            self._close(refusal)

    # The start

    def _start(self, started: Started, admission: Admission, speech_reader: gevent.Greenlet) -> None:
        agent = self._services.agents.get(admission.agent)
        if agent is None:
            raise CallRefused(f"no agent {ascii(admission.agent)}")
        self._name = started.call_sid
        rules = Rules(agent.greeting, agent.apology, agent.turn_taking.barge_in, agent.limits.max_duration_s)  # type: ignore[arg-type]
        self._conversation = Conversation(rules)
        session = registry.CallSession(
            started.call_sid,
            started.stream_sid,
            agent,
            admission.caller_number,
            admission.called_number,
            self._connection,
            self._conversation,
        )
        registry.start(session)
        self._use_agent(agent, speech_reader)
        self._log = CallLog(self._services.call_log_dir, _head(session), rules)
        _log.info("%s: started as %s on %s", self._name, agent.name, self._connection.client_id)

    def _use_agent(self, agent: Agent, speech_reader: gevent.Greenlet) -> None:
        """The sockets were opened for the default agent; another voice needs another socket."""
        first, self._agent = self._agent, agent
        if (agent.voice, agent.language) != (first.voice, first.language):
            speech_reader.kill(block=False)
            self._synthesizer.shutdown()
            self._synthesizer = self._connection.synthesizer = self._services.new_synthesizer(agent)
            self._spawn("speech-reader", self._read_synthesizer)
        if not self._transcriber.detects_speech:
            self._endpointing = Endpointing(agent.turn_taking.silence_ms)
        for greenlet in self._greenlets:
            greenlet.name = f"{self._name} {greenlet.name.split()[-1]}"
        self._agent_known.set()

    # The greenlets, one blocking job each

    def _spawn(self, job: str, run: Callable[[], None]) -> gevent.Greenlet:
        greenlet = gevent.spawn(run)
        greenlet.name = f"{self._name} {job}"
        self._greenlets.append(greenlet)
        return greenlet

    def _read_caller(self) -> None:
        try:
            for message in self._caller.messages():
                match message:
                    case Media():
                        self._hear(message.mulaw)
                    case Mark():
                        self._mark_returned(message.name)
                    case Digit():
                        self._report(ev.DigitPressed(message.digit))
                    case Stopped():
                        self._report(ev.CallerHungUp())
        except (StreamClosed, CallerStreamError) as error:
            self._report(ev.StreamLost(str(error)))
        except Exception:
            _log.exception("%s: the caller-reader failed", self._name)
            self._report(ev.StreamLost("an error of ours"))

    def _hear(self, mulaw: bytes) -> None:
        """One frame of the caller's audio. 50 times a second for each call: nothing here may be wasted."""
        change = self._endpointing.feed(mulaw) if self._endpointing else None
        if not self._deaf:
            try:
                self._transcriber.send_audio(mulaw)
                if change is Speech.STOPPED:
                    self._transcriber.commit()
            except VendorError as error:
                self._deaf = True
                self._report(ev.VendorFailed("transcriber", error.detail))
        if change is Speech.STARTED:
            self._report(ev.CallerStartedSpeaking())
        elif change is Speech.STOPPED and self._endpointing:
            self._report(ev.CallerStoppedSpeaking(self._endpointing.silence_ms))

    def _mark_returned(self, name: str) -> None:
        turn, _, position_ms = name.partition(":")
        if turn.isdecimal() and position_ms.isdecimal():
            self._report(ev.MarkReturned(int(turn), int(position_ms)))

    def _read_transcriber(self) -> None:
        transcriber = self._transcriber
        try:
            self._connect("transcriber", transcriber.connect)
            self._agent_known.wait()
            agent = self._agent
            for event in transcriber.events(agent.language, agent.keywords, agent.turn_taking.silence_ms):
                self._report(event)
        except VendorError as error:
            self._report(ev.VendorFailed("transcriber", error.detail))
        except Exception:
            _log.exception("%s: the transcript-reader failed", self._name)
            self._report(ev.VendorFailed("transcriber", "an error of ours"))

    def _read_synthesizer(self) -> None:
        synthesizer = self._synthesizer
        try:
            self._connect("synthesizer", synthesizer.connect)
            for event in synthesizer.events():
                self._report(event)
        except VendorError as error:
            self._report(ev.VendorFailed("synthesizer", error.detail))
        except Exception:
            _log.exception("%s: the speech-reader failed", self._name)
            self._report(ev.VendorFailed("synthesizer", "an error of ours"))

    def _connect(self, vendor: ev.Vendor, connect: Callable[[], None]) -> None:
        """Twice at most. One deadline around the whole of it: name, TCP, TLS and upgrade each have a clock of their own."""
        for last in (False, True):
            try:
                with gevent.Timeout(CONNECT_TIMEOUT_S, VendorUnavailable(vendor, "no connection within 3 s")):
                    connect()
                return
            except VendorUnavailable as error:
                if last:
                    raise
                _log.warning("%s: %s; once more", self._name, error)

    def _reply(self, turn: int, request: Request) -> None:
        try:
            reply(turn, request, self._services.language_model, self._report)
        except Exception:
            _log.exception("%s: reply %d failed", self._name, turn)
            self._report(ev.VendorFailed("language model", "an error of ours", turn))
        finally:
            self._replies.pop(turn, None)

    def _report(self, event: ev.Event) -> None:
        self._inbox.put(event)

    # The call greenlet

    def _converse(self) -> None:
        conversation = self._conversation
        assert conversation is not None
        self._caller_reader = self._spawn("caller-reader", self._read_caller)
        start = time.monotonic()
        self._report(ev.StreamStarted())
        while not conversation.ended:
            event = self._next_event(start, conversation.deadline)
            if event is None:
                self._keep_alive()
                continue
            now = time.monotonic() - start
            actions = conversation.handle(event, now)
            if self._log:
                self._log.write(event, actions, now)
            self._note(event)
            for action in actions:
                self._perform(action)

    def _next_event(self, start: float, deadline: float | None) -> ev.Event | None:
        """What happened next; DeadlinePassed when that is the deadline, None when nothing did for a while."""
        wait = KEEP_ALIVE_S if deadline is None else deadline - (time.monotonic() - start)
        try:
            event: ev.Event = self._inbox.get(timeout=min(max(wait, 0.0), KEEP_ALIVE_S))
            return event
        except Empty:
            return ev.DeadlinePassed() if wait <= KEEP_ALIVE_S and deadline is not None else None

    def _note(self, event: ev.Event) -> None:
        if not isinstance(event, ev.DeadlinePassed):
            self._connection.last_activity = time.monotonic()
        if isinstance(event, ev.VendorFailed):
            _log.warning("%s: %s failed: %s", self._name, event.vendor, event.detail)
        elif isinstance(event, ev.SynthesizerReady):
            self._perform_guarded(self._synthesizer.release)

    def _keep_alive(self) -> None:
        self._perform_guarded(self._synthesizer.keep_alive)

    def _perform(self, action: ev.Action) -> None:
        match action:
            case ev.StartReply():
                self._start_reply(action.turn)
            case ev.CancelReply():
                if greenlet := self._replies.pop(action.turn, None):
                    greenlet.kill(block=False)
            case ev.RecordTurn():
                _log.info("%s: %s", self._name, _turn_line(action))
            case ev.EndCall():
                self._end = action
            case _:
                self._perform_guarded(lambda: self._write(action))

    def _write(self, action: ev.Action) -> None:
        match action:
            case ev.Speak():
                self._synthesizer.speak(action.turn, action.text)
            case ev.FinishSpeech():
                self._synthesizer.finish(action.turn)
            case ev.CloseSpeech() | ev.StopSpeaking():
                self._synthesizer.close(action.turn)
            case ev.PlayAudio():
                self._caller.play(action.audio)
            case ev.SendMark():
                self._caller.mark(f"{action.turn}:{action.position_ms}")
            case ev.ClearPlayout():
                self._caller.clear()

    def _perform_guarded(self, write: Callable[[], None]) -> None:
        """A socket that cannot be written to is an event like any other."""
        try:
            write()
        except VendorError as error:
            self._report(ev.VendorFailed("synthesizer", error.detail))
        except StreamClosed as error:
            self._report(ev.StreamLost(str(error)))

    def _start_reply(self, turn: int) -> None:
        agent, conversation = self._agent, self._conversation
        assert conversation is not None
        request = Request(
            call_sid=self._name,
            model=agent.model or self._services.default_model,
            messages=[{"role": "system", "content": agent.instructions}, *conversation.transcript.messages()],
            tools=tools.schemas(agent.tools),
            temperature=agent.temperature,
            max_tokens=agent.max_tokens,
        )
        greenlet = gevent.spawn(self._reply, turn, request)
        greenlet.name = f"{self._name} reply-{turn}"
        self._replies[turn] = greenlet

    # The end

    def _close(self, refusal: str) -> None:
        """Whatever has happened, this is the only way out; every step is tried even if the one before it fails."""
        self._connection.state = registry.State.CLOSING
        end = self._end or ev.EndCall("failed", "refused" if refusal else "error")
        for greenlet in (*self._greenlets, *self._replies.values()):
            if greenlet is not self._caller_reader:
                greenlet.kill(block=False)
        self._transcriber.shutdown()
        self._synthesizer.shutdown()
        try:
            if self._conversation:
                self._hang_up(end)
        finally:
            self._caller.close(1008 if refusal else 1000, refusal[:100])
            if self._caller_reader:
                self._caller_reader.kill(block=False)
            if self._log:
                self._log.close()
            # A call that ended in words is not to be resumed; one whose stream broke is.
            registry.disconnect(self._connection, over=end.result != "lost" and self._end is not None)
            self._summarize(end, refusal)

    def _hang_up(self, end: ev.EndCall) -> None:
        """By REST before the stream is closed: Twilio takes the end of a stream for a reason to resume the call."""
        if end.reason in ("caller-hung-up", "stream-lost") or self._end is None:
            return
        try:
            if end.apologize:
                self._services.telephone.apologize(self._name, self._agent.apology)
            else:
                self._services.telephone.hang_up(self._name)
            # Twilio ends the stream itself now; to close it first could win the race against what we asked for.
            if self._caller_reader:
                self._caller_reader.join(timeout=STREAM_END_WAIT_S)
        except VendorError as error:
            _log.warning("%s: cannot be hung up by REST, closing its stream: %s", self._name, error)

    def _summarize(self, end: ev.EndCall, refusal: str) -> None:
        if refusal:
            _log.warning("%s: refused: %s", self._name, refusal)
            return
        _log.info(
            "%s: over, %s, %s, after %.1f s and %d turns; %d messages skipped, %d bytes of caller audio dropped",
            self._name,
            end.result,
            end.reason,
            time.monotonic() - self._born,
            self._conversation.turn if self._conversation else 0,
            sum(self._caller.skipped.values()),
            self._transcriber.dropped_bytes,
        )


def _head(session: registry.CallSession) -> dict[str, str]:
    return {
        "call_sid": session.call_sid,
        "stream_sid": session.stream_sid,
        "client_id": session.connection.client_id,
        "agent": session.agent.name,
        "caller": session.caller_number,
        "called": session.called_number,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(session.started_at)),
    }


def _turn_line(turn: ev.RecordTurn) -> str:
    """The latencies of a turn, each from the end of the caller's speech as it was decided; no words: those are private."""
    times = turn.times
    line = f"turn {turn.turn}{' cut' if turn.cut else ''}"
    if times.stopped is None:
        return line
    stages = ("transcript", "first_token", "first_audio", "heard")
    reached = [(stage, getattr(times, stage)) for stage in stages]
    return f"{line}: " + ", ".join(f"{s} {(at - times.stopped) * 1000:.0f} ms" for s, at in reached if at is not None)
