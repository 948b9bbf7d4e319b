"""No silence without a cause written down: every stage that is late has a remedy, and trouble ends in words."""

import pytest

from tests.core.stories import Story, kinds
from voice.core.backlog import PACE
from voice.core.events import (
    CallerStartedSpeaking,
    CancelReply,
    ChangeSynthesizer,
    CommitUtterance,
    EndCall,
    FinishSpeech,
    FlushReply,
    RecordDelay,
    ReplyFinished,
    ReplyStarted,
    SentenceReady,
    Speak,
    SpeakKnown,
    SpeechFinished,
    StartReply,
    StopSpeaking,
    TranscriberLost,
    TranscriberReady,
    VendorFailed,
)
from voice.core.transcript import AgentSaid, CallerSaid

FILLER = "One moment, please."
AGAIN = "Sorry, I didn't catch that. Could you say it again?"


def _asked(**rules: object) -> Story:
    """The caller's last sound was at 3.4 s; at 5 s the model is asked."""
    story = Story(**rules)
    story.asks(3.0, "When are you open?")
    return story


# The language model


def test_a_model_that_takes_its_time_is_covered_by_a_filler_then_asked_again_then_apologized_for() -> None:
    story = _asked()
    assert story.passes() == [RecordDelay(2, "first token", "filler"), SpeakKnown(2, FILLER)]
    assert story.now == pytest.approx(5.0 + 1.5)
    story.sounds(6.6, 2, FILLER + " ")
    again = story.passes_until(StartReply)
    assert again == [RecordDelay(2, "first token", "asked again"), CancelReply(2), StartReply(2, attempt=2)]
    assert story.now == pytest.approx(5.0 + 5.0)
    while story.conversation.turn == 2:
        story.passes()
    assert SpeakKnown(3, "Sorry, bye.") in story.after
    assert story.now == pytest.approx(5.0 + 10.0)


def test_the_answer_follows_the_filler_in_the_same_turn() -> None:
    story = _asked()
    story.passes()
    story.sounds(6.6, 2, FILLER + " ")
    story.writes(7.0, 2, "At nine.")
    story.sounds(7.2, 2, "At nine. ")
    while story.conversation.floor == "agent":
        story.passes()
    assert story.conversation.transcript.last() == AgentSaid(f"{FILLER} At nine.")


def test_a_model_that_fails_before_its_first_sentence_is_asked_once_more() -> None:
    story = _asked()
    assert story.at(5.1, VendorFailed("language model", "503", 2)) == [
        RecordDelay(2, "language model", "asked again"),
        CancelReply(2),
        StartReply(2, attempt=2),
    ]
    assert SpeakKnown(3, "Sorry, bye.") in story.at(5.2, VendorFailed("language model", "503", 2))


def test_a_model_that_refuses_is_not_asked_again() -> None:
    refused = VendorFailed("language model", "403 no credits", 2, refused=True)
    assert SpeakKnown(3, "Sorry, bye.") in _asked().at(5.1, refused)


def test_a_synthesizer_that_refuses_is_not_asked_again() -> None:
    refused = VendorFailed("synthesizer", "401", refused=True, account=True)
    assert _asked().at(5.1, refused)[-1] == EndCall("failed", "synthesizer-failed", apologize=True)


def test_what_was_spoken_of_an_answer_that_breaks_off_stays_and_the_caller_is_asked_again() -> None:
    story = _asked()
    story.at(5.1, SentenceReady(2, "At nine."))
    assert story.at(5.2, VendorFailed("language model", "reset", 2)) == [
        RecordDelay(2, "answer", "asked the caller to say it again"),
        # Not from the clips: one would be heard before the words that are being synthesized.
        Speak(2, "Sorry, I didn't catch that."),
        Speak(2, "Could you say it again?"),
        FinishSpeech(2),
    ]
    story.sounds(5.3, 2, f"At nine. {AGAIN} ")
    while story.conversation.floor == "agent":
        story.passes()
    assert story.conversation.transcript.last() == AgentSaid(f"At nine. {AGAIN}")


def test_a_second_answer_in_a_row_that_breaks_off_is_apologized_for() -> None:
    story = _asked()
    for turn, now in ((2, 5.1), (3, 20.0)):
        story.at(now, SentenceReady(turn, "At nine."))
        story.at(now + 0.1, VendorFailed("language model", "reset", turn))
        if turn == 2:
            story.sounds(now + 0.2, turn, f"At nine. {AGAIN} ")
            while story.conversation.floor == "agent":
                story.passes()
            story.asks(17.0, "When are you open?", "item-2")
    assert SpeakKnown(4, "Sorry, bye.") in story.after


