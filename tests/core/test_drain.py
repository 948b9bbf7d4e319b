"""A worker that is going: when does a call leave it, and how does it go on elsewhere."""

import pytest

from tests.core.stories import Story, kinds
from voice.core import events as ev
from voice.core.conversation import Conversation
from voice.core.rules import Rules
from voice.core.transcript import AgentSaid, CallerSaid, Past

LEFT = ev.EndCall("handed-over", "drained")
LEFT_LATE = ev.EndCall("handed-over", "drained-late")


def test_a_call_in_which_nobody_speaks_leaves_at_once() -> None:
    assert Story().at(3.0, ev.DrainRequested(8.0)) == [LEFT]


def test_the_agent_finishes_what_it_is_saying() -> None:
    story = Story()
    story.asks(3.0, "When are you open?")
    story.writes(5.1, 2, "From nine to five.")
    story.sounds(5.2, 2, "From nine to five. ")
    assert story.at(5.3, ev.DrainRequested(8.0)) == []
    assert story.heard(6.2, 2, 19)[-1] == LEFT
    assert story.conversation.transcript.last() == AgentSaid("From nine to five.")


def test_the_caller_finishes_and_is_answered() -> None:
    story = Story()
    story.starts(3.0)
    assert story.at(3.5, ev.DrainRequested(8.0)) == []
    story.stops(4.0)
    assert isinstance(story.final(5.0, "When are you open?")[-1], ev.StartReply)
    story.writes(5.1, 2, "At nine.")
    story.sounds(5.2, 2, "At nine. ")
    assert story.heard(5.8, 2, 9)[-1] == LEFT


def test_whoever_does_not_find_an_end_leaves_in_the_middle() -> None:
    story = Story()
    story.starts(3.0)
    story.at(3.5, ev.DrainRequested(2.0))
    assert story.passes_until(ev.EndCall)[-1] == LEFT_LATE
    assert story.now == pytest.approx(5.5)


def test_a_goodbye_ends_the_call_here() -> None:
    story = Story()
    story.asks(3.0, "Goodbye.")
    story.at(5.1, ev.ToolCalled(2, "c", "hang_up", "{}"))
    story.writes(5.1, 2, "Goodbye.")
    story.sounds(5.3, 2, "Goodbye. ")
    assert story.at(5.4, ev.DrainRequested(8.0)) == []
    assert story.heard(5.9, 2, 9)[-1] == ev.EndCall("completed", "agent-hung-up")


def test_a_tool_that_runs_may_finish_and_nothing_more() -> None:
    story = Story()
    story.asks(3.0, "A table at nine.")
    story.at(5.1, ev.ToolCalled(2, "c", "book", "{}"))
    story.at(5.2, ev.ReplyFinished(2))
    assert story.at(5.3, ev.DrainRequested(0.0)) == []
    assert story.passes() == []
    assert story.at(5.9, ev.ToolFinished(2, "c", '{"booked": true}'))[-1] == LEFT_LATE
    assert '{"booked": true}' in str(story.conversation.transcript.entries)


def test_a_tool_that_takes_longer_than_a_second_is_not_waited_for() -> None:
    story = Story()
    story.asks(3.0, "A table at nine.")
    story.at(5.1, ev.ToolCalled(2, "c", "book", "{}"))
    story.at(5.2, ev.ReplyFinished(2))
    story.at(5.3, ev.DrainRequested(0.0))
    assert story.passes_until(ev.EndCall)[-1] == LEFT_LATE
    assert story.now == pytest.approx(6.3)


def test_a_message_for_a_machine_is_left_again_elsewhere_and_whole() -> None:
    conversation = Conversation(Rules("Please call us back.", "Sorry.", message_only=True))
    conversation.handle(ev.StreamStarted(), 0.0)
    assert conversation.handle(ev.DrainRequested(0.0), 0.5) == []
    assert conversation.handle(ev.DeadlinePassed(), 0.5)[-1] == LEFT_LATE


def test_a_call_that_was_handed_over_goes_on_without_a_word() -> None:
    past = Past(2, (AgentSaid("Hello there."), CallerSaid("Hi."), AgentSaid("What can I do?")))
    conversation = Conversation(Rules("", "Sorry."), past)
    assert kinds(conversation.handle(ev.StreamStarted(), 0.0)) == []
    assert conversation.floor == "nobody" and conversation.deadline == pytest.approx(15.0)
    conversation.handle(ev.CallerStartedSpeaking(), 1.0)
    conversation.handle(ev.CallerStoppedSpeaking(600), 2.0)
    asked = conversation.handle(ev.TranscriptFinished("i", "A table."), 2.5)
    assert asked[-1] == ev.StartReply(3)
