"""One test, one story: events in, list equality on the actions out. No clock, no socket, no waiting."""

from dataclasses import replace

import pytest

from voice.core.audio import Audio
from voice.core.conversation import Conversation
from voice.core.events import (
    Action,
    Alignment,
    CallerHungUp,
    CallerStartedSpeaking,
    CallerStoppedSpeaking,
    CancelReply,
    ClearPlayout,
    CloseSpeech,
    DeadlinePassed,
    EndCall,
    EndRequested,
    FinishSpeech,
    MarkReturned,
    PlayAudio,
    RecordTurn,
    ReplyFinished,
    ReplyStarted,
    SendMark,
    SentenceReady,
    Speak,
    SpeakKnown,
    SpeechArrived,
    SpeechFinished,
    StartReply,
    StopSpeaking,
    StreamLost,
    StreamStarted,
    ToolCalled,
    TranscriptExtended,
    TranscriptFailed,
    TranscriptFinished,
    TurnTimes,
    UtteranceCommitted,
    VendorFailed,
)
from voice.core.rules import Rules
from voice.core.transcript import AgentSaid, CallerSaid

RULES = Rules(greeting="Hello there.", apology="Sorry, bye.", preemptive="off", max_duration_s=600)
MS_PER_LETTER = 50


@pytest.fixture
def conversation() -> Conversation:
    """A call whose greeting has been heard, at 2 s."""
    conversation = Conversation(RULES)
    conversation.handle(StreamStarted(), 0.0)
    _speech(conversation, 1, "Hello there. ", 0.1)
    conversation.handle(SpeechFinished(1), 0.2)
    conversation.handle(MarkReturned(1, 13 * MS_PER_LETTER), 0.8)
    assert conversation.floor == "nobody"
    return conversation


def _spoken(text: str) -> tuple[Audio, Alignment]:
    starts = tuple(range(0, len(text) * MS_PER_LETTER, MS_PER_LETTER))
    return Audio(len(text) * MS_PER_LETTER * 8), Alignment(text, starts, (MS_PER_LETTER,) * len(text))


def _speech(conversation: Conversation, turn: int, text: str, now: float) -> list[Action]:
    audio, alignment = _spoken(text)
    return conversation.handle(SpeechArrived(turn, audio, alignment), now)


def _asks(conversation: Conversation, words: str, now: float, item: str = "item-1") -> list[Action]:
    conversation.handle(CallerStartedSpeaking(), now)
    conversation.handle(CallerStoppedSpeaking(600), now + 1)
    conversation.handle(UtteranceCommitted(item), now + 1)
    return conversation.handle(TranscriptFinished(item, words), now + 2)


def _passes(conversation: Conversation) -> list[Action]:
    """The deadline that is next passes."""
    assert conversation.deadline is not None
    return conversation.handle(DeadlinePassed(), conversation.deadline)


# The life of a call


def test_the_greeting_is_spoken_at_once() -> None:
    conversation = Conversation(replace(RULES, greeting="Hello. How can I help?"))
    assert conversation.handle(StreamStarted(), 0.0) == [
        SpeakKnown(1, "Hello. How can I help?"),
        FinishSpeech(1),
    ]
    assert conversation.floor == "agent"


def test_audio_goes_to_the_caller_as_it_comes_and_each_piece_has_a_mark() -> None:
    conversation = Conversation(RULES)
    conversation.handle(StreamStarted(), 0.0)
    assert _speech(conversation, 1, "Hello ", 0.1) == [
        CloseSpeech(1),
        PlayAudio(1, Audio(2400)),
        SendMark(1, 300),
    ]
    assert _speech(conversation, 1, "there. ", 0.2) == [PlayAudio(1, Audio(2800)), SendMark(1, 650)]
    assert conversation.handle(SpeechFinished(1), 0.3) == []
    assert conversation.handle(MarkReturned(1, 300), 0.4) == []
    assert conversation.handle(MarkReturned(1, 650), 0.8) == [
        RecordTurn(1, "", "Hello there.", False, TurnTimes(first_audio=0.1, heard=0.4 - 0.3))
    ]
    assert conversation.transcript.entries == [AgentSaid("Hello there.")]


