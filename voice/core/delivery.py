"""The agent's side of the conversation: one turn at a time, from the model's first token to the last sound heard.

Every stage of a turn has a deadline and a remedy; what was late and what was done stands in the call's log.
"""

from voice.core import events as ev
from voice.core.agenda import Agenda, Deadline
from voice.core.firm import unmarked
from voice.core.keypad import Keypad
from voice.core.own_tools import digits_wanted, ending
from voice.core.rules import Rules
from voice.core.sentences import split
from voice.core.transcript import ToolUsed, Transcript
from voice.core.turn import Turn

FIRST_TOKEN_WAIT_S = 1.5
SECOND_TOKEN_WAIT_S = 3.5
"""From the filler to the second try, and again from its filler to the apology."""
ANSWER_WAIT_S = 15.0
"""From the question to the last word of the answer: a service that drips is taken for one that failed."""
SENTENCE_WAIT_S = 1.5
SPEECH_WAIT_S = 1.5
UNDERRUN_WAIT_S = 1.0
"""For more sound of text that was handed over, when all that came has been heard."""
REPLACED_WAIT_S = 1.2
"""For the first sound of a synthesizer that takes the place of another."""
TOOL_WAIT_S = 1.0
_KEPT = 200
"""So much the model may write for a turn that is stopped; its answer ends there."""
_TYPE_NOW = '{"status": "the caller can type now; what is typed follows as the caller\'s words"}'
_AT_ONCE = 8
"""So many tools of one answer are run."""
_TOO_MANY = f'{{"error": "not done: at most {_AT_ONCE} calls in one answer"}}'
_NOT_TRANSFERRED = '{"error": "not transferred: the caller went on speaking"}'
_STAGES = (
    Deadline.FIRST_TOKEN,
    Deadline.ANSWER,
    Deadline.SENTENCE,
    Deadline.SPEECH,
    Deadline.REFILL,
    Deadline.MARK,
    Deadline.TOOL,
)
_REPLACEMENTS: tuple[ev.Synthesis, ...] = ("anew", "fallback-voice", "by-request")
"""Of a synthesizer that is silent, one after the other; behind the last there is no remedy."""
GOODBYE_WAIT_S = 15.0
"""A call that is to end does so by then, heard or not."""


