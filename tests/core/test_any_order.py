"""Whatever happens, in whatever order: no fault, no deadline that spins, one end, and no silence that lasts for ever.

Two worlds: in the first anything may come at any time, in the second the vendors and Twilio do what they were told
and only the caller, the transcriber and chance do as they like.
"""

import heapq
from functools import cache
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.stories import MS_PER_LETTER, RULES, Story, kinds
from voice.core import events as ev
from voice.core.audio import Audio
from voice.core.conversation import Conversation
from voice.core.rules import Digits, Rules
from voice.core.transcript import CallerSaid

_PATIENCE_S = 150.0
_ITEMS = ("item-1", "item-2", "item-3")
_WORDS = ("Yes.", "mm", "No, I want", "When are you open?", "", " and", "Tell me a story.")
_PAUSES_S = (0.0, 0.05, 0.3, 0.7, 1.0, 2.0, 6.0)

_rules = st.builds(
    Rules,
    greeting=st.sampled_from(("Hello there.", "Hi. " * 30, "[firm] This call is recorded. Hello.")),
    apology=st.just("Sorry, bye."),
    barge_in=st.sampled_from(("on_speech", "on_words", "off")),
    preemptive=st.sampled_from(("off", "think", "speak")),
    max_duration_s=st.sampled_from((30.0, 600.0)),
    transfers=st.just(("desk",)),
    digits=st.just((Digits("pin", 2, sensitive=True), Digits("extension"))),
)
_tools = st.sampled_from(
    (
        ("hang_up", "{}"),
        ("other", "{}"),
        ("transfer_call", '{"to": "desk"}'),
        ("transfer_call", '{"to": "boss"}'),
        ("ask_for_digits", '{"name": "pin"}'),
        ("ask_for_digits", '{"name": "extension"}'),
    )
)
_pauses = st.sampled_from(_PAUSES_S)
_items = st.sampled_from(_ITEMS)
_words = st.sampled_from(_WORDS)


def _speech(text: str) -> tuple[Audio, ev.Alignment]:
    starts = tuple(range(0, len(text) * MS_PER_LETTER, MS_PER_LETTER))
    return Audio(len(text) * MS_PER_LETTER * 8), ev.Alignment(text, starts, (MS_PER_LETTER,) * len(text))


class _Clock:
    """Hands in events at their time, and every deadline when it is due."""

    def __init__(self, rules: Rules) -> None:
        self.conversation = Conversation(rules)
        self.now = 0.0
        self.ends: list[ev.EndCall] = []

    def happens(self, event: ev.Event) -> list[ev.Action]:
        over = self.conversation.ended
        actions = self.conversation.handle(event, self.now)
        self.ends += [action for action in actions if isinstance(action, ev.EndCall)]
        assert not (over and actions), "something was done after the end"
        assert self.conversation.ended == (len(self.ends) == 1), "an end is told once"
        return actions

    def deadline_passes(self) -> list[ev.Action]:
        actions = self.happens(ev.DeadlinePassed())
        if self._due():
            more = self.happens(ev.DeadlinePassed())
            assert more or not self._due(), "a deadline in the past, about which nothing is done"
            actions = actions + more
        return actions

    def _due(self) -> bool:
        return self.conversation.deadline is not None and self.conversation.deadline <= self.now


# Anything at any time