def test_a_model_that_drips_is_broken_off() -> None:
    story = _asked()
    story.at(5.1, SentenceReady(2, "At nine."))
    story.sounds(5.2, 2, "At nine. ")
    broken = story.passes_until(CancelReply)
    assert story.now == pytest.approx(5.0 + 15.0)
    assert broken[:2] == [RecordDelay(2, "answer", "broken off"), CancelReply(2)]


def test_a_model_that_answers_nothing_is_asked_once_more() -> None:
    story = _asked()
    assert StartReply(2, attempt=2) in story.at(5.1, ReplyFinished(2))
    assert SpeakKnown(3, "Sorry, bye.") in story.at(5.2, ReplyFinished(2))


def test_a_sentence_without_an_end_is_spoken_in_parts() -> None:
    story = _asked()
    story.at(5.2, ReplyStarted(2))
    assert story.passes() == [RecordDelay(2, "sentence", "spoke the part"), FlushReply(2)]
    assert story.now == pytest.approx(5.2 + 1.5)
    assert story.at(6.7, SentenceReady(2, "It is a long")) == [Speak(2, "It is a long")]


# The synthesizer


def test_text_without_sound_is_spoken_anew_by_another_voice_by_request_and_then_the_telephone_apologizes() -> None:
    story = _asked()
    story.writes(5.1, 2, "At nine.")
    for to in ("anew", "fallback-voice", "by-request"):
        assert story.passes() == [
            StopSpeaking(2),
            ChangeSynthesizer(to),  # type: ignore[arg-type]
            RecordDelay(2, "speech", "spoken again"),
            Speak(2, "At nine."),
            FinishSpeech(2),
        ]
    assert story.now == pytest.approx(5.1 + 1.5 + 1.2 + 1.2)
    assert story.passes()[-1] == EndCall("failed", "synthesizer-failed", apologize=True)


def test_a_turn_that_was_heard_makes_the_next_trouble_the_first() -> None:
    story = Story()
    assert story.at(2.1, VendorFailed("synthesizer", "closed")) == [ChangeSynthesizer("anew")]
    assert story.at(2.2, VendorFailed("synthesizer", "closed")) == [ChangeSynthesizer("fallback-voice")]
    story.asks(3.0, "When are you open?")
    story.writes(5.1, 2, "At nine.")
    story.sounds(5.2, 2, "At nine. ")
    while story.conversation.floor == "agent":
        story.passes()
    assert story.at(20.0, VendorFailed("synthesizer", "closed")) == [ChangeSynthesizer("anew")]


def test_a_voice_that_is_refused_is_not_asked_for_again() -> None:
    refused = VendorFailed("synthesizer", "404 no such voice", refused=True)
    assert Story().at(2.1, refused) == [ChangeSynthesizer("fallback-voice")]


def test_speech_that_breaks_off_is_taken_up_at_the_word_that_is_missing() -> None:
    story = _asked()
    story.writes(5.1, 2, "We open at nine.")
    story.sounds(5.2, 2, "We open a")
    story.heard(5.7, 2, 9)
    assert Speak(2, "at nine.") in story.passes_until(Speak)


@pytest.mark.matrix(28)
def test_a_final_message_without_any_sound_is_answered_by_a_request() -> None:
    story = _asked()
    story.writes(5.1, 2, "At nine.")
    actions = story.at(5.2, SpeechFinished(2))
    assert ChangeSynthesizer("by-request") in actions and Speak(2, "At nine.") in actions


def test_a_synthesizer_that_is_gone_gets_a_new_connection_and_what_has_not_sounded() -> None:
    story = _asked()
    story.writes(5.1, 2, "We open at nine.")
    story.sounds(5.2, 2, "We open ")
    actions = story.at(5.3, VendorFailed("synthesizer", "closed"))
    assert actions[:2] == [StopSpeaking(2), ChangeSynthesizer("anew")]
    assert Speak(2, "at nine.") in actions


def test_a_synthesizer_that_is_gone_between_two_turns_is_connected_anew() -> None:
    assert Story().at(3.0, VendorFailed("synthesizer", "closed")) == [ChangeSynthesizer("anew")]


def test_a_synthesizer_that_is_beyond_remedy_cannot_apologize() -> None:
    story = _asked()
    story.writes(5.1, 2, "At nine.")
    for now in (5.2, 5.25, 5.3):
        story.at(now, VendorFailed("synthesizer", "closed"))
    assert story.at(5.4, VendorFailed("synthesizer", "closed"))[-1] == EndCall(
        "failed", "synthesizer-failed", apologize=True
    )


# The transcriber, and trouble on trouble


