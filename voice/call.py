"""One phone call, from the accepted socket to the hang-up: an inbox, a greenlet for each peer, and the call greenlet.

The call greenlet takes one event at a time out of the inbox, asks the Conversation what to do and does it. It alone
writes to Twilio's and ElevenLabs' sockets. Every other greenlet does one blocking job and reports to the inbox.
"""

import logging
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import gevent
from gevent.event import AsyncResult
from gevent.queue import Empty, Queue

from config.agents import Agent
from voice import agent as agents
from voice import farewell, registry, supervision
from voice.bookkeeping import Bookkeeping, Models
from voice.call_log import CallLog
from voice.core import events as ev
from voice.core.conversation import Conversation
from voice.core.endpointing import Endpointing
from voice.core.sentences import split
from voice.core.variables import fill
from voice.errors import CallerStreamError, CallRefused, VendorError
from voice.readers import AnySynthesizer, Ear, read_caller, read_synthesizer, read_transcriber
from voice.recorder import Recorder
from voice.recovery import Earlier, recover
from voice.reply import Replies
from voice.sensitive import SensitiveDigits
from voice.services import Admission, Line, Name, Services
from voice.tools import Outcome, Toolbox
from voice.wires.caller import Caller, Started, StreamClosed
from voice.wires.language_model import Request
from voice.wires.speech_requests import SpeechRequests
from voice.wires.synthesizer import KEEP_ALIVE_S

_RETRY_PAUSE_S = (0.1, 0.3)
STREAM_END_WAIT_S = 5.0
"""Told to end or redirect a call, Twilio closes the stream itself within moments; if it does not, we do."""
KEPT_WITHIN_S = 1.0
"""So long waits a stream until its end stands in the records, when Twilio comes back for the call behind it."""

_log = logging.getLogger("voice.call")