class Delivery:
    def __init__(self, rules: Rules, transcript: Transcript, agenda: Agenda, keypad: Keypad, turns: int) -> None:
        """`turns` of the call are over already."""
        self._rules = rules
        self._transcript = transcript
        self._agenda = agenda
        self._keypad = keypad
        self.turn: Turn | None = None
        # Stopped by the caller's voice; goes on if no words follow.
        self.suspended: Turn | None = None
        self.count = turns
        # Set when a turn has been heard that was to be the last.
        self.end: ev.EndCall | None = None
        # So many replacements of the synthesizer have been tried since a turn was heard to its end.
        self._replaced = 0
        # Answers in a row that broke off when part of them had been spoken.
        self._broken = 0
        # The vendor that is beyond remedy.
        self.failed: ev.Vendor | None = None

    # A turn begins

    def say(self, text: str, firm: bool = False) -> None:
        """A turn whose words are known already; a firm one is not stopped by the caller's speech."""
        turn = self._open("")
        turn.reply_done, turn.firm = True, firm
        self._speak_known(turn, text)
        self._agenda.do(ev.FinishSpeech(turn.number))

    def answer(self, words: str, confirmed: bool, times: ev.TurnTimes) -> None:
        """A turn that answers `words`; unconfirmed ones may still change."""
        turn = self._open(words)
        turn.times, turn.confirmed = times, confirmed
        turn.held = not confirmed and self._rules.preemptive == "think"
        self._ask(turn)

    def _open(self, caller: str) -> Turn:
        self.count += 1
        self.turn = Turn(self.count, caller)
        return self.turn

    def _ask(self, turn: Turn) -> None:
        turn.reply_done = turn.answered = turn.owes = turn.waited = False
        caller = "" if turn.confirmed else turn.caller
        tools = turn.rounds < self._rules.tool_rounds
        self._agenda.do(ev.StartReply(turn.number, caller, turn.attempt, tools))
        self._agenda.set(Deadline.FIRST_TOKEN, self._agenda.now + FIRST_TOKEN_WAIT_S)
        self._agenda.set(Deadline.ANSWER, self._agenda.now + ANSWER_WAIT_S)

    def confirm(self, turn: Turn, words: str) -> None:
        """The words that it answers are final."""
        turn.confirmed, turn.held, turn.caller = True, False, words
        turn.reached("transcript", self._agenda.now)
        if turn.reply_done:
            self._complete(turn)
        self._advance(turn)

    def hold(self, turn: Turn) -> None:
        """The caller says something before any of it was heard: wait what that is."""
        turn.held = True

    def release(self, turn: Turn) -> None:
        turn.held = not turn.confirmed and self._rules.preemptive == "think"
        self._advance(turn)

    # A turn goes on: the reply

    def reply(self, event: ev.ReplyEvent) -> None:
        if self.suspended and self.suspended.number == event.turn:
            self._keep(self.suspended, event)
            return
        turn = self._current(event.turn)
        if not turn:
            return
        if isinstance(event, ev.VendorFailed):
            self.model_failed(turn, event.refused)
            return
        self._agenda.drop(Deadline.FIRST_TOKEN)
        match event:
            case ev.ReplyStarted():
                turn.reached("first_token", self._agenda.now)
            case ev.SentenceReady():
                turn.reached("first_sentence", self._agenda.now)
                turn.answered = True
                self._speak(turn, event.text)
            case ev.ToolCalled():
                turn.calls.append(event)
            case ev.ReplyFinished():
                turn.reply_done = True
                self._broken = 0
        if turn.reply_done:
            self._agenda.drop(Deadline.SENTENCE, Deadline.ANSWER)
            if turn.confirmed:
                self._complete(turn)
            self._advance(turn)
        else:
            self._agenda.set(Deadline.SENTENCE, self._agenda.now + SENTENCE_WAIT_S)

    def _keep(self, turn: Turn, event: ev.ReplyEvent) -> None:
        """Nothing of it is said or done before it is known whether the turn goes on."""
        if len(turn.kept) < _KEPT:
            turn.kept.append(event)
        elif len(turn.kept) == _KEPT:
            self._agenda.do(ev.CancelReply(turn.number))
            turn.kept.append(ev.ReplyFinished(turn.number))

    def _complete(self, turn: Turn) -> None:
        """The model's answer is whole: do what it calls for, or finish the speech."""
        if turn.calls:
            self._run_tools(turn)
        else:
            self._finish(turn)

    def _finish(self, turn: Turn) -> None:
        """Nothing more is to be said in it."""
        if turn.said:
            self._agenda.do(ev.FinishSpeech(turn.number))
            if turn.spoken:
                self._close_speech(turn)
        elif not turn.ending:
            self.model_failed(turn)

    def _run_tools(self, turn: Turn) -> None:
        """All of one answer at once; the one that ends the call waits until the others have run and all is heard."""
        endings = {call.call_id: found for call in turn.calls if (found := ending(call, self._rules))}
        turn.ending = turn.ending or next(iter(endings.values()), None)
        # Who hangs up leaves no trace in the history; from a transfer the caller may come back.
        transfers = {call_id for call_id, found in endings.items() if found.end.transfer_to}
        kept = [call for call in turn.calls if call.call_id not in endings or call.call_id in transfers]
        if kept:
            uses = [ToolUsed(call.call_id, call.name, call.arguments) for call in kept]
            self._transcript.tools_called(turn.number, uses, turn.said)
        for place, call in enumerate(turn.calls):
            if call.call_id not in endings:
                self._run_tool(turn, call, too_many=place >= _AT_ONCE)
        turn.calls.clear()
        turn.rounds += 1
        if turn.ending:
            self._agenda.within(Deadline.GOODBYE, GOODBYE_WAIT_S)
        turn.owes = not turn.answered or bool(turn.running)
        if turn.running:
            self._agenda.within(Deadline.TOOL, TOOL_WAIT_S)
        else:
            self._after_tools(turn)

    def _after_tools(self, turn: Turn) -> None:
        if turn.ending or not turn.owes:
            self._finish(turn)
        else:
            turn.attempt = 1
            self._ask(turn)

    def _run_tool(self, turn: Turn, call: ev.ToolCalled, too_many: bool) -> None:
        if too_many:
            self._transcript.tool_finished(turn.number, call.call_id, _TOO_MANY)
        elif digits := digits_wanted(call, self._rules):
            self._keypad.want(digits)
            self._transcript.tool_finished(turn.number, call.call_id, _TYPE_NOW)
        else:
            turn.running.add(call.call_id)
            self._agenda.do(ev.RunTool(turn.number, call.call_id, call.name, call.arguments))

    def tool_finished(self, event: ev.ToolFinished) -> None:
        """The result is kept, whatever has become of the turn; the model goes on if it is still the same."""
        self._transcript.tool_finished(event.turn, event.call_id, event.result)
        if self.suspended and self.suspended.number == event.turn:
            self.suspended.running.discard(event.call_id)
        turn = self._current(event.turn)
        if turn and event.call_id in turn.running:
            turn.running.discard(event.call_id)
            if not turn.running:
                self._agenda.drop(Deadline.TOOL)
                self._after_tools(turn)
                self._advance(turn)

    # A turn goes on: its sound

    def _speak(self, turn: Turn, sentence: str) -> None:
        text, firm = unmarked(sentence)
        turn.say(text, firm)
        # Of a voice that tells no letters, silence was taken for the end of all that it had to say.
        turn.speech_done = False
        self._agenda.within(Deadline.SPEECH, SPEECH_WAIT_S)
        self._agenda.do(ev.Speak(turn.number, text))

    def _speak_known(self, turn: Turn, text: str) -> None:
        if turn.said and not turn.spoken:
            # A clip is there at once: it would be heard before what is still being synthesized.
            for sentence in split(text):
                self._speak(turn, sentence)
            return
        sentences = [unmarked(sentence) for sentence in split(text)]
        for sentence, firm in sentences:
            turn.say(sentence, firm)
        self._agenda.within(Deadline.SPEECH, SPEECH_WAIT_S)
        self._agenda.do(ev.SpeakKnown(turn.number, " ".join(sentence for sentence, _ in sentences)))

    def _close_speech(self, turn: Turn) -> None:
        if not turn.closed:
            turn.closed = True
            self._agenda.do(ev.CloseSpeech(turn.number))

    def sound(self, event: ev.MarkReturned | ev.SpeechArrived | ev.SpeechFinished) -> None:
        turn = self._current(event.turn)
        if not turn:
            return
        match event:
            case ev.SpeechArrived():
                turn.reached("first_audio", self._agenda.now)
                self._agenda.drop(Deadline.SPEECH)
                turn.playout.add(event.audio, event.alignment)
                # Let go only when sound has come after the last text: earlier, the service may drop that text.
                if turn.reply_done and turn.confirmed and not turn.running:
                    self._close_speech(turn)
            case ev.SpeechFinished() if turn.playout.total_ms > 0:
                turn.speech_done = turn.closed
            case ev.SpeechFinished():
                # Without any sound it has not been spoken, whatever the synthesizer says.
                self._replaced = max(self._replaced, _REPLACEMENTS.index("by-request"))
                self._speak_again(turn, "speech")
            case ev.MarkReturned():
                turn.reached("heard", self._agenda.now - event.position_ms / 1000)
                turn.playout.mark_returned(event.position_ms, self._agenda.now)
        self._advance(turn)

    def _advance(self, turn: Turn) -> None:
        """Hand over what is due, and close the turn when all of it has been heard."""
        playout, agenda = turn.playout, self._agenda
        if not turn.held:
            for audio, position_ms in playout.take(agenda.now):
                agenda.do(ev.PlayAudio(turn.number, audio))
                agenda.do(ev.SendMark(turn.number, position_ms))
        # A refill that is due and took nothing waits for a mark: the caller's side is behind the clock.
        refill_at = None if turn.held else playout.refill_at
        agenda.set(Deadline.REFILL, refill_at if refill_at is not None and refill_at > agenda.now else None)
        agenda.set(Deadline.MARK, playout.overdue_at)
        if turn.over:
            heard = turn.said if not turn.broken_off else playout.heard_text(agenda.now, turn.said)
            self._record(turn, heard, cut=turn.broken_off)
            if turn.caller:
                # What is said without an answer may be a clip: that proves nothing.
                self._replaced = 0
            self.end = turn.ending.end if turn.ending else None
        elif turn.said and playout.over and not turn.spoken and not turn.held:
            agenda.within(Deadline.SPEECH, UNDERRUN_WAIT_S if playout.started else SPEECH_WAIT_S)

    # The caller takes the floor

    def suspend(self) -> None:
        """Nothing more of the turn is spoken; what was not heard of it is kept, in case no words follow, and so is what
        the model goes on to write."""
        turn = self.turn
        assert turn is not None
        self._stop_speech(turn)
        turn.waits_for_token = self._agenda.has(Deadline.FIRST_TOKEN)
        turn.broken_off = not turn.spoken
        turn.closed = turn.speech_done = True
        turn.playout.rewind(self._agenda.now)
        self.turn, self.suspended = None, turn
        self._agenda.drop(*_STAGES, Deadline.WORDS)

    def resume(self) -> None:
        """There were no words: go on from where it was stopped."""
        turn, self.suspended = self.suspended, None
        assert turn is not None
        self.turn = turn
        self._agenda.drop(Deadline.WORDS)
        self._agenda.do(ev.RecordDelay(turn.number, "words", "went on after a false interruption"))
        if turn.broken_off and turn.playout.letters_spoken():
            turn.broken_off = False
            self._speak_rest(turn)
        if not turn.reply_done or turn.owes:
            # More is to be said: what was let go of is taken up again.
            turn.closed = False
        if not turn.reply_done:
            self._go_on_reading(turn)
        elif turn.running:
            self._agenda.within(Deadline.TOOL, TOOL_WAIT_S)
        elif turn.owes:
            self._after_tools(turn)
        if self.turn is turn:
            self._advance(turn)

    def _go_on_reading(self, turn: Turn) -> None:
        """What the model wrote in the meantime, and what it still writes."""
        if turn.waits_for_token:
            self._agenda.set(Deadline.FIRST_TOKEN, self._agenda.now + FIRST_TOKEN_WAIT_S)
        else:
            self._agenda.set(Deadline.SENTENCE, self._agenda.now + SENTENCE_WAIT_S)
        self._agenda.set(Deadline.ANSWER, self._agenda.now + ANSWER_WAIT_S)
        kept, turn.kept = turn.kept, []
        for event in kept:
            self.reply(event)

    def abandon(self) -> None:
        """There were words: of the turn that they stopped only what was heard was said."""
        turn, self.suspended = self.suspended, None
        if turn:
            self._agenda.drop(Deadline.WORDS)
            self._stop_reply(turn)
            self._call_off(turn)
            self._record(turn, turn.playout.heard_text(self._agenda.now, turn.said), cut=True)

    def give_up(self) -> None:
        """End the turn now; only what was heard of it was said."""
        turn = self.turn
        if not turn:
            return
        if turn.said and not turn.playout.started:
            self._agenda.do(ev.RecordWaste(turn.number, len(turn.said)))
        self._stop_reply(turn)
        self._stop_speech(turn)
        self._call_off(turn)
        self._record(turn, turn.playout.heard_text(self._agenda.now, turn.said), cut=True)

    def _call_off(self, turn: Turn) -> None:
        """The caller does not want the call to end yet."""
        if turn.ending:
            self._transcript.tool_finished(turn.number, turn.ending.call_id, _NOT_TRANSFERRED)

    def record_end(self, turn: Turn) -> None:
        """The call is over in the middle of the turn."""
        self._record(turn, turn.playout.heard_text(self._agenda.now, turn.said), cut=True)

    def nearly_done(self, turn: Turn) -> bool:
        """So little of it is left that a short word is an answer to it."""
        return turn.reply_done and not turn.broken_off and turn.playout.left_ms(self._agenda.now) < 700

    def _stop_reply(self, turn: Turn) -> None:
        if not turn.reply_done:
            self._agenda.do(ev.CancelReply(turn.number))

    def _stop_speech(self, turn: Turn) -> None:
        if turn.said and not (turn.speech_done or (turn.closed and turn.spoken)):
            self._agenda.do(ev.StopSpeaking(turn.number))
        if turn.playout.started:
            self._agenda.do(ev.ClearPlayout())

    def _record(self, turn: Turn, heard: str, cut: bool) -> None:
        if turn is self.turn:
            self.turn = None
        # The goodbye that was cut short must not hurry the next one.
        self._agenda.drop(*_STAGES, Deadline.GOODBYE)
        self._transcript.agent_said(heard, cut)
        self._agenda.do(ev.RecordTurn(turn.number, turn.caller, heard, cut, turn.times))

    # Lateness, each with its remedy

    def late(self, deadline: Deadline) -> None:
        turn = self.turn
        if not turn:
            return
        match deadline:
            case Deadline.FIRST_TOKEN:
                self._first_token_late(turn)
            case Deadline.ANSWER:
                self._remedied(turn, "answer", "broken off")
                self._agenda.do(ev.CancelReply(turn.number))
                self.model_failed(turn)
            case Deadline.SENTENCE:
                if not turn.in_parts:
                    self._remedied(turn, "sentence", "spoke the part")
                turn.in_parts = True
                self._agenda.do(ev.FlushReply(turn.number))
                self._agenda.set(Deadline.SENTENCE, self._agenda.now + SENTENCE_WAIT_S)
            case Deadline.SPEECH:
                self._speech_late(turn)
            case Deadline.TOOL if not turn.ending:
                self._remedied(turn, "tool", "filler")
                self._speak_known(turn, self._rules.filler)
            case Deadline.MARK:
                turn.playout.assume_heard(self._agenda.now)
                self._advance(turn)
            case Deadline.REFILL:
                self._advance(turn)

    def _first_token_late(self, turn: Turn) -> None:
        wait_s = SECOND_TOKEN_WAIT_S
        if turn.held:
            wait_s = FIRST_TOKEN_WAIT_S
        elif not turn.waited:
            turn.waited = True
            if turn.playout.over or not turn.said:
                self._remedied(turn, "first token", "filler")
                self._speak_known(turn, self._rules.filler)
        elif turn.attempt == 1:
            self._ask_again(turn, "first token")
            return
        else:
            self._remedied(turn, "first token", "given up")
            self.failed = "language model"
        self._agenda.set(Deadline.FIRST_TOKEN, self._agenda.now + wait_s)

    def _ask_again(self, turn: Turn, stage: str) -> None:
        self._remedied(turn, stage, "asked again")
        self._agenda.do(ev.CancelReply(turn.number))
        turn.attempt += 1
        self._ask(turn)

    def model_failed(self, turn: Turn, refused: bool = False) -> None:
        """Once more if nothing of the answer has been used. What was spoken is not asked for again: it stays, and the
        caller is asked to say it once more."""
        if refused or (turn.attempt > 1 and not turn.answered):
            self.failed = "language model"
        elif not turn.answered:
            self._ask_again(turn, "language model")
        elif self._broken:
            self.failed = "language model"
        else:
            self._broken += 1
            self._remedied(turn, "answer", "asked the caller to say it again")
            turn.reply_done, turn.owes = True, False
            turn.calls.clear()
            self._agenda.drop(Deadline.SENTENCE, Deadline.ANSWER)
            self._speak_known(turn, self._rules.not_understood)
            self._finish(turn)
            self._advance(turn)

    def synthesizer_failed(self, refused: bool, account: bool) -> None:
        """Its connection is gone: another one, and everything that has not sounded once more."""
        if account:
            self.failed = "synthesizer"
            return
        if refused:
            # The same voice would be refused again.
            self._replaced = max(self._replaced, _REPLACEMENTS.index("fallback-voice"))
        if turn := self.turn:
            self._speak_again(turn, "synthesizer")
        else:
            self._replace_synthesizer()

    @property
    def voiceless(self) -> bool:
        """Neither the synthesizer nor the one that took its place has a sound."""
        return self._replaced > _REPLACEMENTS.index("fallback-voice")

    def _replace_synthesizer(self) -> bool:
        """False when there is nothing left to try."""
        if self._replaced >= len(_REPLACEMENTS):
            self.failed = "synthesizer"
            return False
        self._agenda.do(ev.ChangeSynthesizer(_REPLACEMENTS[self._replaced]))
        self._replaced += 1
        return True

    def _speech_late(self, turn: Turn) -> None:
        if turn.playout.started and (not turn.unspoken or not turn.playout.letters_spoken()):
            # Sound without any timing of its letters: nobody can say what is missing.
            turn.speech_done = True
            self._advance(turn)
        else:
            self._speak_again(turn, "speech")

    def _speak_again(self, turn: Turn, stage: str) -> None:
        """What has not sounded of the turn, by another synthesizer."""
        self._agenda.do(ev.StopSpeaking(turn.number))
        if not self._replace_synthesizer():
            self._remedied(turn, stage, "given up")
            return
        self._remedied(turn, stage, "spoken again")
        self._speak_rest(turn)
        self._agenda.set(Deadline.SPEECH, self._agenda.now + REPLACED_WAIT_S)

    def _speak_rest(self, turn: Turn) -> None:
        turn.closed = turn.speech_done = False
        if unspoken := turn.unspoken:
            self._agenda.do(ev.Speak(turn.number, unspoken))
            self._agenda.within(Deadline.SPEECH, SPEECH_WAIT_S)
        if turn.reply_done:
            self._agenda.do(ev.FinishSpeech(turn.number))

    def _remedied(self, turn: Turn, stage: str, remedy: str) -> None:
        self._agenda.do(ev.RecordDelay(turn.number, stage, remedy))

    def _current(self, turn: int) -> Turn | None:
        """The turn under way, if that is its number: whatever still comes for an older one is refused here."""
        return self.turn if self.turn and self.turn.number == turn else None