def test_a_turn_from_the_callers_words_to_the_last_mark(conversation: Conversation) -> None:
    handle = conversation.handle
    assert handle(CallerStartedSpeaking(), 3.0) == []
    assert conversation.floor == "caller"
    assert handle(CallerStoppedSpeaking(600), 5.0) == []
    assert handle(UtteranceCommitted("item-1"), 5.0) == []
    assert handle(TranscriptFinished("item-1", "When do you open?"), 5.8) == [StartReply(2)]
    assert conversation.transcript.messages()[-1] == {"role": "user", "content": "When do you open?"}
    assert handle(ReplyStarted(2), 6.0) == []
    assert handle(SentenceReady(2, "At nine."), 6.1) == [Speak(2, "At nine.")]
    assert handle(ReplyFinished(2), 6.2) == [FinishSpeech(2)]
    assert _speech(conversation, 2, "At nine. ", 6.3) == [CloseSpeech(2), PlayAudio(2, Audio(3600)), SendMark(2, 450)]
    assert handle(SpeechFinished(2), 6.4) == []
    times = TurnTimes(4.4, 5.0, 5.8, 6.0, 6.1, 6.3, 6.8 - 0.45)
    assert handle(MarkReturned(2, 450), 6.8) == [RecordTurn(2, "When do you open?", "At nine.", False, times)]
    assert conversation.transcript.entries[-2:] == [CallerSaid("When do you open?"), AgentSaid("At nine.")]


def test_speech_that_is_complete_before_the_reply_is_let_go_of_at_its_end(conversation: Conversation) -> None:
    _asks(conversation, "Hm?", 3.0)
    conversation.handle(SentenceReady(2, "Yes."), 5.1)
    assert CloseSpeech(2) not in _speech(conversation, 2, "Yes. ", 5.2)
    assert conversation.handle(ReplyFinished(2), 5.3) == [FinishSpeech(2), CloseSpeech(2)]


def test_a_turn_is_over_without_a_word_from_the_synthesizer_when_every_letter_has_sounded(
    conversation: Conversation,
) -> None:
    _asks(conversation, "Hm?", 3.0)
    conversation.handle(SentenceReady(2, "Yes."), 5.1)
    conversation.handle(ReplyFinished(2), 5.2)
    _speech(conversation, 2, "Yes. ", 5.3)
    assert _kinds(conversation.handle(MarkReturned(2, 250), 5.6)) == ["RecordTurn"]


# Two at once


def test_barge_in_stops_everything_and_keeps_only_what_was_heard(conversation: Conversation) -> None:
    _asks(conversation, "Tell me all.", 3.0)
    conversation.handle(SentenceReady(2, "We open at nine and close at six."), 5.1)
    _speech(conversation, 2, "We open at nine and ", 5.2)
    # 500 ms have played: ten letters, "We open at".
    assert conversation.handle(CallerStartedSpeaking(), 5.7) == [StopSpeaking(2), ClearPlayout()]
    assert conversation.handle(TranscriptExtended("item-2", "Wait"), 6.0) == [
        CancelReply(2),
        RecordTurn(2, "Tell me all.", "We open at", True, TurnTimes(3.4, 4.0, 5.0, None, 5.1, 5.2, None)),
    ]
    assert conversation.transcript.last() == AgentSaid("We open at", cut=True)
    assert conversation.floor == "caller"


