"""What happens in a call and what to do about it: events in, actions out. No socket, no clock, no greenlet, no chance.

Run by the call greenlet alone. Two sides take note of what happens, the caller's (Listening) and the agent's
(Delivery); after every event `_decide` looks at both. Each rule about who may speak stands there, once.
"""

from voice.core import events as ev
from voice.core.agenda import Agenda, Deadline
from voice.core.delivery import GOODBYE_WAIT_S, Delivery
from voice.core.keypad import Keypad
from voice.core.listening import DEAF_WAIT_S, Listening
from voice.core.rules import Rules
from voice.core.transcript import Past, Transcript
from voice.core.turn import Turn
from voice.core.words import bare

WORDS_WAIT_S = 0.9
"""A caller who stopped the agent and then says no word has not meant to."""
_A_NOISE_MS = 400
"""What is shorter and has brought no word by its end is taken for a noise at once."""
_BOTH_WAIT_S = 2.5
"""A call that has neither transcriber nor synthesizer for so long is given up."""
_MESSAGE_WAIT_S = 90.0
"""A message for a machine has been spoken by then, or never will be."""
_UNREPEATABLE_S = 1.0
"""So much longer a call stays with a worker that goes, for what no other worker can take up."""


class Conversation:
    def __init__(self, rules: Rules, past: Past = Past()) -> None:
        """`past` is what was said before on an earlier stream of the same call."""
        self.rules = rules
        self.transcript = Transcript(past.entries)
        self._agenda = Agenda()
        keypad = self._keypad = Keypad(self._agenda)
        self._past_digits = past.digits
        self._listening = Listening(rules, self._agenda, keypad)
        self._delivery = Delivery(rules, self.transcript, self._agenda, keypad, past.turns)
        # Set once the call is to end, when the turn that says so has been heard.
        self._ending: ev.EndCall | None = None
        self.ended = False
        self._idle_prompts = 0
        self._warns = False
        # Another worker carries the call on from the next pause.
        self._started = self._leaving = self._overdue = False

    def handle(self, event: ev.Event, now: float) -> list[ev.Action]:
        """The actions to perform, in order. `now` is in seconds since the call's start and never goes back."""
        if self.ended:
            return []
        actions = self._agenda.begin(now)
        self._dispatch(event)
        if not self.ended:
            self._decide()
        return actions

    @property
    def deadline(self) -> float | None:
        """When to hand in a DeadlinePassed, unless something happens before."""
        return None if self.ended else self._agenda.next

    @property
    def floor(self) -> str:
        """Who may speak: caller, agent or nobody."""
        return "caller" if self._listening.speaking else "agent" if self._delivery.turn else "nobody"

    @property
    def turn(self) -> int:
        """The number of the latest turn; 0 before the greeting."""
        return self._delivery.count

    def _dispatch(self, event: ev.Event) -> None:
        match event:
            case ev.StreamStarted():
                self._greet()
            case (
                ev.CallerStartedSpeaking()
                | ev.CallerStoppedSpeaking()
                | ev.UtteranceCommitted()
                | ev.TranscriptExtended()
                | ev.TranscriptFinished()
                | ev.TranscriptFailed()
                | ev.DigitPressed()
                | ev.TranscriberReady()
                | ev.TranscriberLost()
            ):
                self._heard(event)
            case ev.ReplyStarted() | ev.SentenceReady() | ev.ToolCalled() | ev.ReplyFinished():
                self._delivery.reply(event)
            case ev.ToolFinished():
                self._delivery.tool_finished(event)
            case ev.MarkReturned() | ev.SpeechArrived() | ev.SpeechFinished():
                self._delivery.sound(event)
            case ev.VendorFailed():
                self._vendor_failed(event)
            case ev.CallerHungUp():
                self._end(ev.EndCall("completed", "caller-hung-up"))
            case ev.StreamLost():
                self._end(ev.EndCall("lost", "stream-lost"))
            case ev.EndRequested():
                self._end(ev.EndCall("completed", event.reason))
            case ev.TransferRequested():
                self._end(ev.EndCall("transferred", "operator-transferred", transfer_to=event.to))
            case ev.DrainRequested():
                self._leaving = True
                self._agenda.set(Deadline.DRAIN, self._agenda.now + event.within_s)
            case ev.DeadlinePassed():
                self._deadline_passed()
            case ev.SynthesizerReady() | ev.TokensUsed():
                pass

    @property
    def words(self) -> str:
        """What the caller has said that is not in the transcript yet, final or not."""
        return self._listening.words

    @property
    def saying(self) -> str:
        """The words of the turn that sounds; empty when none does."""
        turn = self._delivery.turn
        return turn.said if turn and turn.playout.started else ""

    @property
    def digits(self) -> str:
        """The name of those that the caller was asked to type, or nothing."""
        return self._keypad.wanted

    def _greet(self) -> None:
        self._started = True
        if asked := next((digits for digits in self.rules.digits if digits.name == self._past_digits), None):
            self._keypad.want(asked)
        limit = self.rules.max_duration_s
        self._agenda.set(Deadline.DURATION, self._agenda.now + limit)
        if limit > 3 * self.rules.warning_s:
            self._agenda.set(Deadline.WARNING, self._agenda.now + limit - self.rules.warning_s)
        # The transcriber may have failed before the stream was there: its apology is under way, and stands.
        if self.rules.message_only:
            self._finish_with(self.rules.greeting, ev.EndCall("completed", "message-left"), _MESSAGE_WAIT_S)
        elif self.rules.greeting and not self._ending:
            self._delivery.say(self.rules.greeting)

    # The caller makes a sound

    def _heard(self, event: ev.Event) -> None:
        self._listening.handle(event)
        turn = self._delivery.turn
        match event:
            case ev.TranscriberLost() | ev.TranscriberReady():
                self._agenda.drop(Deadline.IDLE)
            case ev.CallerStartedSpeaking() if turn and not turn.is_firm(self._agenda.now):
                if not turn.playout.started:
                    self._delivery.hold(turn)
                elif self.rules.barge_in == "on_speech":
                    self._delivery.suspend()
            case ev.DigitPressed() if (
                (self._listening.typing or self._listening.words) and turn and not turn.is_firm(self._agenda.now)
            ):
                self._delivery.give_up()
            case ev.CallerStoppedSpeaking() if self._delivery.suspended:
                wait = 0.0 if self._listening.spoke_ms < _A_NOISE_MS and not self._listening.words else WORDS_WAIT_S
                self._agenda.set(Deadline.WORDS, self._agenda.now + wait)

    # What now: the rules about who may speak

    def _decide(self) -> None:
        self._take_notice_of_failure()
        if self.ended:
            return
        if self._delivery.end:
            self._end(self._delivery.end)
            return
        turn = self._delivery.turn
        if turn and not turn.is_firm(self._agenda.now):
            self._decide_in_turn(turn)
        elif self._delivery.suspended:
            self._decide_interruption(self._delivery.suspended)
        if not self._delivery.turn and not self._delivery.suspended:
            self._decide_without_turn()
        self._watch_for_silence()
        self._watch_for_vendors()
        if self._overdue and not self.ended and not self._unrepeatable:
            self._leave_late()

    def _decide_in_turn(self, turn: Turn) -> None:
        """The agent has the floor or is about to take it."""
        if not turn.confirmed:
            self._decide_unconfirmed(turn)
        elif self._listening.words and self._listening.means_to_speak and not turn.playout.started:
            # It would answer half of what the caller has to say.
            self._delivery.give_up()
        elif self._listening.words and self._listening.means_to_speak and self.rules.barge_in != "off":
            self._delivery.give_up()
        elif not self._listening.speaking and not self._listening.awaited:
            if not self._listening.means_to_speak:
                self._listening.take()
            if turn.held:
                self._delivery.release(turn)

    def _decide_unconfirmed(self, turn: Turn) -> None:
        """It answers words that may not be all, or not the right ones."""
        same = bare(self._listening.words) == bare(turn.caller)
        if self._listening.speaking:
            if not same:
                self._delivery.give_up()
        elif self._listening.settled:
            if same:
                self._delivery.confirm(turn, self._take_words())
            else:
                self._delivery.give_up()

    def _decide_interruption(self, turn: Turn) -> None:
        """The caller's voice has stopped the agent: did words follow?"""
        # One that answered words which were not final can only be made anew: with them it would never be confirmed.
        meant = (
            not turn.confirmed
            or self._listening.means_to_speak
            # Whether there are words nobody can tell yet: rather none of ours than over the caller's.
            or self._listening.deaf
            or (self._listening.words and self._delivery.nearly_done(turn))
        )
        if meant:
            self._delivery.abandon()
        elif self._listening.settled and not self._listening.speaking:
            self._listening.take()
            self._delivery.resume()

    def _decide_without_turn(self) -> None:
        listening = self._listening
        if self._ending:
            self._end(self._ending)
        elif listening.speaking or listening.typing:
            pass
        elif listening.settled:
            if words := self._take_words():
                self._delivery.answer(words, True, self._times(self._agenda.now))
        elif self._leaving and self._started and not listening.awaited:
            self._end(ev.EndCall("handed-over", "drained"))
        elif listening.awaited and listening.words and self.rules.preemptive != "off":
            self._answer_preemptively()
        elif self._warns and not listening.awaited:
            self._warns = False
            self._delivery.say(self.rules.time_warning)

    def _answer_preemptively(self) -> None:
        if self._agenda.now >= self._listening.steady_at:
            self._delivery.answer(self._listening.words, False, self._times(None))
        else:
            self._agenda.set(Deadline.STEADY, self._listening.steady_at)

    def _take_words(self) -> str:
        """What the caller has said, final: it is part of the conversation now."""
        words = self._listening.take()
        if words:
            self._idle_prompts = 0
            self.transcript.caller_said(words)
        return words

    def _times(self, transcript: float | None) -> ev.TurnTimes:
        return ev.TurnTimes(self._listening.speech_end, self._listening.stopped, transcript)

    def _watch_for_silence(self) -> None:
        listening, delivery = self._listening, self._delivery
        busy = listening.speaking or listening.awaited or listening.typing or delivery.turn or delivery.suspended
        if busy or self.ended:
            self._agenda.drop(Deadline.IDLE)
        else:
            self._agenda.within(Deadline.IDLE, DEAF_WAIT_S if listening.deaf else self.rules.idle_prompt_s)

    def _watch_for_vendors(self) -> None:
        if self._listening.deaf and self._delivery.voiceless and not self._ending:
            self._agenda.within(Deadline.BOTH, _BOTH_WAIT_S)
        else:
            self._agenda.drop(Deadline.BOTH)

    # Trouble and the end

    def _vendor_failed(self, event: ev.VendorFailed) -> None:
        if event.vendor == "synthesizer":
            self._delivery.synthesizer_failed(event.refused, event.account)
        elif event.vendor == "transcriber":
            self._delivery.failed = "transcriber"
        else:
            self._delivery.reply(event)

    def _take_notice_of_failure(self) -> None:
        """A vendor is beyond remedy: apologize and end."""
        vendor, self._delivery.failed = self._delivery.failed, None
        if vendor is None or (self._ending and vendor != "synthesizer"):
            return
        mute = vendor == "synthesizer"
        end = ev.EndCall("failed", f"{vendor.replace(' ', '-')}-failed", mute, transfer_to=self.rules.human)
        if mute:
            self._end(end)
        else:
            self._finish_with(self.rules.apology, end)

    def _finish_with(self, words: str, end: ev.EndCall, wait_s: float = GOODBYE_WAIT_S) -> None:
        """Say this, and nothing after it."""
        self._delivery.give_up()
        self._delivery.abandon()
        self._ending = end
        self._agenda.set(Deadline.GOODBYE, self._agenda.now + wait_s)
        self._delivery.say(words, firm=True)

    def _deadline_passed(self) -> None:
        # Each once: one that is set anew is for the next time, however near that is.
        for deadline in self._agenda.due():
            if not self.ended and self._agenda.has(deadline):
                self._agenda.drop(deadline)
                self._late(deadline)

    def _late(self, deadline: Deadline) -> None:
        match deadline:
            case Deadline.TRANSCRIPT if self._listening.deaf and not (self._listening.words and self._listening.waited):
                self._wait_for_transcriber()
            case Deadline.TRANSCRIPT:
                without_words = self._listening.transcript_late(self._delivery.count)
                # A turn that was stopped goes on instead: nothing was said that could have been meant.
                if without_words and self.floor == "nobody" and not self._delivery.suspended:
                    self._listening.take()
                    self._delivery.say(self.rules.not_understood)
            case Deadline.HEARD_AGAIN:
                self._listening.not_heard_again()
            case Deadline.WORDS:
                if self._delivery.suspended and not self._listening.words and not self._listening.speaking:
                    self._delivery.resume()
            case Deadline.KEYPAD:
                self._listening.keypad_paused()
            case Deadline.IDLE:
                self._idle()
            case Deadline.WARNING:
                self._warns = True
            case Deadline.BOTH:
                self._delivery.failed = "transcriber"
            case Deadline.STEADY:
                pass  # what to do now is decided after every event
            case Deadline.DURATION:
                self._finish_with(self.rules.goodbye, ev.EndCall("completed", "time-limit"))
            case Deadline.GOODBYE:
                self._goodbye_late()
            case Deadline.DRAIN if self._unrepeatable and not self._overdue:
                self._overdue = True
                self._agenda.set(Deadline.DRAIN, self._agenda.now + _UNREPEATABLE_S)
            case Deadline.DRAIN:
                self._leave_late()
            case _:
                self._delivery.late(deadline)

    @property
    def _unrepeatable(self) -> bool:
        """A tool runs, or the last words are spoken; a message is left again, whole."""
        if self._ending:
            return not self.rules.message_only
        turns = (self._delivery.turn, self._delivery.suspended)
        return any(turn and (turn.ending or turn.running) for turn in turns)

    def _leave_late(self) -> None:
        turn = self._delivery.turn
        goodbye = self._ending or (turn.ending.end if turn and turn.ending else None)
        if goodbye is None or self.rules.message_only:
            goodbye = ev.EndCall("handed-over", "drained-late")
        self._end(goodbye)

    def _wait_for_transcriber(self) -> None:
        """The caller has said something, and the transcriber is not there to tell what."""
        if (turn := self._delivery.turn) and not turn.confirmed:
            self._delivery.give_up()
        if self.floor == "nobody" and not self._delivery.suspended:
            self._say_to_wait()
        self._listening.wait_for_transcriber()

    def _say_to_wait(self) -> None:
        self._agenda.do(ev.RecordDelay(self.turn, "transcriber", "filler"))
        # The words so far are not all: what comes with the transcriber takes the floor, they do not.
        self._delivery.say(self.rules.filler, firm=True)

    def _goodbye_late(self) -> None:
        turn = self._delivery.turn
        if self._ending:
            self._end(self._ending)
        elif turn and turn.ending:
            self._end(turn.ending.end)

    def _idle(self) -> None:
        if self._listening.deaf:
            self._say_to_wait()
            return
        self._idle_prompts += 1
        if self._idle_prompts > self.rules.idle_prompts:
            self._finish_with(self.rules.goodbye, ev.EndCall("completed", "caller-silent"))
        else:
            self._delivery.say(self.rules.idle_prompt)

    def _end(self, end: ev.EndCall) -> None:
        self._delivery.abandon()
        if turn := self._delivery.turn:
            self._delivery.record_end(turn)
        self.ended = True
        self._agenda.do(end)