class Call:
    def __init__(
        self, caller: Caller, connection: registry.Connection, services: Services, line: Line | None = None
    ) -> None:
        """`line` is what ends the call, Twilio's REST API unless it is something else."""
        self._caller = caller
        self._connection = connection
        self._services = services
        self._line = line or services.telephone
        self._name = Name(connection.client_id)
        self._born = time.monotonic()
        # Events of a synthesizer stand beside it: when another has taken its place by then, they are no news.
        inbox: Queue[tuple[AnySynthesizer | None, ev.Event]] = Queue()
        self._inbox = inbox
        # Whoever has this has the inbox and not the call: what holds each other is freed by the collector only.
        self._report: Callable[[ev.Event], None] = lambda event: inbox.put((None, event))
        # By job. Replies come and go, so they have a place of their own.
        self._greenlets: dict[str, gevent.Greenlet] = {}
        self._replies = Replies(services.language_model, self._report)
        self._endpointing: Endpointing | None = None
        # No vendor can be configured before `start` tells which agent answers; until then the default one is assumed.
        self._agent_known: "AsyncResult[Agent]" = AsyncResult()
        self._agent = services.agents[services.default_agent]
        self._variables: dict[str, str] = {}
        self._sensitive = SensitiveDigits()
        # What the call has from its start on.
        self._conversation: Conversation | None = None
        self._toolbox: Toolbox | None = None
        self._books: Bookkeeping | None = None
        self._recorder: Recorder | None = None
        # How the call ended, once it has.
        self._end: ev.EndCall | None = None
        # Twilio knows what becomes of the call.
        self._told = False
        self._transcriber = services.new_transcriber(self._name)
        self._synthesizer: AnySynthesizer = services.new_synthesizer(self._agent, self._agent.voice)

    def run(self, admit: Callable[[Started], Admission], early: bool) -> None:
        """The whole call, on the greenlet that accepted the socket. `admit` raises CallRefused; `early`: the vendors
        are connected before it is known whether it does."""
        this = gevent.getcurrent()
        self._register(this)
        refusal = ""
        try:
            if early:
                self._connect()
            started = self._caller.wait_for_start()
            admission = admit(started)
            if not early:
                self._connect()
            with registry.beginning(started.call_sid):
                conversation = self._start(started, admission)
            this.name = f"{self._name} call"
            self._converse(conversation)
        except (CallRefused, CallerStreamError, StreamClosed) as error:
            refusal = str(error)
        finally:
            self._close(refusal)

    def _connect(self) -> None:
        self._spawn("transcript-reader", read_transcriber, self._transcriber, self._agent_known, self._report)
        self._listen_to(self._synthesizer)

    def _report_caller(self, event: ev.Event) -> None:
        superseded = isinstance(event, ev.CallerHungUp) and self._connection.is_superseded
        self._report(ev.EndRequested("superseded") if superseded else event)

    # The start

    def _register(self, this: gevent.Greenlet) -> None:
        this.name = f"{self._name} call"
        connection = self._connection
        connection.caller, connection.transcriber = self._caller, self._transcriber
        connection.synthesizer = self._synthesizer
        connection.request_end = lambda reason: self._report(ev.EndRequested(reason))
        connection.request_transfer = lambda to: self._report(ev.TransferRequested(to))
        connection.request_drain = lambda within_s: self._report(ev.DrainRequested(within_s))
        connection.kill = lambda: this.kill(block=False)
        connection.greenlets = lambda: [this, *self._children()]

    def _start(self, started: Started, admission: Admission) -> Conversation:
        agent = self._services.agents.get(admission.agent)
        if agent is None:
            raise CallRefused(f"no agent {ascii(admission.agent)}")
        if admission.opening != "greeting":
            registry.make_way(started.call_sid)
        earlier = recover(self._services.records, self._services.owner, started.call_sid, admission)
        numbers = admission.caller_number, admission.called_number
        self._variables = agents.variables(agent, earlier.parameters, *numbers)
        opening = admission.opening
        if opening == "resumed" and agent.greeting and not earlier.past.greeted:
            # Who calls hears all of it: whom they talk to, and that they are recorded.
            opening = "greeting"
        conversation = Conversation(agents.rules(agent, self._variables, opening, earlier.seconds), earlier.past)
        session = registry.CallSession(
            started.call_sid,
            started.stream_sid,
            agent,
            *numbers,
            self._connection,
            conversation,
            direction="outbound" if earlier.meter.outbound else "inbound",
        )
        registry.start(session)
        self._name.text, self._conversation = started.call_sid, conversation
        self._use_agent(agent)
        self._equip(session, earlier)
        if admission.stir and admission.opening == "greeting":
            self._services.records.noted(started.call_sid, "caller-id", {"stir": admission.stir})
        _log.info(
            "%s: started as %s on %s%s",
            self._name,
            agent.name,
            self._connection.client_id,
            "" if admission.opening == "greeting" else f", {admission.opening.replace('_', ' ')}",
        )
        return conversation

    def _equip(self, session: registry.CallSession, earlier: Earlier) -> None:
        services = self._services
        log = CallLog(services.call_log_dir, _head(session), session.conversation.rules, earlier.past)
        models = Models(services.transcription_model, services.speech_model)
        if session.agent.recording:
            self._recorder = services.recordings.of(session.call_sid, session.agent.recording.keep_days)
        books = self._books = Bookkeeping(session, services.records, log, earlier, models)
        born, line = self._born, self._line
        self._connection.cost = lambda: books.cost_by_now(time.monotonic() - born, services.prices)

        def send_sms(to: str, text: str) -> None:
            line.send_sms(session.called_number, to, text)
            books.meter.add_sms()

        self._toolbox = Toolbox(
            session.agent, session.call_sid, session.caller_number, send_sms, self._sensitive.by_name, books.meter.sms
        )

    def _use_agent(self, agent: Agent) -> None:
        """The sockets were opened for the default agent: another voice needs another socket."""
        for job, greenlet in self._greenlets.items():
            greenlet.name = f"{self._name} {job}"
        assumed, self._agent = self._agent, agent
        if agents.voice(agent) != agents.voice(assumed):
            self._use_synthesizer(self._services.new_synthesizer(agent, agent.voice))
        self._agent_known.set(agent)

    def _change_synthesizer(self, to: ev.Synthesis) -> None:
        agent = self._agent
        voice = agent.voice if to == "anew" else agent.fallback_voice or agent.voice
        _log.info("%s: another synthesizer takes over, %s, voice %s", self._name, to, voice)
        if to == "by-request":
            self._use_synthesizer(SpeechRequests(self._services.clips, agents.voice(agent, voice)))
        else:
            self._use_synthesizer(self._services.new_synthesizer(agent, voice))

    def _use_synthesizer(self, synthesizer: AnySynthesizer) -> None:
        """Voice and language are fixed for a synthesizer's socket: a new one takes its place."""
        self._greenlets["speech-reader"].kill(block=False)
        self._synthesizer.shutdown()
        self._synthesizer = self._connection.synthesizer = synthesizer
        self._listen_to(synthesizer)

    def _listen_to(self, synthesizer: AnySynthesizer) -> None:
        def report(event: ev.Event) -> None:
            # What clips have said does not come this way.
            if isinstance(event, ev.SpeechFinished):
                self._services.breaker.works("synthesizer", self._born)
            self._inbox.put((synthesizer, event))

        self._spawn("speech-reader", read_synthesizer, synthesizer, report)

    def _spawn(self, job: str, run: Callable[..., None], *args: Any) -> None:
        greenlet = self._greenlets[job] = gevent.spawn(supervision.until_killed, run, self._name, *args)
        greenlet.name = f"{self._name} {job}"

    def _children(self) -> list[gevent.Greenlet]:
        return [*self._greenlets.values(), *self._replies.greenlets()]

    # The conversation

    def _converse(self, conversation: Conversation) -> None:
        if not self._transcriber.detects_speech:
            self._endpointing = Endpointing(self._agent.turn_taking.silence_ms)
        has_floor, recorder = lambda: conversation.floor == "agent", self._recorder
        ear = Ear(self._transcriber, self._endpointing, has_floor, self._report, recorder.hear if recorder else None)
        self._spawn("caller-reader", read_caller, self._caller, ear, self._sensitive, self._report_caller)
        start = time.monotonic()
        self._report(ev.StreamStarted())
        while not conversation.ended:
            event = self._next_event(start, conversation.deadline)
            if event is None:
                self._write(self._synthesizer.keep_alive)
                continue
            now = time.monotonic() - start
            actions = conversation.handle(event, now)
            if self._books:
                self._books.happened(event, actions, now)
            if recorder:
                recorder.happened(event, actions, now)
            self._note(event)
            for action in actions:
                self._perform(action, conversation)

    def _next_event(self, start: float, deadline: float | None) -> ev.Event | None:
        """What happened next; DeadlinePassed when the deadline did, None when nothing has for a while."""
        event: ev.Event
        while True:
            wait = KEEP_ALIVE_S if deadline is None else deadline - (time.monotonic() - start)
            try:
                source, event = self._inbox.get(timeout=min(max(wait, 0.0), KEEP_ALIVE_S))
            except Empty:
                return ev.DeadlinePassed() if deadline is not None and wait <= KEEP_ALIVE_S else None
            if source is None or source is self._synthesizer:
                return event

    def _note(self, event: ev.Event) -> None:
        """What of an event concerns the call itself and not the conversation."""
        if not isinstance(event, ev.DeadlinePassed):
            self._connection.last_activity = time.monotonic()
        breaker = self._services.breaker
        match event:
            case ev.SynthesizerReady():
                self._write(self._synthesizer.release)
            case ev.TranscriberReady():
                breaker.works("transcriber", self._born)
            case ev.ReplyStarted():
                breaker.works("language model", self._born)
            case ev.VendorFailed():
                _log.warning("%s: the %s failed: %s", self._name, event.vendor, event.detail)
                if event.account:
                    breaker.refused(event.vendor, event.detail)

    def _perform(self, action: ev.Action, conversation: Conversation) -> None:
        match action:
            case ev.PlayAudio():
                self._write(self._caller.play, action.audio)
            case ev.SendMark():
                self._write(self._caller.mark, f"{action.turn}:{action.position_ms}")
            case ev.ClearPlayout():
                self._write(self._caller.clear)
            case ev.Speak():
                self._speak(action.turn, action.text)
            case ev.SpeakKnown():
                self._speak_known(action.turn, action.text)
            case ev.FinishSpeech():
                self._write(self._synthesizer.finish, action.turn)
            case ev.CloseSpeech() | ev.StopSpeaking():
                self._write(self._synthesizer.close, action.turn)
            case ev.ChangeSynthesizer():
                self._change_synthesizer(action.to)
            case ev.WaitForSilence():
                if self._endpointing:
                    self._endpointing.silence_ms = action.silence_ms
            case ev.CommitUtterance():
                self._transcriber.commit_with_next_audio()
            case ev.StartReply():
                self._start_reply(action, conversation)
            case ev.CancelReply():
                tokens = self._replies.cancel(action.turn)
                if self._books:
                    self._books.broken_off(tokens)
            case ev.FlushReply():
                self._replies.flush(action.turn)
            case ev.RunTool():
                # Not ended with the call: what it does at the other side is done or not, and it has a time limit.
                gevent.spawn(self._run_tool, action).name = f"{self._name} tool-{action.name[:40]}"
            case ev.CollectDigits():
                self._sensitive.collect(action.name, action.sensitive, action.length)
            case ev.RecordTurn():
                _log.info("%s: %s", self._name, _turn_line(action))
            case ev.RecordDelay():
                _log.warning("%s: turn %d: %s late, %s", self._name, action.turn, action.stage, action.remedy)
            case ev.RecordWaste():
                _log.info("%s: turn %d: %d characters thrown away", self._name, action.turn, action.characters)
            case ev.EndCall():
                self._end = action

    def _write(self, write: Callable[..., None], *args: object) -> None:
        """A socket that cannot be written to is an event like any other."""
        try:
            write(*args)
        except VendorError as error:
            self._report(ev.VendorFailed("synthesizer", error.detail))
        except StreamClosed as error:
            self._report(ev.StreamLost(str(error)))

    def _speak(self, turn: int, text: str) -> None:
        if self._books:
            self._books.synthesized(len(text))
        self._write(self._synthesizer.speak, turn, text)

    def _speak_known(self, turn: int, text: str) -> None:
        voice = agents.voice(self._agent)
        if clip := self._services.clips.get(voice, text):
            self._report(ev.SpeechArrived(turn, clip.audio, clip.alignment))
            self._report(ev.SpeechFinished(turn))
            return
        for sentence in split(text):
            self._speak(turn, sentence)
        if text in agents.same_in_every_call(self._agent):
            # For the next call; on a greenlet of its own, which outlives this one.
            gevent.spawn(self._services.clips.fetch, voice, text)

    def _start_reply(self, action: ev.StartReply, conversation: Conversation) -> None:
        agent, services = self._agent, self._services
        model = agent.model or services.default_model
        if action.attempt > 1 and services.fallback_model:
            model = services.fallback_model
        if self._books:
            self._books.asked(action.turn, model)
        history = conversation.transcript.messages(action.caller)
        request = Request(
            call_sid=str(self._name),
            model=model,
            messages=[{"role": "system", "content": fill(agent.instructions, self._variables)}, *history],
            tools=self._toolbox.schemas() if self._toolbox and action.tools else (),
            temperature=agent.temperature,
            max_tokens=agent.max_tokens,
        )
        # A service that was too busy is not asked again in the same moment, and not by all calls in the same one.
        pause_s = random.uniform(*_RETRY_PAUSE_S) if action.attempt > 1 else 0.0
        self._replies.start(str(self._name), action.turn, request, agent.pronunciations, pause_s)

    def _run_tool(self, action: ev.RunTool) -> None:
        assert self._toolbox is not None
        began = time.monotonic()
        try:
            outcome = self._toolbox.run(action.call_id, action.name, action.arguments)
        except Exception:
            _log.exception("%s: the tool %s failed", self._name, ascii(action.name))
            outcome = Outcome('{"error": "the tool failed"}')
        _log.info("%s: turn %d: tool %s, %.1f s", self._name, action.turn, ascii(action.name), time.monotonic() - began)
        if outcome.audio:
            self._report(ev.SpeechArrived(action.turn, outcome.audio, ev.Alignment()))
        self._report(ev.ToolFinished(action.turn, action.call_id, outcome.result))

    # The end

    def _close(self, refusal: str) -> None:
        """Whatever has happened, this is the only way out; every step is tried even if the one before it failed."""
        self._connection.state = registry.State.CLOSING
        caller_reader = self._greenlets.get("caller-reader")
        for greenlet in self._children():
            if greenlet is not caller_reader:
                greenlet.kill(block=False)
        # Run in the opposite order, each whatever became of those before.
        with ExitStack() as steps:
            steps.callback(self._summarize, refusal)
            steps.callback(self._disconnect)
            if caller_reader:
                steps.callback(caller_reader.kill, block=False)
            steps.callback(self._caller.close, 1008 if refusal else 1000, refusal[:100])
            if caller_reader:
                steps.callback(self._await_stream_end, caller_reader)
            steps.callback(self._keep_end)
            if self._recorder:
                # Whoever is told of the end finds the recording whole.
                steps.callback(self._recorder.close)
            steps.callback(self._hang_up)
            steps.callback(self._synthesizer.shutdown)
            steps.callback(self._transcriber.shutdown)

    def _disconnect(self) -> None:
        # A call that was ended is not to be resumed; one whose stream broke, or whose greenlet failed, is.
        over = self._end is not None and self._end.result in ("completed", "failed") and not self._end.transfer_to
        registry.disconnect(self._connection, over)

    def _hang_up(self) -> None:
        end = self._end
        if end is None:
            return
        try:
            self._told = farewell.part(self._line, self._services.public_url, str(self._name), self._agent, end)
        except farewell.Gone:
            self._end = ev.EndCall("completed", "caller-hung-up")
        except VendorError as error:
            _log.warning("%s: %s by REST fails, closing its stream: %s", self._name, farewell.what(end), error)
            # Twilio asks how to go on, and is told the same then.
            self._connection.is_untold = True
            if end.result == "failed":
                self._end = replace(end, result="lost")

    def _await_stream_end(self, caller_reader: gevent.Greenlet) -> None:
        if self._told:
            # Twilio ends the stream itself now; closing it first could win the race against what we asked for.
            caller_reader.join(timeout=STREAM_END_WAIT_S)

    def _keep_end(self) -> None:
        if self._books is None:
            return
        # Without an end of its own it has failed on us: another stream may carry it on.
        end = self._end or ev.EndCall("lost", "error")
        self._books.ended(end, time.monotonic() - self._born, self._services.prices)
        if end.result == "handed-over" or end.transfer_to or self._connection.is_untold:
            # Twilio comes to any worker, and that one reads how the call was left: for the human who answers, or
            # as soon as the stream is closed.
            self._services.records.flush(KEPT_WITHIN_S)

    def _summarize(self, refusal: str) -> None:
        if refusal:
            _log.warning("%s: refused: %s", self._name, refusal)
            return
        end = self._end or ev.EndCall("lost", "error")
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
    """The first line of the call's log."""
    return {
        "call_sid": session.call_sid,
        "stream_sid": session.stream_sid,
        "client_id": session.connection.client_id,
        "agent": session.agent.name,
        "caller": session.caller_number,
        "called": session.called_number,
        "direction": session.direction,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(session.started_at)),
    }


def _turn_line(turn: ev.RecordTurn) -> str:
    """The stages of a turn, each from the decision that the caller had finished. No words: those are private."""
    times = turn.times
    line = f"turn {turn.turn}{' cut' if turn.cut else ''}"
    stages = ("transcript", "first_token", "first_audio", "heard")
    reached = [(stage, getattr(times, stage)) for stage in stages]
    if times.stopped is None or all(at is None for _, at in reached):
        return line
    return f"{line}: " + ", ".join(f"{s} {(at - times.stopped) * 1000:.0f} ms" for s, at in reached if at is not None)