def test_what_still_comes_of_a_cut_turn_counts_for_nothing(conversation: Conversation) -> None:
    _asks(conversation, "Tell me all.", 3.0)
    conversation.handle(SentenceReady(2, "We open at nine."), 5.1)
    _speech(conversation, 2, "We open ", 5.2)
    conversation.handle(CallerStartedSpeaking(), 5.3)
    assert _speech(conversation, 2, "at nine. ", 5.4) == []
    assert conversation.handle(MarkReturned(2, 400), 5.4) == []
    assert conversation.handle(SpeechFinished(2), 5.4) == []
    assert conversation.handle(SentenceReady(2, "More."), 5.4) == []
    assert conversation.handle(ReplyFinished(2), 5.4) == []
    assert conversation.handle(VendorFailed("language model", "reset", 2), 5.4) == []


def test_words_after_a_pause_join_the_question_that_had_no_answer_yet(conversation: Conversation) -> None:
    assert _asks(conversation, "I'd like to", 3.0) == [StartReply(2)]
    assert conversation.handle(CallerStartedSpeaking(), 5.1) == [], "it may be a noise"
    assert _kinds(conversation.handle(TranscriptExtended("item-2", "book"), 5.4)) == ["CancelReply", "RecordTurn"]
    conversation.handle(CallerStoppedSpeaking(600), 6.0)
    conversation.handle(UtteranceCommitted("item-2"), 6.0)
    assert conversation.handle(TranscriptFinished("item-2", "book a table."), 6.8) == [StartReply(3)]
    assert conversation.transcript.entries[-1] == CallerSaid("I'd like to book a table.")


def test_an_agent_that_cannot_be_interrupted_answers_when_it_has_finished() -> None:
    conversation = Conversation(replace(RULES, barge_in="off"))
    conversation.handle(StreamStarted(), 0.0)
    _speech(conversation, 1, "Hello there. ", 0.1)
    conversation.handle(SpeechFinished(1), 0.2)
    assert _asks(conversation, "Wait!", 0.2) == []
    assert _kinds(conversation.handle(MarkReturned(1, 650), 2.3)) == ["RecordTurn", "StartReply"]


def test_no_reply_while_the_caller_goes_on_speaking(conversation: Conversation) -> None:
    conversation.handle(CallerStartedSpeaking(), 3.0)
    conversation.handle(CallerStoppedSpeaking(600), 4.0)
    conversation.handle(CallerStartedSpeaking(), 4.2)
    assert conversation.handle(TranscriptFinished("item-1", "First"), 4.8) == []
    conversation.handle(CallerStoppedSpeaking(600), 5.5)
    assert conversation.handle(TranscriptFinished("item-2", "second."), 6.2) == [StartReply(2)]
    assert conversation.transcript.last() == CallerSaid("First second.")


@pytest.mark.matrix(12)
def test_transcripts_that_come_in_the_wrong_order_are_read_in_the_right_one(conversation: Conversation) -> None:
    for start, item in ((3.0, "a"), (4.2, "b")):
        conversation.handle(CallerStartedSpeaking(), start)
        conversation.handle(CallerStoppedSpeaking(600), start + 1)
        conversation.handle(UtteranceCommitted(item), start + 1)
    assert conversation.handle(TranscriptFinished("b", "second."), 5.5) == []
    assert conversation.handle(TranscriptFinished("a", "First"), 5.8) == [StartReply(2)]
    assert conversation.transcript.last() == CallerSaid("First second.")


def test_noise_without_words_is_no_turn(conversation: Conversation) -> None:
    assert _asks(conversation, "", 3.0) == []
    assert _asks(conversation, "   ", 6.0, "item-2") == []
    assert conversation.turn == 1


# Late and lost


def test_a_failed_transcript_is_replaced_too(conversation: Conversation) -> None:
    conversation.handle(CallerStartedSpeaking(), 3.0)
    conversation.handle(TranscriptExtended("item-1", "Hello?"), 3.8)
    conversation.handle(CallerStoppedSpeaking(600), 5.0)
    assert conversation.handle(TranscriptFailed("item-1", "overloaded"), 5.5) == [StartReply(2)]


