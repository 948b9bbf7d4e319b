"""Who may speak, when it is not simple: noises, backchannels, answers begun before the last word is known."""

import pytest

from tests.core.stories import Story, kinds, played_ms
from voice.core.events import (
    Action,
    CallerHungUp,
    CancelReply,
    ClearPlayout,
    CommitUtterance,
    EndCall,
    Event,
    PlayAudio,
    RecordDelay,
    RecordTurn,
    RecordWaste,
    ReplyFinished,
    RunTool,
    SentenceReady,
    Speak,
    StartReply,
    StopSpeaking,
    ToolCalled,
    ToolFinished,
    UtteranceCommitted,
    VendorFailed,
    WaitForSilence,
)
from voice.core.transcript import AgentSaid, CallerSaid

LONG = "We are open from nine to six on every day of the week. "


def _speaking(**rules: object) -> Story:
    """Turn 2 is being spoken since 5.2 s; at 6.2 s one second of it has been heard: "We are open from nin"."""
    story = Story(**rules)
    story.asks(3.0, "When are you open?")
    story.writes(5.1, 2, LONG.strip())
    story.sounds(5.2, 2, LONG)
    story.heard(5.8, 2, 12)
    return story


# False interruptions


def test_a_noise_stops_the_agent_and_it_goes_on_from_where_it_was_cut() -> None:
    story = _speaking()
    assert story.starts(6.2) == [ClearPlayout()]
    assert story.conversation.transcript.last() == CallerSaid("When are you open?"), "nothing is decided yet"
    # 300 ms of noise, then 600 ms of silence: not a word, so at once.
    story.stops(7.1)
    assert story.conversation.deadline == 7.1
    resumed = story.passes()
    assert resumed[0] == RecordDelay(2, "words", "went on after a false interruption")
    assert played_ms(resumed) + 1000 >= 2000, "it plays what it had"
    assert isinstance(resumed[1], PlayAudio) and abs(resumed[1].audio.ms - 200) < 1, "from the very place on"


def test_after_a_false_interruption_all_of_the_turn_was_said_and_heard_once() -> None:
    story = _speaking()
    story.starts(6.2)
    story.stops(7.1)
    played = 1000 + played_ms(story.passes())
    while story.conversation.floor == "agent":
        played += played_ms(story.passes())
    assert played == pytest.approx(len(LONG) * 50, abs=1)
    assert story.conversation.transcript.last() == AgentSaid(LONG.strip())


def test_speech_that_is_long_but_has_no_words_is_waited_for_less_than_a_second() -> None:
    story = _speaking()
    story.starts(6.2)
    story.stops(7.8)
    assert story.conversation.deadline == pytest.approx(7.8 + 0.9)
    assert isinstance(story.passes()[0], RecordDelay)


def test_an_empty_transcript_is_proof_of_a_noise() -> None:
    story = _speaking()
    story.starts(6.2)
    story.stops(7.8)
    story.at(7.8, UtteranceCommitted("item-2"))
    assert kinds(story.final(8.2, "", "item-2"))[:2] == ["RecordDelay", "PlayAudio"]


def test_words_that_come_after_the_agent_went_on_stop_it_for_good() -> None:
    story = _speaking()
    story.starts(6.2)
    story.stops(7.1)
    story.passes()
    assert kinds(story.final(7.9, "No, wait.", "item-2")) == ["ClearPlayout", "RecordTurn", "StartReply"]


def _writing(*more: Event) -> Story:
    """Turn 2 is stopped at 5.7 s, while the model still writes; `more` comes before it is known what stopped it."""
    story = Story()
    story.asks(3.0, "Tell me all.")
    story.at(5.1, SentenceReady(2, LONG.strip()))
    story.sounds(5.2, 2, LONG[:24])
    assert story.starts(5.7) == [StopSpeaking(2), ClearPlayout()], "the model is let write on"
    for event in more:
        assert story.at(5.9, event) == [], "nothing is said or done while the caller makes a sound"
    return story


def _goes_on(story: Story) -> list[Action]:
    story.stops(6.6)
    return story.passes()


def test_what_the_model_writes_while_a_noise_stops_the_agent_is_said_and_done_after_it() -> None:
    story = _writing(SentenceReady(2, "Come by."), ToolCalled(2, "c", "book", "{}"), ReplyFinished(2))
    resumed = _goes_on(story)
    assert [action for action in resumed if isinstance(action, Speak | RunTool)] == [
        Speak(2, LONG[25:].strip()),
        Speak(2, "Come by."),
        RunTool(2, "c", "book", "{}"),
    ]
    story.sounds(7.0, 2, LONG[25:] + "Come by. ")
    assert kinds(story.at(7.1, ToolFinished(2, "c", "{}"))) == ["StartReply"]
    story.writes(7.5, 2, "Done.")
    story.sounds(7.7, 2, "Done. ")
    story.passes_until(RecordTurn)
    assert story.conversation.transcript.last() == AgentSaid(LONG + "Come by. Done.")