@cache
def _any_event(turn: int) -> st.SearchStrategy[ev.Event]:
    """The same object for the same turn: Hypothesis takes a millisecond to look a new one over."""
    turns = st.integers(max(0, turn - 1), turn + 1)
    ids = st.sampled_from(("call-1", "call-2"))
    spoken = st.sampled_from(("", "Of course. ", "word " * 40)).map(_speech)
    silent = st.sampled_from((0, 1, 160, 40000)).map(lambda size: (Audio(size), ev.Alignment()))
    vendors = st.sampled_from(("transcriber", "language model", "synthesizer"))
    return st.one_of(
        st.just(ev.StreamStarted()) if turn == 0 else st.nothing(),
        st.just(ev.CallerStartedSpeaking()),
        st.builds(ev.CallerStoppedSpeaking, st.sampled_from((200, 600))),
        st.builds(ev.DigitPressed, st.sampled_from("12#")),
        st.builds(ev.MarkReturned, turns, st.sampled_from((0, 600, 650, 1200, 10**9))),
        st.builds(ev.UtteranceCommitted, _items),
        st.builds(ev.TranscriptExtended, _items, _words),
        st.builds(ev.TranscriptFinished, _items, _words),
        st.builds(ev.TranscriptFailed, st.sampled_from(("", *_ITEMS)), st.just("")),
        st.builds(ev.ReplyStarted, turns),
        st.builds(ev.SentenceReady, turns, st.sampled_from(("Of course.", "word " * 40, "[firm] Of course."))),
        _tools.flatmap(lambda tool: st.builds(ev.ToolCalled, turns, ids, *map(st.just, tool))),
        st.builds(ev.ToolFinished, turns, ids, st.just("{}")),
        st.builds(ev.ReplyFinished, turns),
        st.builds(lambda number, speech: ev.SpeechArrived(number, *speech), turns, spoken | silent),
        st.builds(ev.SpeechFinished, turns),
        st.builds(ev.DrainRequested, st.sampled_from((0.0, 8.0))),
        st.builds(ev.TransferRequested, st.just("desk")),
        st.builds(ev.VendorFailed, vendors, st.just(""), turns, st.booleans(), st.booleans()),
        st.builds(ev.TranscriberLost, st.just(""), st.booleans()),
        st.builds(ev.TranscriberReady, st.integers(0, 3), st.floats(0, 15)),
    )


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), rules=_rules)
def test_any_event_at_any_time_and_then_one_end(data: st.DataObject, rules: Rules) -> None:
    clock = _Clock(rules)
    if data.draw(st.booleans()):
        clock.happens(ev.StreamStarted())
    for _ in range(data.draw(st.integers(0, 40))):
        until = clock.now + data.draw(_pauses)
        while (deadline := clock.conversation.deadline) is not None and deadline <= until:
            clock.now = max(clock.now, deadline)
            clock.deadline_passes()
        clock.now = until
        clock.happens(data.draw(_any_event(clock.conversation.turn)))
    clock.happens(ev.CallerHungUp())
    assert len(clock.ends) == 1
    assert clock.conversation.deadline is None


# Everybody does as told but the caller


class _World(_Clock):
    """Twilio, the language model and the synthesizer, each as quick as it is."""

    def __init__(self, rules: Rules, answers: list[tuple[str, tuple[str, str] | None]], with_letters: bool) -> None:
        super().__init__(rules)
        self._coming: list[tuple[float, int, ev.Event]] = []
        self._order = count()
        self._answers = answers
        self._with_letters = with_letters
        # When the last sound handed over will have been played, and the marks behind it.
        self._plays_until = 0.0
        self._marks: list[ev.MarkReturned] = []
        self.last_sound = 0.0
        self._act(self.happens(ev.StreamStarted()))

    def tell(self, event: ev.Event, after: float = 0.0) -> None:
        heapq.heappush(self._coming, (self.now + after, next(self._order), event))

    def step(self) -> None:
        """The next thing that happens, an event or a deadline."""
        deadline = self.conversation.deadline
        if self._coming and (deadline is None or self._coming[0][0] <= deadline):
            at, _, event = heapq.heappop(self._coming)
            self.now = max(self.now, at)
            if isinstance(event, ev.MarkReturned):
                if event not in self._marks:
                    return
                self._marks.remove(event)
            self._act(self.happens(event))
        else:
            assert deadline is not None, "nothing will ever happen again"
            self.now = max(self.now, deadline)
            self._act(self.deadline_passes())

    def runs_until(self, until: float) -> None:
        while not self.conversation.ended and min(self._next_at(), until) < until:
            self.step()
        self.now = max(self.now, until)

    def _next_at(self) -> float:
        deadline = self.conversation.deadline
        coming = self._coming[0][0] if self._coming else float("inf")
        return min(coming, float("inf") if deadline is None else deadline)

    def _act(self, actions: list[ev.Action]) -> None:
        for action in actions:
            match action:
                case ev.StartReply():
                    self._reply(action)
                case ev.Speak() | ev.SpeakKnown():
                    audio, letters = _speech(action.text + " ")
                    letters = letters if self._with_letters else ev.Alignment()
                    self.tell(ev.SpeechArrived(action.turn, audio, letters), 0.3)
                case ev.CloseSpeech():
                    self.tell(ev.SpeechFinished(action.turn), 0.4)
                case ev.RunTool():
                    self.tell(ev.ToolFinished(action.turn, action.call_id, "{}"), 0.5)
                case ev.PlayAudio():
                    self._plays_until = max(self._plays_until, self.now) + action.audio.ms / 1000
                    self.last_sound = self._plays_until
                case ev.SendMark():
                    mark = ev.MarkReturned(action.turn, action.position_ms)
                    self._marks.append(mark)
                    self.tell(mark, self._plays_until - self.now)
                case ev.ClearPlayout():
                    self._plays_until = self.now
                    for mark in self._marks:
                        self.tell(mark)

    def _reply(self, action: ev.StartReply) -> None:
        text, tool = self._answers[action.turn % len(self._answers)]
        self.tell(ev.ReplyStarted(action.turn), 0.3)
        if text:
            self.tell(ev.SentenceReady(action.turn, text), 0.5)
        if tool and action.tools:
            self.tell(ev.ToolCalled(action.turn, "call-1", *tool), 0.6)
        elif not text:
            self.tell(ev.SentenceReady(action.turn, "Done."), 0.6)
        self.tell(ev.ReplyFinished(action.turn), 0.7)


