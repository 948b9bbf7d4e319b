"""The rest of a good call: tools, the keypad, a silent caller, the time limit, the goodbye."""

import pytest

from tests.core.stories import Story, kinds
from voice.core.events import (
    CancelReply,
    DeadlinePassed,
    DigitPressed,
    EndCall,
    EndRequested,
    RecordDelay,
    RecordTurn,
    ReplyFinished,
    RunTool,
    SentenceReady,
    SpeakKnown,
    SpeechFinished,
    StartReply,
    ToolCalled,
    ToolFinished,
)
from voice.core.transcript import AgentSaid, CallerSaid, ToolsUsed, ToolUsed

# Tools


def _calling(*names: str) -> Story:
    """The model has called these tools in its answer, at 5 s."""
    story = Story()
    story.asks(3.0, "Book me in.")
    for name in names:
        story.at(5.1, ToolCalled(2, f"call-{name}", name, '{"day":"monday"}'))
    story.at(5.2, ReplyFinished(2))
    return story


def test_a_tool_runs_and_its_result_goes_back_to_the_model() -> None:
    story = _calling("book")
    assert story.after == [RunTool(2, "call-book", "book", '{"day":"monday"}')]
    assert story.at(5.5, ToolFinished(2, "call-book", '{"at":"ten"}')) == [StartReply(2)]
    assert story.conversation.transcript.messages()[-2:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call-book",
                    "type": "function",
                    "function": {"name": "book", "arguments": '{"day":"monday"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call-book", "content": '{"at":"ten"}'},
    ]
    story.writes(5.8, 2, "Booked.")
    story.sounds(5.9, 2, "Booked. ")
    story.heard(6.4, 2, 8)
    assert [type(e) for e in story.conversation.transcript.entries[-3:]] == [CallerSaid, ToolsUsed, AgentSaid]


def test_words_before_a_tool_are_known_to_the_model_and_stand_once_in_the_history() -> None:
    story = Story()
    story.asks(3.0, "Book me in.")
    story.at(5.1, SentenceReady(2, "Let me see."))
    story.at(5.1, ToolCalled(2, "c", "book", "{}"))
    story.at(5.2, ReplyFinished(2))
    assert story.conversation.transcript.messages()[-2]["content"] == "Let me see."
    story.at(5.5, ToolFinished(2, "c", "ok"))
    story.writes(5.8, 2, "Booked.")
    story.sounds(5.9, 2, "Let me see. Booked. ")
    story.heard(6.8, 2, 12)
    story.heard(7.2, 2, 20)
    contents = [m["content"] for m in story.conversation.transcript.messages()]
    assert contents == ["Hello there.", "Book me in.", None, "ok", "Let me see. Booked."]


def test_several_tools_run_at_once_and_the_model_goes_on_after_the_last() -> None:
    story = _calling("book", "remind")
    assert [a.name for a in story.after if isinstance(a, RunTool)] == ["book", "remind"]
    assert story.at(5.5, ToolFinished(2, "call-remind", "ok")) == []
    assert story.at(5.6, ToolFinished(2, "call-book", "ok")) == [StartReply(2)]


def test_a_slow_tool_is_covered_by_a_filler() -> None:
    story = _calling("book")
    assert story.passes() == [RecordDelay(2, "tool", "filler"), SpeakKnown(2, "One moment, please.")]
    assert story.now == pytest.approx(5.2 + 1.0)


def test_a_caller_who_speaks_while_a_tool_is_at_work_keeps_its_result() -> None:
    story = _calling("book")
    story.starts(5.4)
    assert CancelReply(2) not in story.understood(5.6, "and also", "item-2")
    assert story.at(5.8, ToolFinished(2, "call-book", "booked")) == []
    story.stops(6.5)
    story.final(7.0, "and also Tuesday", "item-2")
    assert isinstance(story.after[-1], StartReply)
    assert "booked" in [m["content"] for m in story.conversation.transcript.messages()]


@pytest.mark.threat(7, 16)
def test_a_model_that_loops_on_tools_has_to_answer_in_the_end() -> None:
    story = _calling("book")
    offered = []
    for _ in range(5):
        (ask,) = story.at(story.now + 0.1, ToolFinished(2, "call-book", "ok"))
        assert isinstance(ask, StartReply)
        offered.append(ask.tools)
        story.at(story.now, ToolCalled(2, "call-book", "book", "{}"))
        story.at(story.now, ReplyFinished(2))
    assert offered == [True, True, True, True, False]


def test_the_result_of_a_tool_that_nobody_called_changes_nothing() -> None:
    story = Story()
    assert story.at(3.0, ToolFinished(7, "x", "y")) == []
    assert story.conversation.transcript.entries == [AgentSaid("Hello there.")]


def test_a_tool_without_a_result_yet_says_so() -> None:
    story = _calling("book")
    assert story.conversation.transcript.entries[-1] == ToolsUsed(
        2, (ToolUsed("call-book", "book", '{"day":"monday"}'),), ""
    )
    assert "not finished" in story.conversation.transcript.messages()[-1]["content"]


# The keypad


def test_digits_are_the_callers_words_when_a_pause_follows() -> None:
    story = Story()
    for second, digit in enumerate("42"):
        assert story.at(3.0 + second, DigitPressed(digit)) == []
    assert story.passes() == [StartReply(2)]
    assert story.now == pytest.approx(4.0 + 3.0)
    assert story.conversation.transcript.last() == CallerSaid("[keypad] 4 2")


def test_the_hash_key_ends_them_at_once() -> None:
    story = Story()
    for digit in "123":
        story.at(3.0, DigitPressed(digit))
    assert story.at(3.2, DigitPressed("#")) == [StartReply(2)]
    assert story.conversation.transcript.last() == CallerSaid("[keypad] 1 2 3")


def test_a_key_stops_the_agent() -> None:
    story = Story()
    story.asks(3.0, "Tell me all.")
    story.writes(5.1, 2, "Press one for this and two for that.")
    story.sounds(5.2, 2, "Press one for this and two for that. ")
    assert "ClearPlayout" in kinds(story.at(5.9, DigitPressed("1")))
    assert story.conversation.transcript.last() == AgentSaid("Press one", cut=True)


# Silence


@pytest.mark.threat(16)
def test_a_silent_caller_is_asked_twice_and_then_the_call_ends_politely() -> None:
    story = Story(idle_prompt_s=10)
    for turn in (2, 3):
        assert SpeakKnown(turn, "Are you still there?") in story.passes()
        story.sounds(story.now, turn, "Are you still there? ")
        story.at(story.now, SpeechFinished(turn))
        story.passes_until(RecordTurn)
    assert SpeakKnown(4, "Goodbye.") in story.passes()
    story.sounds(story.now, 4, "Goodbye. ")
    assert story.passes_until(EndCall)[-1] == EndCall("completed", "caller-silent")


def test_a_caller_who_speaks_again_is_asked_anew() -> None:
    story = Story(idle_prompt_s=10, idle_prompts=1)
    story.passes()
    story.sounds(12.1, 2, "Are you still there? ")
    story.heard(13.5, 2, 21)
    # The answer is begun on a delta and confirmed: that counts as words too.
    story.starts(14.0)
    story.understood(14.5, "Yes")
    story.stops(15.0)
    story.final(16.0, "Yes.")
    story.writes(16.1, 3, "Good.")
    story.sounds(16.2, 3, "Good. ")
    story.heard(16.6, 3, 6)
    assert SpeakKnown(4, "Are you still there?") in story.passes()


# The end


@pytest.mark.threat(16)
def test_the_time_limit_is_announced_and_then_kept() -> None:
    story = Story(max_duration_s=100, idle_prompt_s=1000)
    assert SpeakKnown(2, "We will have to finish in a moment.") in story.passes()
    assert story.now == 80
    story.sounds(80.1, 2, "We will have to finish in a moment. ")
    story.passes_until(RecordTurn)
    assert SpeakKnown(3, "Goodbye.") in story.passes_until(SpeakKnown)
    assert story.now == 100
    story.sounds(100.1, 3, "Goodbye. ")
    assert story.passes_until(EndCall)[-1] == EndCall("completed", "time-limit")


def test_the_warning_waits_for_the_agent_to_finish() -> None:
    story = Story(max_duration_s=100, idle_prompt_s=1000)
    story.asks(77.0, "Hm?")
    story.writes(79.1, 2, "I see what you mean.")
    story.sounds(79.2, 2, "I see what you mean. ")
    story.at(80.0, DeadlinePassed())
    assert story.after == []
    assert SpeakKnown(3, "We will have to finish in a moment.") in story.heard(80.3, 2, 21)


@pytest.mark.threat(16)
def test_a_goodbye_that_is_never_heard_does_not_keep_the_call() -> None:
    story = Story(max_duration_s=100, warning_s=40, idle_prompt_s=1000)
    story.passes()
    story.sounds(100.1, 2, "Goodbye. " * 200)
    assert story.passes_until(EndCall)[-1] == EndCall("completed", "time-limit")
    assert story.now == pytest.approx(100 + 15)


def test_a_caller_who_interrupts_the_goodbye_stays_on_the_line() -> None:
    story = Story()
    story.asks(3.0, "Goodbye.")
    story.at(5.1, ToolCalled(2, "c", "hang_up", "{}"))
    story.writes(5.1, 2, "Goodbye and thank you.")
    story.sounds(5.3, 2, "Goodbye and thank you. ")
    story.starts(5.4)
    story.stops(6.4)
    assert isinstance(story.final(7.0, "One more thing.", "item-2")[-1], StartReply)


def test_a_noise_in_the_goodbye_does_not_keep_the_call() -> None:
    story = Story()
    story.asks(3.0, "Goodbye.")
    story.at(5.1, ToolCalled(2, "c", "hang_up", "{}"))
    story.writes(5.1, 2, "Goodbye and thank you.")
    story.sounds(5.3, 2, "Goodbye and thank you. ")
    story.starts(5.6)
    story.stops(6.4)
    assert story.passes_until(EndCall)[-1] == EndCall("completed", "agent-hung-up")


def test_whoever_wants_the_call_over_gets_it_at_once() -> None:
    assert Story().at(3.0, EndRequested("operator")) == [EndCall("completed", "operator")]