def test_a_model_that_still_writes_after_the_noise_is_heard_to_its_end() -> None:
    story = _writing()
    _goes_on(story)
    assert Speak(2, "Come by.") in story.at(6.9, SentenceReady(2, "Come by."))
    story.at(7.0, ReplyFinished(2))
    story.sounds(7.1, 2, LONG[25:] + "Come by. ")
    story.passes_until(RecordTurn)
    assert story.conversation.transcript.last() == AgentSaid(LONG + "Come by.")


def test_a_model_that_falls_silent_behind_the_noise_is_late_like_any_other() -> None:
    story = _writing()
    _goes_on(story)
    story.sounds(6.9, 2, LONG[25:])
    assert story.passes_until(CancelReply)[0] == RecordDelay(2, "answer", "broken off")
    assert story.now == pytest.approx(6.6 + 15)


def test_a_model_that_fails_behind_the_noise_asks_the_caller_to_say_it_again() -> None:
    story = _writing(VendorFailed("language model", "503", 2))
    assert RecordDelay(2, "answer", "asked the caller to say it again") in _goes_on(story)


def test_a_model_that_had_not_begun_is_waited_for_after_the_noise() -> None:
    story = Story()
    story.asks(3.0, "Find me.")
    story.at(5.1, SentenceReady(2, LONG.strip()))
    story.at(5.1, ToolCalled(2, "c", "find", "{}"))
    story.at(5.2, ReplyFinished(2))
    story.sounds(5.3, 2, LONG)
    assert kinds(story.at(5.4, ToolFinished(2, "c", "{}"))) == ["StartReply"]
    story.starts(5.7)
    _goes_on(story)
    while not any(isinstance(action, StartReply) for action in story.passes()):
        pass
    assert story.after[0] == RecordDelay(2, "first token", "asked again")


def test_of_an_answer_that_was_interrupted_nothing_that_came_later_is_said_or_done() -> None:
    story = _writing(SentenceReady(2, "Come by."), ToolCalled(2, "c", "book", "{}"))
    assert kinds(story.understood(6.2, "No, wait", "item-2")) == ["CancelReply", "RecordTurn"]
    assert story.conversation.transcript.last() == AgentSaid("We are", cut=True)
    assert story.at(6.3, ReplyFinished(2)) == []


def test_a_model_that_writes_without_end_behind_a_noise_is_stopped() -> None:
    story = _writing(*[SentenceReady(2, "And so on.")] * 200)
    assert story.at(6.0, SentenceReady(2, "And so on.")) == [CancelReply(2)]
    assert story.at(6.0, SentenceReady(2, "And so on.")) == []
    assert kinds(_goes_on(story)).count("Speak") == 201


# Backchannels, and what takes the floor


@pytest.mark.parametrize("word", ["Mm-hm.", "Okay", "Yeah, right.", "uh huh"])
def test_a_backchannel_does_not_take_the_floor(word: str) -> None:
    story = _speaking()
    story.starts(6.2)
    story.stops(7.1)
    assert kinds(story.final(7.2, word, "item-2"))[:2] == ["RecordDelay", "PlayAudio"]


def test_okay_is_an_answer_when_the_agent_has_all_but_finished() -> None:
    story = _speaking()
    story.heard(7.6, 2, 48)
    story.starts(7.7)
    story.stops(8.5)
    assert kinds(story.final(8.6, "Okay", "item-2")) == ["RecordTurn", "StartReply"]


def test_on_words_the_agent_goes_on_until_there_is_a_word() -> None:
    story = _speaking(barge_in="on_words")
    assert story.starts(6.2) == []
    assert story.understood(6.5, "mm-hm", "item-2") == []
    assert kinds(story.understood(6.8, " but wait", "item-2"))[:2] == ["ClearPlayout", "RecordTurn"]


def test_on_words_a_backchannel_is_forgotten() -> None:
    story = _speaking(barge_in="on_words")
    story.starts(6.2)
    story.stops(7.0)
    assert story.final(7.4, "mm-hm", "item-2") == []
    story.passes_until(RecordTurn)
    assert story.conversation.floor == "nobody"
    assert story.conversation.turn == 2, "no turn answers it"


def test_words_of_its_own_list_do_not_take_the_floor_either() -> None:
    story = _speaking(barge_in="on_words", backchannels=("please continue",))
    story.starts(6.2)
    assert story.understood(6.5, "please continue", "item-2") == []


def test_off_means_that_nothing_is_lost() -> None:
    story = _speaking(barge_in="off")
    story.starts(6.2)
    story.stops(7.0)
    assert story.final(7.4, "And on Sunday?", "item-2") == []
    assert isinstance(story.passes_until(StartReply)[-1], StartReply)
    assert story.conversation.transcript.last() == CallerSaid("And on Sunday?")


def test_a_noise_while_the_agent_thinks_holds_the_answer_back_and_lets_it_go() -> None:
    story = Story()
    story.asks(3.0, "When are you open?")
    assert story.starts(5.05) == []
    story.writes(5.1, 2, "At nine.")
    assert played_ms(story.sounds(5.2, 2, "At nine. ")) == 0
    story.stops(5.9)
    assert played_ms(story.final(6.2, "", "item-2")) == 450