def test_marks_that_never_come_do_not_hold_the_turn(conversation: Conversation) -> None:
    _asks(conversation, "Hm?", 3.0)
    conversation.handle(SentenceReady(2, "Yes."), 5.1)
    conversation.handle(ReplyFinished(2), 5.2)
    _speech(conversation, 2, "Yes. ", 5.3)
    conversation.handle(SpeechFinished(2), 5.3)
    assert conversation.deadline == pytest.approx(5.3 + 0.25 + 2.0)
    assert _kinds(_passes(conversation)) == ["RecordTurn"]
    assert conversation.transcript.last() == AgentSaid("Yes.")


def test_long_speech_is_handed_over_two_seconds_ahead(conversation: Conversation) -> None:
    _asks(conversation, "Tell me all.", 3.0)
    text = "word " * 20
    conversation.handle(SentenceReady(2, text.strip()), 5.1)
    first = _speech(conversation, 2, text, 5.2)
    assert sum(a.audio.ms for a in first if isinstance(a, PlayAudio)) == 2400
    more = conversation.handle(MarkReturned(2, 600), 5.8)
    assert [a.audio.ms for a in more if isinstance(a, PlayAudio)] == [600]
    # The next mark is late: the clock says that 1200 ms were heard, and does not make the buffer grow beyond.
    assert [a.audio.ms for a in conversation.handle(DeadlinePassed(), 7.2) if isinstance(a, PlayAudio)] == [600]
    assert conversation.handle(DeadlinePassed(), 7.9) == []


# Trouble


def test_a_second_failure_does_not_begin_the_apology_again(conversation: Conversation) -> None:
    conversation.handle(VendorFailed("transcriber", "gone"), 3.0)
    assert conversation.handle(VendorFailed("transcriber", "gone"), 3.1) == []


# The end


def test_goodbye_is_heard_to_its_last_mark_before_the_agent_hangs_up(conversation: Conversation) -> None:
    _asks(conversation, "Goodbye.", 3.0)
    conversation.handle(SentenceReady(2, "Goodbye."), 5.1)
    assert conversation.handle(ToolCalled(2, "call-1", "hang_up", "{}"), 5.2) == []
    conversation.handle(ReplyFinished(2), 5.2)
    _speech(conversation, 2, "Goodbye. ", 5.3)
    conversation.handle(SpeechFinished(2), 5.4)
    assert not conversation.ended
    assert conversation.handle(MarkReturned(2, 450), 5.8)[-1] == EndCall("completed", "agent-hung-up")


def test_an_agent_that_hangs_up_without_a_word_does_so_at_once(conversation: Conversation) -> None:
    _asks(conversation, "Goodbye.", 3.0)
    conversation.handle(ToolCalled(2, "call-1", "hang_up", "{}"), 5.2)
    assert conversation.handle(ReplyFinished(2), 5.3)[-1] == EndCall("completed", "agent-hung-up")


@pytest.mark.parametrize(
    ("event", "end"),
    [
        (CallerHungUp(), EndCall("completed", "caller-hung-up")),
        (StreamLost("reset"), EndCall("lost", "stream-lost")),
        (EndRequested("idle"), EndCall("completed", "idle")),
    ],
)
def test_every_other_way_to_end(
    conversation: Conversation, event: CallerHungUp | StreamLost | EndRequested, end: EndCall
) -> None:
    assert conversation.handle(event, 3.0) == [end]
    assert conversation.handle(StreamStarted(), 3.1) == [], "nothing happens after the end"
    assert conversation.deadline is None


def test_a_hang_up_in_a_turn_records_what_was_heard(conversation: Conversation) -> None:
    _asks(conversation, "Hm?", 3.0)
    conversation.handle(SentenceReady(2, "Yes, of course."), 5.1)
    _speech(conversation, 2, "Yes, of course. ", 5.2)
    record, end = conversation.handle(CallerHungUp(), 5.5)
    assert isinstance(record, RecordTurn) and (record.agent, record.cut) == ("Yes,", True)
    assert end == EndCall("completed", "caller-hung-up")


def _kinds(actions: list[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]