def test_a_transcriber_that_is_gone_is_apologized_for_and_the_apology_is_not_stopped() -> None:
    story = _asked()
    assert kinds(story.at(5.1, VendorFailed("transcriber", "gone"))) == [
        "CancelReply",
        "RecordTurn",
        "SpeakKnown",
        "FinishSpeech",
    ]
    story.sounds(5.2, 3, "Sorry, bye. ")
    assert story.at(5.3, CallerStartedSpeaking()) == []
    assert story.heard(5.9, 3, 12)[-1] == EndCall("failed", "transcriber-failed")


def test_a_second_failure_does_not_begin_the_apology_again() -> None:
    story = Story()
    story.at(3.0, VendorFailed("transcriber", "gone"))
    assert story.at(3.1, VendorFailed("transcriber", "gone")) == []


def test_an_apology_that_makes_no_sound_is_left_to_the_telephone() -> None:
    story = Story()
    story.at(3.0, VendorFailed("transcriber", "gone"))
    for now in (3.1, 3.15, 3.2):
        story.at(now, VendorFailed("synthesizer", "gone"))
    assert story.at(3.3, VendorFailed("synthesizer", "gone"))[-1].apologize  # type: ignore[union-attr]


LOST = TranscriberLost("closed the connection: 1011")
EAR_LOST = TranscriberLost("closed the connection: 1011", detects_speech=True)


@pytest.mark.matrix(1)
def test_an_utterance_that_another_session_hears_again_is_answered_once() -> None:
    story = Story()
    story.starts(3.0)
    story.understood(3.2, "When are")
    story.at(3.4, LOST)
    story.at(3.8, TranscriberReady(0, 0.8))
    story.understood(4.0, "When", "item-of-another")
    story.understood(4.1, " are you open", "item-of-another")
    story.stops(4.4)
    answered = story.final(5.2, "When are you open?", "item-of-another")
    assert [a for a in answered if isinstance(a, StartReply)] == [StartReply(2)] or story.conversation.turn == 2
    assert story.conversation.transcript.messages("")[-1] == {"role": "user", "content": "When are you open?"}


@pytest.mark.matrix(1)
def test_one_that_has_ended_waits_for_the_session_that_hears_it_again() -> None:
    story = Story()
    story.starts(3.0)
    story.stops(4.0)
    story.at(4.1, LOST)
    story.at(5.5, TranscriberReady(1, 1.5))
    assert story.conversation.deadline == pytest.approx(5.5 + 1.5 / (PACE - 1) + 1.8)
    assert StartReply(2) in story.final(6.5, "When are you open?", "item-of-another")


def test_names_for_what_was_answered_already_are_not_taken_for_the_next_words() -> None:
    story = Story()
    story.starts(3.0)
    story.understood(3.2, "When are you open")
    story.stops(4.0)
    story.at(4.1, LOST)
    story.passes_until(SpeakKnown)
    story.sounds(6.0, story.conversation.turn, FILLER + " ")
    story.passes_until(StartReply)
    story.at(10.0, TranscriberReady(1, 1.5))
    assert story.final(10.5, "When are you open?", "item-of-another") == []
    turn = story.conversation.turn
    story.writes(10.6, turn, "At nine.")
    story.sounds(10.7, turn, "At nine. ")
    while story.conversation.floor == "agent":
        story.passes()
    story.asks(20.0, "Thank you.", "next-item")
    assert story.conversation.turn == turn + 1


@pytest.mark.matrix(3)
def test_a_caller_whom_nobody_hears_is_asked_to_wait_within_four_seconds_and_again() -> None:
    story = Story()
    story.at(2.5, LOST)
    story.starts(3.0)
    story.stops(4.0)
    assert story.passes() == [RecordDelay(1, "transcriber", "filler"), SpeakKnown(2, FILLER), FinishSpeech(2)]
    assert story.now <= 3.4 + 4.0
    story.sounds(6.0, 2, FILLER + " ")
    while story.conversation.floor == "agent":
        story.passes()
    assert SpeakKnown(3, FILLER) in story.passes_until(SpeakKnown)
    assert story.now <= 5.8 + 4.1


@pytest.mark.matrix(3)
def test_what_is_said_while_a_session_hears_what_it_missed_has_time_until_it_has() -> None:
    story = Story()
    story.at(6.0, LOST)
    story.starts(15.0)
    story.at(16.0, TranscriberReady(0, 10.0))
    story.stops(16.5)
    assert story.passes() == [RecordDelay(story.conversation.turn, "transcript", "asked for again"), CommitUtterance()]
    assert story.now == pytest.approx(16.0 + 10.0 / (PACE - 1) + 1.8)


