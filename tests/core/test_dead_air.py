"""No silence without a cause written down: every stage that is late has a remedy, and trouble ends in words."""

import pytest

from tests.core.stories import Story, kinds
from voice.core.events import (
    CallerStartedSpeaking,
    CancelReply,
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
    UseFallbackVoice,
    VendorFailed,
)
from voice.core.transcript import AgentSaid

FILLER = "One moment, please."


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
    apology = story.passes_until(SpeakKnown)
    assert SpeakKnown(3, "Sorry, bye.") in apology
    assert story.now < 5.0 + 6


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
    refused = VendorFailed("synthesizer", "401", refused=True)
    assert _asked().at(5.1, refused)[-1] == EndCall("failed", "synthesizer-failed", apologize=True)


def test_a_model_that_fails_after_its_first_sentence_is_not_asked_again() -> None:
    story = _asked()
    story.at(5.1, SentenceReady(2, "At nine."))
    assert SpeakKnown(3, "Sorry, bye.") in story.at(5.2, VendorFailed("language model", "reset", 2))


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


def test_text_without_sound_is_spoken_anew_then_by_another_voice_then_the_telephone_apologizes() -> None:
    story = _asked()
    story.writes(5.1, 2, "At nine.")
    again = story.passes()
    assert again == [StopSpeaking(2), RecordDelay(2, "speech", "spoken again"), Speak(2, "At nine."), FinishSpeech(2)]
    assert story.now == pytest.approx(5.1 + 1.5)
    assert kinds(story.passes()) == ["StopSpeaking", "UseFallbackVoice", "RecordDelay", "Speak", "FinishSpeech"]
    assert story.passes()[-1] == EndCall("failed", "synthesizer-failed", apologize=True)


def test_speech_that_breaks_off_is_taken_up_at_the_word_that_is_missing() -> None:
    story = _asked()
    story.writes(5.1, 2, "We open at nine.")
    story.sounds(5.2, 2, "We open a")
    story.heard(5.7, 2, 9)
    assert Speak(2, "at nine.") in story.passes_until(Speak)


def test_a_final_message_without_any_sound_is_no_end() -> None:
    story = _asked()
    story.writes(5.1, 2, "At nine.")
    assert story.at(5.2, SpeechFinished(2)) == []
    assert Speak(2, "At nine.") in story.passes()


def test_a_synthesizer_that_is_gone_gets_a_new_connection_and_what_has_not_sounded() -> None:
    story = _asked()
    story.writes(5.1, 2, "We open at nine.")
    story.sounds(5.2, 2, "We open ")
    actions = story.at(5.3, VendorFailed("synthesizer", "closed"))
    assert actions[:2] == [StopSpeaking(2), UseFallbackVoice()]
    assert Speak(2, "at nine.") in actions


def test_a_synthesizer_that_is_gone_between_two_turns_is_connected_anew() -> None:
    assert Story().at(3.0, VendorFailed("synthesizer", "closed")) == [UseFallbackVoice()]


def test_a_synthesizer_that_is_beyond_remedy_cannot_apologize() -> None:
    story = _asked()
    story.writes(5.1, 2, "At nine.")
    story.at(5.2, VendorFailed("synthesizer", "closed"))
    story.at(5.3, VendorFailed("synthesizer", "closed"))
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
    story.at(3.1, VendorFailed("synthesizer", "gone"))
    story.at(3.2, VendorFailed("synthesizer", "gone"))
    assert story.at(3.3, VendorFailed("synthesizer", "gone"))[-1].apologize  # type: ignore[union-attr]


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
