"""What happens in a call and what to do about it: events in, actions out. No socket, no clock, no greenlet, no chance.

Run by the call greenlet alone. Three parties act when they like (the caller, the transcriber, the reply), and
every rule about two of them acting at once is in this file. The agent has the floor while `_turn` is set.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from voice.core import events as ev
from voice.core.sentences import split
from voice.core.transcript import Transcript
from voice.core.turn import Turn
from voice.core.utterances import Utterances

TRANSCRIPT_WAIT_S = 3.0
"""A final transcript comes 0.7 to 1.7 s after the end of speech (measured on the live service); later is too late."""
SPEECH_WAIT_S = 5.0
"""A synthesizer that was given text and returns no sound for so long has failed."""
HANG_UP_TOOL = "hang_up"


@dataclass(frozen=True)
class Rules:
    """What of an agent the conversation needs to know; the first line of a call's log holds it."""

    greeting: str
    apology: str
    barge_in: Literal["on_speech", "off"] = "on_speech"
    max_duration_s: float = 1800


class Deadline(Enum):
    TRANSCRIPT = auto()
    REFILL = auto()
    MARK = auto()
    SPEECH = auto()
    DURATION = auto()


class Conversation:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.transcript = Transcript()
        self.caller_speaking = False
        self._utterances = Utterances()
        self._turn: Turn | None = None
        self._turns = 0
        # Set once the call is to end: at once, or when the turn that says so has been heard.
        self._ending: ev.EndCall | None = None
        self.ended = False
        self._deadlines: dict[Deadline, float] = {}
        self._speech_end: float | None = None
        self._stopped: float | None = None
        self._actions: list[ev.Action] = []
        self._now = 0.0

    def handle(self, event: ev.Event, now: float) -> list[ev.Action]:
        """The actions to perform, in order. `now` is in seconds since the call's start and never goes back."""
        if self.ended:
            return []
        self._now, self._actions = now, []
        self._dispatch(event)
        return self._actions

    @property
    def deadline(self) -> float | None:
        """When to hand in a DeadlinePassed, unless something happens before."""
        return None if self.ended else min(self._deadlines.values(), default=None)

    @property
    def floor(self) -> str:
        """Who may speak: caller, agent or nobody."""
        return "caller" if self.caller_speaking else "agent" if self._turn else "nobody"

    @property
    def turn(self) -> int:
        """The number of the latest turn; 0 before the greeting."""
        return self._turns

    def _dispatch(self, event: ev.Event) -> None:
        match event:
            case ev.StreamStarted():
                self._greet()
            case ev.CallerStartedSpeaking():
                self._caller_started()
            case ev.CallerStoppedSpeaking():
                self._caller_stopped(event.silence_ms)
            case ev.UtteranceCommitted():
                self._utterances.committed(event.item)
            case ev.TranscriptExtended():
                self._utterances.extended(event.item, event.text)
            case ev.TranscriptFinished():
                self._utterances.finished(event.item, event.text)
                self._answer()
            case ev.TranscriptFailed():
                self._utterances.failed(event.item)
                self._answer()
            case ev.MarkReturned() | ev.SpeechArrived() | ev.SpeechFinished():
                self._sound(event)
            case ev.ReplyStarted() | ev.SentenceReady() | ev.ToolCalled() | ev.ReplyFinished():
                self._reply(event)
            case ev.VendorFailed():
                self._vendor_failed(event)
            case ev.CallerHungUp():
                self._end("completed", "caller-hung-up")
            case ev.StreamLost():
                self._end("lost", "stream-lost")
            case ev.EndRequested():
                self._end("completed", event.reason)
            case ev.DeadlinePassed():
                self._deadline_passed()
            case ev.DigitPressed() | ev.TranscriberReady() | ev.SynthesizerReady():
                pass

    # The caller

    def _greet(self) -> None:
        self._deadlines[Deadline.DURATION] = self._now + self.rules.max_duration_s
        self._say(self.rules.greeting)

    def _caller_started(self) -> None:
        self.caller_speaking = True
        self._utterances.started()
        turn = self._turn
        # A turn that the caller has not begun to hear is given up for any word more: it would answer half a question.
        if turn and not turn.firm and (self.rules.barge_in == "on_speech" or not turn.playout.started):
            self._interrupt(turn)

    def _caller_stopped(self, silence_ms: int) -> None:
        self.caller_speaking = False
        self._utterances.stopped()
        self._stopped, self._speech_end = self._now, self._now - silence_ms / 1000
        self._deadlines[Deadline.TRANSCRIPT] = self._now + TRANSCRIPT_WAIT_S
        self._answer()

    def _answer(self) -> None:
        """Begin the agent's turn, if it is time: nobody has the floor and all the caller said is known."""
        if not self._utterances.awaited:
            self._deadlines.pop(Deadline.TRANSCRIPT, None)
        if self._turn or self.caller_speaking or not self._utterances.settled:
            return
        words = self._utterances.take()
        if not words:
            return
        self.transcript.caller_said(words)
        turn = self._open_turn(words)
        turn.times = ev.TurnTimes(speech_end=self._speech_end, stopped=self._stopped, transcript=self._now)
        self._do(ev.StartReply(turn.number))

    # The agent

    def _say(self, text: str, firm: bool = False) -> None:
        """A turn whose words are known already; a firm one is not stopped by the caller's speech."""
        turn = self._open_turn("")
        turn.reply_done, turn.firm = True, firm
        for sentence in split(text):
            self._speak(turn, sentence)
        self._do(ev.FinishSpeech(turn.number))

    def _open_turn(self, caller: str) -> Turn:
        self._turns += 1
        self._turn = Turn(self._turns, caller)
        return self._turn

    def _speak(self, turn: Turn, text: str) -> None:
        turn.say(text)
        self._deadlines.setdefault(Deadline.SPEECH, self._now + SPEECH_WAIT_S)
        self._do(ev.Speak(turn.number, text))

    def _reply(self, event: ev.ReplyStarted | ev.SentenceReady | ev.ToolCalled | ev.ReplyFinished) -> None:
        turn = self._current(event.turn)
        if not turn:
            return
        match event:
            case ev.ReplyStarted():
                turn.reached("first_token", self._now)
            case ev.SentenceReady():
                turn.reached("first_sentence", self._now)
                self._speak(turn, event.text)
            case ev.ToolCalled() if event.name == HANG_UP_TOOL:
                self._ending = ev.EndCall("completed", "agent-hung-up")
            case ev.ReplyFinished() if not turn.said and not self._ending:
                self._vendor_failed(ev.VendorFailed("language model", "it answered nothing", turn.number))
            case ev.ReplyFinished():
                turn.reply_done = True
                self._finish_speech(turn)

    def _finish_speech(self, turn: Turn) -> None:
        if turn.said:
            self._do(ev.FinishSpeech(turn.number))
            if turn.spoken:
                self._close_speech(turn)
        self._advance(turn)

    def _close_speech(self, turn: Turn) -> None:
        turn.closed = True
        self._do(ev.CloseSpeech(turn.number))

    # The sound of the agent

    def _sound(self, event: ev.MarkReturned | ev.SpeechArrived | ev.SpeechFinished) -> None:
        turn = self._current(event.turn)
        if not turn:
            return
        match event:
            case ev.SpeechArrived():
                turn.reached("first_audio", self._now)
                self._deadlines.pop(Deadline.SPEECH, None)
                turn.playout.add(event.audio, event.alignment)
                # Let go only when sound has come after the last text: earlier, the service may drop that text.
                if turn.reply_done and not turn.closed:
                    self._close_speech(turn)
            case ev.SpeechFinished():
                turn.speech_done = True
            case ev.MarkReturned():
                self._first_heard(turn, event.position_ms)
                turn.playout.mark_returned(event.position_ms, self._now)
        self._advance(turn)

    def _first_heard(self, turn: Turn, position_ms: int) -> None:
        turn.reached("heard", self._now - position_ms / 1000)

    def _advance(self, turn: Turn) -> None:
        """Hand over what is due, and close the turn when all of it has been heard."""
        for audio, position_ms in turn.playout.take(self._now):
            self._do(ev.PlayAudio(turn.number, audio))
            self._do(ev.SendMark(turn.number, position_ms))
        # A refill that is due and took nothing waits for a mark: the caller's side is behind the clock.
        refill_at = turn.playout.refill_at
        self._set(Deadline.REFILL, refill_at if refill_at is not None and refill_at > self._now else None)
        self._set(Deadline.MARK, turn.playout.overdue_at)
        if turn.over:
            self._close_turn(turn)
        elif turn.said and turn.playout.over:
            self._deadlines.setdefault(Deadline.SPEECH, self._now + SPEECH_WAIT_S)

    def _interrupt(self, turn: Turn) -> None:
        """The turn is taken from the agent: stop everything of it; only what was heard of it was said."""
        if not turn.reply_done:
            self._do(ev.CancelReply(turn.number))
        if turn.said and not turn.speech_done:
            self._do(ev.StopSpeaking(turn.number))
        if turn.playout.started:
            self._do(ev.ClearPlayout())
        self._ending = None
        self._record(turn, turn.playout.heard_text(self._now, turn.said), cut=True)

    def _close_turn(self, turn: Turn) -> None:
        """All of the turn was heard."""
        self._record(turn, turn.said, cut=False)
        if self._ending:
            self._end(self._ending.result, self._ending.reason)
        else:
            # Words that came while the agent spoke and did not stop it.
            self._answer()

    def _record(self, turn: Turn, heard: str, cut: bool) -> None:
        self._turn = None
        for deadline in (Deadline.REFILL, Deadline.MARK, Deadline.SPEECH):
            self._deadlines.pop(deadline, None)
        self.transcript.agent_said(heard, cut)
        self._do(ev.RecordTurn(turn.number, turn.caller, heard, cut, turn.times))

    # Trouble and the end

    def _vendor_failed(self, event: ev.VendorFailed) -> None:
        turn = self._turn
        if event.turn and (not turn or turn.number != event.turn):
            return
        reason = f"{event.vendor.replace(' ', '-')}-failed"
        if event.vendor == "synthesizer":
            self._end("failed", reason, apologize=True)
            return
        if turn and turn.firm:  # the apology is under way
            return
        if turn:
            self._interrupt(turn)
        self._ending = ev.EndCall("failed", reason)
        self._say(self.rules.apology, firm=True)

    def _deadline_passed(self) -> None:
        for deadline in [d for d, at in self._deadlines.items() if at <= self._now]:
            if not self.ended and self._deadlines.pop(deadline, None) is not None:
                self._late()[deadline]()

    def _late(self) -> dict[Deadline, Callable[[], None]]:
        return {
            Deadline.TRANSCRIPT: self._transcript_late,
            Deadline.REFILL: self._refill,
            Deadline.MARK: self._mark_late,
            Deadline.SPEECH: self._speech_late,
            Deadline.DURATION: lambda: self._end("completed", "time-limit"),
        }

    def _transcript_late(self) -> None:
        self._utterances.give_up()
        self._answer()

    def _speech_late(self) -> None:
        """No sound for text that was handed over: fatal at the start of a turn, the end of it later on."""
        if self._turn and self._turn.playout.started:
            self._turn.speech_done = True
            self._advance(self._turn)
        else:
            self._end("failed", "synthesizer-silent", apologize=True)

    def _refill(self) -> None:
        if self._turn:
            self._advance(self._turn)

    def _mark_late(self) -> None:
        if self._turn:
            self._turn.playout.assume_heard(self._now)
            self._advance(self._turn)

    def _end(self, result: ev.Result, reason: str, apologize: bool = False) -> None:
        if turn := self._turn:
            self._record(turn, turn.playout.heard_text(self._now, turn.said), cut=True)
        self.ended = True
        self._do(ev.EndCall(result, reason, apologize))

    # Helpers

    def _current(self, turn: int) -> Turn | None:
        """The turn under way, if that is its number: whatever still comes for an older one is refused here."""
        return self._turn if self._turn and self._turn.number == turn else None

    def _set(self, deadline: Deadline, at: float | None) -> None:
        if at is None:
            self._deadlines.pop(deadline, None)
        else:
            self._deadlines[deadline] = at

    def _do(self, action: ev.Action) -> None:
        self._actions.append(action)