def _broken_off() -> Story:
    """At 6 s the session is lost that would have told when the caller stops."""
    story = Story(preemptive="off")
    story.starts(5.0)
    story.understood(5.5, "Are you")
    story.at(6.0, EAR_LOST)
    return story


@pytest.mark.matrix(1, 3)
def test_one_that_nobody_can_tell_the_end_of_is_not_waited_for_in_silence() -> None:
    story = _broken_off()
    assert SpeakKnown(2, FILLER) in story.passes() and story.now <= 6.0 + 4.0


@pytest.mark.matrix(1)
def test_one_that_another_session_does_not_hear_again_is_over_and_answered() -> None:
    story = _broken_off()
    story.at(6.5, TranscriberReady(0, 1.5))
    assert story.conversation.deadline == pytest.approx(6.5 + 1.5 / (PACE - 1) + 1.8)
    asked = story.passes_until(StartReply)
    assert story.now < 12 and asked == [
        RecordDelay(1, "transcript", "went by what was understood so far"),
        StartReply(2),
    ]
    assert story.conversation.transcript.last() == CallerSaid("Are you")


@pytest.mark.matrix(1)
def test_one_that_another_session_hears_again_is_answered_once() -> None:
    story = _broken_off()
    story.at(6.5, TranscriberReady(0, 1.5))
    story.starts(6.6)
    story.understood(6.9, "Are you open", "item-2")
    story.stops(8.9)
    asked = story.final(9.2, "Are you open today?", "item-2")
    assert asked[-1] == StartReply(2) and story.conversation.transcript.last() == CallerSaid("Are you open today?")
    assert story.conversation.words == ""


@pytest.mark.matrix(4)
def test_a_caller_who_is_quiet_is_told_too_that_nobody_hears_and_again() -> None:
    story = Story()
    story.at(6.0, LOST)
    assert SpeakKnown(2, FILLER) in story.passes() and story.now <= 6.0 + 4.0
    story.sounds(9.6, 2, FILLER + " ")
    while story.conversation.floor == "agent":
        story.passes()
    over = story.now
    assert SpeakKnown(3, FILLER) in story.passes_until(SpeakKnown) and story.now <= over + 4.0
    story.sounds(story.now + 0.1, 3, FILLER + " ")
    story.at(story.now + 0.2, TranscriberReady(0, 0.0))
    while story.conversation.floor == "agent":
        story.passes()
    over = story.now
    assert story.passes()[0] == SpeakKnown(4, "Are you still there?") and story.now >= over + 14


@pytest.mark.matrix(31)
def test_without_transcriber_and_synthesizer_a_call_is_given_up_in_three_seconds() -> None:
    story = Story()
    story.at(6.0, LOST)
    for now in (6.1, 6.8):
        story.at(now, VendorFailed("synthesizer", "gone"))
    assert SpeakKnown(2, "Sorry, bye.") in story.passes() and story.now == pytest.approx(6.8 + 2.5)


def test_a_synthesizer_that_was_replaced_does_not_end_a_call_that_waits_for_its_transcriber() -> None:
    story = Story()
    story.at(6.0, LOST)
    story.at(6.1, VendorFailed("synthesizer", "gone"))
    assert SpeakKnown(2, FILLER) in story.passes() and story.now == pytest.approx(9.5)
    assert not story.conversation.ended


def test_the_agent_does_not_speak_on_over_words_that_nobody_has_heard() -> None:
    story = _asked()
    story.writes(5.1, 2, "At nine.")
    story.sounds(5.2, 2, "At nine. ")
    story.heard(5.3, 2, 2)
    story.at(5.35, LOST)
    story.starts(5.4)
    story.stops(6.4)
    assert story.conversation.floor == "nobody"
    assert AgentSaid in map(type, story.conversation.transcript.entries)


# Every stage late in turn: the caller hears something within 4 s of the last sound


@pytest.mark.parametrize("late", ["transcript", "first token", "sentence", "speech"])
def test_something_sensible_is_on_its_way_within_four_seconds(late: str) -> None:
    story = Story()
    story.starts(3.0)
    if late != "transcript":
        story.understood(3.2, "When are you open")
    story.stops(4.0)
    if late == "transcript":
        actions = story.passes_until(SpeakKnown)
    elif late == "first token":
        story.final(4.8, "When are you open?")
        actions = story.passes_until(SpeakKnown)
    elif late == "sentence":
        story.final(4.8, "When are you open?")
        story.at(4.9, ReplyStarted(2))
        actions = story.passes_until(FlushReply)
    else:
        story.final(4.8, "When are you open?")
        story.writes(5.0, 2, "At nine.")
        actions = story.passes_until(Speak)
    assert actions
    assert story.now <= 3.4 + 4.0