# Preemptive replies


def _half_known(**rules: object) -> Story:
    """The caller has finished at 4 s; the deltas say "when are you open", the final transcript is still to come."""
    story = Story(**rules)
    story.starts(3.0)
    story.understood(3.4, "when are")
    story.understood(3.8, " you open")
    story.stops(4.0)
    return story


def test_the_answer_is_thought_of_before_the_final_transcript_and_held_until_then() -> None:
    story = _half_known()
    assert story.after == [StartReply(2, "when are you open")]
    assert story.conversation.transcript.last() == AgentSaid("Hello there."), "nothing is certain yet"
    story.writes(4.4, 2, "At nine.")
    assert played_ms(story.sounds(4.6, 2, "At nine. ")) == 0
    confirmed = story.final(4.85, "When are you open?")
    assert kinds(confirmed) == ["FinishSpeech", "CloseSpeech", "PlayAudio", "SendMark"]
    assert story.conversation.transcript.last() == CallerSaid("When are you open?")


def test_the_answer_is_replaced_when_the_final_transcript_says_something_else() -> None:
    story = _half_known()
    story.writes(4.4, 2, "At nine.")
    story.sounds(4.6, 2, "At nine. ")
    replaced = story.final(4.85, "When are you open on Sunday?")
    assert replaced[0] == RecordWaste(2, 8)
    assert kinds(replaced)[1:] == ["StopSpeaking", "RecordTurn", "StartReply"]
    assert replaced[-1] == StartReply(3)
    assert story.conversation.transcript.entries[-1] == CallerSaid("When are you open on Sunday?")


def test_words_that_come_in_a_burst_are_answered_when_it_is_over() -> None:
    story = Story()
    story.starts(3.0)
    story.stops(4.0)
    assert story.understood(4.70, "when") == story.understood(4.75, " are") == story.understood(4.80, " you open") == []
    assert story.passes() == [StartReply(2, "when are you open")]
    assert story.now == pytest.approx(4.92)


def test_speak_plays_at_once() -> None:
    story = _half_known(preemptive="speak")
    story.writes(4.4, 2, "At nine.")
    assert played_ms(story.sounds(4.6, 2, "At nine. ")) == 450


def test_off_waits() -> None:
    story = _half_known(preemptive="off")
    assert story.after == []
    assert story.final(4.85, "When are you open?") == [StartReply(2)]


def test_a_caller_who_goes_on_takes_the_unfinished_answer_back() -> None:
    story = _half_known()
    story.starts(4.2)
    assert kinds(story.understood(4.5, " on Sunday")) == ["CancelReply", "RecordTurn"]
    story.stops(5.0)
    assert story.after == [StartReply(3, "when are you open on Sunday")]


def test_no_tool_runs_before_the_words_are_final() -> None:
    from voice.core.events import ReplyFinished, RunTool, ToolCalled

    story = _half_known()
    assert story.at(4.3, ToolCalled(2, "call-1", "book", "{}")) == []
    assert story.at(4.4, ReplyFinished(2)) == []
    assert story.final(4.85, "When are you open?") == [RunTool(2, "call-1", "book", "{}")]


def test_a_hang_up_in_the_middle_of_it_records_what_is_known() -> None:
    story = _half_known()
    assert kinds(story.at(4.2, CallerHungUp())) == ["RecordTurn", "EndCall"]
    assert story.after[-1] == EndCall("completed", "caller-hung-up")


# How long to wait


def test_the_silence_that_ends_an_utterance_follows_what_was_said() -> None:
    story = Story()
    story.starts(3.0)
    assert story.understood(3.2, "I would like a table for") == [WaitForSilence(1200)]
    assert story.understood(3.5, " Monday") == [WaitForSilence(600)]
    assert story.understood(3.6, ".") == [WaitForSilence(400)]
    assert story.understood(3.8, " My number is five five") == [WaitForSilence(1200)]
    assert story.stops(5.0)[0] == WaitForSilence(600), "the next utterance begins anew"


def test_a_late_transcript_is_replaced_by_what_was_understood() -> None:
    story = _half_known()
    story.writes(4.4, 2, "At nine.")
    story.sounds(4.6, 2, "At nine. ")
    late = story.passes_until(PlayAudio)
    assert story.now == pytest.approx(4.0 + 1.8)
    assert late[0] == RecordDelay(2, "transcript", "went by what was understood so far")
    assert story.final(25.0, "When are you open?") == [], "nothing is answered twice"


def test_an_utterance_without_a_word_is_asked_for_again_and_then_the_caller_is() -> None:
    story = Story()
    story.starts(3.0)
    story.stops(5.0)
    assert story.passes() == [RecordDelay(1, "transcript", "asked for again"), CommitUtterance()]
    asked = story.passes()
    assert kinds(asked) == ["RecordDelay", "SpeakKnown", "FinishSpeech"]
    assert story.now < 4.4 + 4, "within 4 s of the last sound"