_caller_does = st.sampled_from(("starts", "stops", "commits", "extends", "finishes", "fails", "presses", "nothing"))
_answers = st.lists(
    st.tuples(
        st.sampled_from(("Of course.", "A rather long answer, " * 8 + "indeed.", "", "[firm] Of course. Yes.")),
        st.sampled_from((None, ("other", "{}"), ("ask_for_digits", '{"name": "pin"}'))),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rules=_rules,
    answers=_answers,
    with_letters=st.booleans(),
    script=st.lists(st.tuples(_pauses, _caller_does, _items, _words), max_size=30),
)
def test_the_floor_comes_back_and_no_silence_lasts(
    rules: Rules,
    answers: list[tuple[str, tuple[str, str] | None]],
    with_letters: bool,
    script: list[tuple[float, str, str, str]],
) -> None:
    world = _World(rules, answers, with_letters)
    speaking = False
    for pause, does, item, words in script:
        world.runs_until(world.now + pause)
        match does:
            case "starts" if not speaking:
                speaking = True
                world.tell(ev.CallerStartedSpeaking())
            case "stops" if speaking:
                speaking = False
                world.tell(ev.CallerStoppedSpeaking(600))
            case "commits":
                world.tell(ev.UtteranceCommitted(item))
            case "extends":
                world.tell(ev.TranscriptExtended(item, words))
            case "finishes":
                world.tell(ev.TranscriptFinished(item, words))
            case "fails":
                world.tell(ev.TranscriptFailed(item if words else "", ""))
            case "presses":
                world.tell(ev.DigitPressed("#" if words else "1"))
    if speaking:
        world.tell(ev.CallerStoppedSpeaking(600))
    _floor_comes_back(world)
    _somebody_speaks_again(world, rules)


def _floor_comes_back(world: _World) -> None:
    from_ = world.now
    while not world.conversation.ended:
        world.step()
        if world.conversation.floor == "nobody":
            return
        assert world.now - from_ < _PATIENCE_S, "the floor is held for ever"


def _somebody_speaks_again(world: _World, rules: Rules) -> None:
    """A caller who says nothing more is asked whether they are there: the silence is never longer than that."""
    from_, sounded = world.now, world.last_sound
    while not world.conversation.ended and world.last_sound == sounded:
        world.step()
        assert world.now - from_ < rules.idle_prompt_s + 10, "the silence lasts for ever"


# What these worlds, and thinking about them, have found


def test_keys_pressed_in_the_middle_of_speech_do_not_keep_it_from_ending() -> None:
    story = Story()
    story.starts(3.0)
    story.at(3.2, ev.DigitPressed("1"))
    story.at(3.3, ev.DigitPressed("#"))
    story.stops(4.0)
    while story.conversation.transcript.last() != CallerSaid("[keypad] 1"):
        story.passes()
        assert story.now < 4.0 + 3.1, "the transcript that does not come is waited for"


def test_an_answer_to_words_that_were_not_final_is_made_anew_when_it_is_interrupted() -> None:
    story = Story(preemptive="speak")
    story.starts(3.0)
    story.understood(3.5, "Yes.")
    assert ev.StartReply(2, "Yes.") in story.stops(4.0)
    story.writes(4.3, 2, "Of course. " * 5)
    story.sounds(4.5, 2, "Of course. " * 5)
    story.starts(4.6)
    story.stops(4.9)
    story.final(5.0, "Yes.")
    story.final(5.1, "", "item-2")
    assert story.conversation.turn == 3
    assert story.conversation.transcript.last() == CallerSaid("Yes.")


def test_a_stopped_turn_goes_on_when_no_words_were_understood_in_the_end() -> None:
    story = Story()
    story.asks(3.0, "Tell me a story.")
    story.writes(5.2, 2, "A long story. " * 20)
    story.sounds(5.3, 2, "A long story. " * 20)
    story.starts(6.0)
    story.understood(6.5, "mm", "item-2")
    story.stops(6.8)
    story.starts(6.9)
    story.stops(7.5)
    while story.now < 8.4:
        story.passes()
    story.final(8.5, "", "item-2")
    while story.conversation.floor == "nobody":
        story.passes()
    assert story.conversation.turn == 2


def test_a_transcriber_that_fails_before_the_stream_is_there_is_apologized_for() -> None:
    conversation = Conversation(RULES)
    assert ev.SpeakKnown(1, "Sorry, bye.") in conversation.handle(ev.VendorFailed("transcriber", "401"), 0.0)
    assert "SpeakKnown" not in kinds(conversation.handle(ev.StreamStarted(), 0.1))
    assert conversation.turn == 1


def test_a_goodbye_that_was_cut_short_does_not_hurry_the_next_one() -> None:
    story = Story()
    story.asks(3.0, "Thanks.")
    story.at(5.1, ev.ReplyStarted(2))
    story.at(5.1, ev.SentenceReady(2, "Goodbye then."))
    story.at(5.1, ev.ToolCalled(2, "call-1", "hang_up", "{}"))
    story.at(5.2, ev.ReplyFinished(2))
    story.sounds(5.3, 2, "Goodbye then. ")
    story.asks(5.4, "No, wait, one more thing.", "item-2")
    story.writes(8.0, 3, "Yes?")
    story.sounds(8.1, 3, "Yes? ")
    story.heard(8.5, 3, 5)
    story.asks(15.0, "That is all.", "item-3")
    story.at(17.1, ev.ReplyStarted(4))
    story.at(17.1, ev.SentenceReady(4, "Have a very nice day. " * 5))
    story.at(17.1, ev.ToolCalled(4, "call-2", "hang_up", "{}"))
    story.at(17.2, ev.ReplyFinished(4))
    story.sounds(17.3, 4, "Have a very nice day. " * 5)
    story.passes_until(ev.EndCall)
    assert story.now > 22


def test_a_voice_without_letters_is_heard_to_its_end_when_the_model_pauses() -> None:
    story = Story()
    story.asks(3.0, "Tell me a story.")
    story.at(5.1, ev.ReplyStarted(2))
    story.at(5.1, ev.SentenceReady(2, "One."))
    story.at(5.2, ev.SpeechArrived(2, Audio(1600), ev.Alignment()))
    story.heard(5.4, 2, 4)
    for _ in range(3):
        story.passes()
    assert story.now > 6.9
    story.at(8.0, ev.SentenceReady(2, "Two."))
    story.at(8.1, ev.ReplyFinished(2))
    assert story.conversation.floor == "agent", "the second sentence has not sounded"
    assert "PlayAudio" in kinds(story.at(8.4, ev.SpeechArrived(2, Audio(1600), ev.Alignment())))
