"""States in which a call could have hung: noises among tools, keys too many, a worker that goes at a bad moment."""

from tests.core.stories import Story, kinds
from voice.core import events as ev
from voice.core.conversation import Conversation
from voice.core.rules import Digits, Rules
from voice.core.transcript import CallerSaid, Past

PIN = Digits("pin", 4, sensitive=True)


def asked_for_pin() -> Story:
    """The agent has asked for the PIN, at 6.2 s."""
    story = Story(digits=(PIN,))
    story.asks(3.0, "My account.")
    story.at(5.1, ev.SentenceReady(2, "Type your code."))
    story.at(5.1, ev.ToolCalled(2, "c", "ask_for_digits", '{"name": "pin"}'))
    story.at(5.2, ev.ReplyFinished(2))
    story.sounds(5.3, 2, "Type your code. ")
    story.heard(6.2, 2, 16)
    return story


def test_a_hash_behind_the_last_digit_does_not_take_the_answer_away() -> None:
    story = asked_for_pin()
    for n in range(4):
        story.at(7.0 + n / 4, ev.DigitPressed("•"))
    assert kinds(story.after)[-1] == "StartReply"
    story.at(8.1, ev.DigitPressed("#"))
    assert story.conversation.floor == "agent", f"nobody speaks until {story.conversation.deadline}"


def test_a_hash_alone_does_not_silence_the_agent() -> None:
    story = Story()
    story.asks(3.0, "When?")
    story.writes(5.1, 2, "From nine to five, every day.")
    story.sounds(5.2, 2, "From nine to five, every day. ")
    story.at(5.6, ev.DigitPressed("#"))
    assert story.conversation.floor == "agent"


def test_a_cough_while_a_tool_runs_does_not_lose_the_answer() -> None:
    story = Story()
    story.asks(3.0, "Find me.")
    story.at(5.1, ev.SentenceReady(2, "Let me look that up."))
    story.at(5.1, ev.ToolCalled(2, "c", "find", "{}"))
    assert "RunTool" in kinds(story.at(5.2, ev.ReplyFinished(2)))
    story.sounds(5.3, 2, "Let me look that up. ")
    story.starts(5.6)
    story.stops(6.6)
    story.final(6.9, "", "item-2")
    assert any(isinstance(a, ev.PlayAudio) for a in story.after)
    story.heard(7.7, 2, 21)
    story.at(8.0, ev.ToolFinished(2, "c", '{"found": 1}'))
    assert any(isinstance(a, ev.StartReply) for a in story.after), story.conversation.deadline


def test_a_cough_while_the_agent_says_goodbye_ends_the_call_all_the_same() -> None:
    story = Story()
    story.asks(3.0, "Bye.")
    story.at(5.1, ev.SentenceReady(2, "Thank you, goodbye."))
    story.sounds(5.3, 2, "Thank you, goodbye. ")
    story.at(5.35, ev.ToolCalled(2, "c", "hang_up", "{}"))
    story.starts(5.38)
    story.at(5.4, ev.ReplyFinished(2))
    story.stops(5.9)
    story.final(6.9, "", "item-2")
    while not story.conversation.ended and story.now < 12:
        story.passes()
    assert story.conversation.ended and story.now < 12, story.now


def test_told_to_go_before_the_stream_has_begun() -> None:
    conversation = Conversation(Rules("Hello there.", "Sorry."))
    assert conversation.handle(ev.DrainRequested(8.0), 0.0) == []
    assert "SpeakKnown" in kinds(conversation.handle(ev.StreamStarted(), 0.0))


def test_a_goodbye_longer_than_the_time_to_leave_still_ends_the_call() -> None:
    story = Story()
    story.asks(3.0, "Goodbye.")
    story.at(5.1, ev.ToolCalled(2, "c", "hang_up", "{}"))
    story.writes(5.1, 2, "Goodbye, " * 20)
    story.sounds(5.3, 2, "Goodbye, " * 20 + " ")
    story.at(5.4, ev.DrainRequested(2.0))
    end = story.passes_until(ev.EndCall)[-1]
    assert end.result == "completed", end


def test_the_model_fails_behind_a_tool() -> None:
    story = Story()
    story.asks(3.0, "Find me.")
    story.at(5.1, ev.ToolCalled(2, "c", "find", "{}"))
    story.at(5.2, ev.ReplyFinished(2))
    assert kinds(story.at(5.5, ev.ToolFinished(2, "c", "{}"))) == ["StartReply"]
    story.at(5.6, ev.VendorFailed("language model", "503", 2))
    assert "StartReply" in kinds(story.after)


def test_too_few_keys_are_asked_for_again_and_stay_hidden() -> None:
    story = asked_for_pin()
    story.at(7.0, ev.DigitPressed("•"))
    assert story.passes()[0] == ev.CollectDigits("pin", True, 4)
    last = story.conversation.transcript.entries[-1]
    assert last == CallerSaid("[keypad pin] only 1 of 4 digits: they have to be typed again")


def test_keys_are_still_asked_for_on_the_next_stream() -> None:
    conversation = Conversation(Rules("Sorry.", "Sorry.", digits=(PIN,)), Past(3, (), "pin"))
    assert ev.CollectDigits("pin", True, 4) in conversation.handle(ev.StreamStarted(), 0.0)
    assert conversation.digits == "pin"


def test_of_many_tools_in_one_answer_only_some_run() -> None:
    story = Story()
    story.asks(3.0, "Do it.")
    for number in range(300):
        story.at(5.1, ev.ToolCalled(2, f"c{number}", "book", "{}"))
    assert len([a for a in story.at(5.2, ev.ReplyFinished(2)) if isinstance(a, ev.RunTool)]) == 8
    told = [m["content"] for m in story.conversation.transcript.messages() if m["role"] == "tool"]
    assert len(told) == 300 and "at most 8 calls" in told[-1]
