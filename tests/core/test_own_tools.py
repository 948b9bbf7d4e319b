"""What the conversation does itself when the model calls for it: hand the call on, listen for keys. Firm sentences."""

import json

import pytest

from tests.core.stories import Story, kinds
from voice.core import events as ev
from voice.core.conversation import Conversation
from voice.core.firm import spoken
from voice.core.rules import Digits, Rules
from voice.core.transcript import AgentSaid, CallerSaid, Past, ToolsUsed, ToolUsed

PIN = Digits("pin", 4, sensitive=True)
EXTENSION = Digits("extension")


def calling(story: Story, name: str, arguments: object, *said: str) -> Story:
    """At 5 s the model answers with these words and this tool."""
    story.asks(3.0, "Do it.")
    for sentence in said:
        story.at(5.1, ev.SentenceReady(2, sentence))
    story.at(5.1, ev.ToolCalled(2, "c", name, arguments if isinstance(arguments, str) else json.dumps(arguments)))
    story.at(5.2, ev.ReplyFinished(2))
    return story


# Transfer

TO_DESK = {"to": "desk", "summary": "Wants  a\nrefund."}
CONNECTED = ev.EndCall("transferred", "transferred", transfer_to="desk", summary="Wants a refund.")


def test_a_transfer_happens_when_its_announcement_has_been_heard() -> None:
    story = calling(Story(transfers=("desk",)), "transfer_call", TO_DESK, "One moment.")
    assert story.after == [ev.FinishSpeech(2)]
    story.sounds(5.3, 2, "One moment. ")
    assert story.heard(6.0, 2, 12)[-1] == CONNECTED
    assert story.conversation.ended
    assert story.conversation.transcript.entries[-2:] == [
        ToolsUsed(2, (ToolUsed("c", "transfer_call", json.dumps(TO_DESK)),)),
        AgentSaid("One moment."),
    ]


def test_a_transfer_without_a_word_happens_at_once() -> None:
    assert calling(Story(transfers=("desk",)), "transfer_call", TO_DESK).after[-1] == CONNECTED


@pytest.mark.parametrize(
    "arguments", [{"to": "+15550009999"}, {"to": "boss"}, {}, {"to": ["desk"]}, "no JSON", "[]", '"desk"', "[" * 5000]
)
def test_whoever_is_not_on_the_list_is_the_toolboxs_to_refuse(arguments: object) -> None:
    story = calling(Story(transfers=("desk",)), "transfer_call", arguments)
    assert kinds(story.after) == ["RunTool"]


def test_an_agent_without_targets_transfers_nobody() -> None:
    assert kinds(calling(Story(), "transfer_call", TO_DESK).after) == ["RunTool"]


def test_a_caller_who_goes_on_speaking_is_not_transferred_and_the_model_knows() -> None:
    story = calling(Story(transfers=("desk",)), "transfer_call", TO_DESK, "One moment, I put you through.")
    story.sounds(5.3, 2, "One moment, I put you through. ")
    story.starts(5.6)
    story.stops(6.6)
    assert isinstance(story.final(7.0, "No wait, one question first.", "item-2")[-1], ev.StartReply)
    results = [m["content"] for m in story.conversation.transcript.messages() if m["role"] == "tool"]
    assert results == ['{"error": "not transferred: the caller went on speaking"}']


def test_other_tools_of_the_same_answer_run_before_the_call_ends() -> None:
    story = Story()
    story.asks(3.0, "Text me and goodbye.")
    story.at(5.1, ev.SentenceReady(2, "Goodbye."))
    story.at(5.1, ev.ToolCalled(2, "bye", "hang_up", "{}"))
    story.at(5.1, ev.ToolCalled(2, "sms", "send_sms", "{}"))
    assert story.at(5.2, ev.ReplyFinished(2)) == [ev.RunTool(2, "sms", "send_sms", "{}")]
    story.sounds(5.3, 2, "Goodbye. ")
    assert "EndCall" not in kinds(story.heard(5.8, 2, 9))
    assert story.at(6.0, ev.ToolFinished(2, "sms", "sent"))[-1] == ev.EndCall("completed", "agent-hung-up")


def test_a_tool_that_never_finishes_does_not_keep_the_call() -> None:
    story = Story()
    story.asks(3.0, "Goodbye.")
    story.at(5.1, ev.ToolCalled(2, "bye", "hang_up", "{}"))
    story.at(5.1, ev.ToolCalled(2, "sms", "send_sms", "{}"))
    story.at(5.2, ev.ReplyFinished(2))
    assert story.passes_until(ev.EndCall)[-1] == ev.EndCall("completed", "agent-hung-up")
    assert story.now == pytest.approx(5.2 + 15)


def test_an_operator_puts_the_caller_through_in_the_middle_of_a_word() -> None:
    end = ev.EndCall("transferred", "operator-transferred", transfer_to="desk")
    story = Story(transfers=("desk",))
    story.asks(3.0, "When are you open?")
    story.writes(5.1, 2, "From nine to five.")
    story.sounds(5.2, 2, "From nine to five. ")
    assert story.at(5.5, ev.TransferRequested("desk"))[-1] == end


def test_a_vendor_beyond_remedy_hands_the_caller_to_the_human() -> None:
    story = Story(human="desk", transfers=("desk",))
    end = ev.EndCall("failed", "synthesizer-failed", apologize=True, transfer_to="desk")
    assert story.at(3.0, ev.VendorFailed("synthesizer", "quota", refused=True, account=True)) == [end]


# Keys


def test_the_model_asks_for_keys_and_gets_them_as_the_callers_words() -> None:
    story = calling(Story(digits=(EXTENSION,)), "ask_for_digits", {"name": "extension"}, "Which extension?")
    assert story.after == [ev.CollectDigits("extension", False, 0), ev.FinishSpeech(2)]
    story.sounds(5.3, 2, "Which extension? ")
    story.heard(6.2, 2, 17)
    for digit in "42":
        story.at(7.0, ev.DigitPressed(digit))
    assert story.at(7.1, ev.DigitPressed("#")) == [ev.CollectDigits("", False, 0), ev.StartReply(3)]
    assert story.conversation.transcript.last() == CallerSaid("[keypad extension] 4 2")


def test_without_words_of_its_own_the_model_is_asked_to_speak() -> None:
    story = calling(Story(digits=(EXTENSION,)), "ask_for_digits", {"name": "extension"})
    assert story.after == [ev.CollectDigits("extension", False, 0), ev.StartReply(2)]
    assert story.conversation.transcript.messages()[-1]["content"].startswith('{"status"')


def test_the_last_key_of_a_known_length_completes_them() -> None:
    story = calling(Story(digits=(PIN,)), "ask_for_digits", {"name": "pin"}, "Your PIN, please.")
    story.sounds(5.3, 2, "Your PIN, please. ")
    story.heard(6.3, 2, 18)
    for _ in range(3):
        assert story.at(7.0, ev.DigitPressed("•")) == []
    assert story.at(7.1, ev.DigitPressed("•")) == [ev.CollectDigits("", False, 0), ev.StartReply(3)]
    assert story.conversation.transcript.last() == CallerSaid(
        "[keypad pin] 4 digits, kept secret: {{pin}} stands for them"
    )


def test_keys_stay_asked_for_while_something_else_is_spoken_about() -> None:
    story = calling(Story(digits=(PIN,)), "ask_for_digits", {"name": "pin"}, "Your PIN, please.")
    story.sounds(5.3, 2, "Your PIN, please. ")
    story.heard(6.3, 2, 18)
    story.asks(7.0, "Why?", "item-2")
    story.writes(9.1, 3, "To find you.")
    story.sounds(9.2, 3, "To find you. ")
    story.heard(9.9, 3, 13)
    for _ in range(4):
        story.at(11.0, ev.DigitPressed("•"))
    assert "kept secret" in story.conversation.transcript.entries[-1].text  # type: ignore[union-attr]


@pytest.mark.parametrize("arguments", [{"name": "card"}, {}, "no JSON"])
def test_keys_that_the_agent_may_not_ask_for_are_the_toolboxs_to_refuse(arguments: object) -> None:
    assert kinds(calling(Story(digits=(PIN,)), "ask_for_digits", arguments).after) == ["RunTool"]


# Firm sentences


def firm_story() -> Story:
    """The agent has begun "This call is recorded. What can I do for you?", of which the first sentence is firm."""
    story = Story()
    story.asks(3.0, "Hello.")
    written = story.writes(5.1, 2, "[firm] This call is recorded.", "What can I do for you?")
    assert [action.text for action in written if isinstance(action, ev.Speak)][0] == "This call is recorded."
    story.sounds(5.2, 2, "This call is recorded. What can I do for you? ")
    return story


def test_a_firm_sentence_is_heard_to_its_end_and_then_the_caller_gets_the_floor() -> None:
    story = firm_story()
    assert story.starts(5.5) == []
    assert "ClearPlayout" not in kinds(story.understood(5.7, "I want", "item-2"))
    assert "ClearPlayout" not in kinds(story.heard(5.8, 2, 12))
    # The mark behind the sentence's 23rd letter: now the caller's words count.
    assert "ClearPlayout" in kinds(story.heard(6.4, 2, 24))
    assert story.conversation.transcript.last() == AgentSaid("This call is recorded.", cut=True)


def test_the_rest_of_the_turn_is_stopped_as_any_other() -> None:
    story = firm_story()
    story.heard(5.8, 2, 12)
    story.heard(6.4, 2, 24)
    assert "ClearPlayout" in kinds(story.starts(6.6))


def test_keys_do_not_stop_a_firm_sentence_either() -> None:
    assert firm_story().at(5.5, ev.DigitPressed("1")) == []


def test_a_firm_greeting_survives_a_caller_who_speaks_first() -> None:
    conversation = Conversation(Rules("[firm] This call is recorded. Hello.", "Sorry.", preemptive="off"))
    greeting = conversation.handle(ev.StreamStarted(), 0.0)
    assert ev.SpeakKnown(1, "This call is recorded. Hello.") in greeting
    for now, event in ((0.1, ev.CallerStartedSpeaking()), (0.3, ev.TranscriptExtended("i", "Hello there"))):
        assert not {"ClearPlayout", "StopSpeaking"} & set(kinds(conversation.handle(event, now)))
    assert conversation.floor == "caller" and conversation.turn == 1


def test_marks_are_not_spoken() -> None:
    assert spoken("[firm] This is recorded.  Hello [firm] you.") == "This is recorded. Hello [firm] you."


# A message for a machine


def test_a_message_is_all_that_is_said() -> None:
    conversation = Conversation(Rules("This is your dentist. Call us back.", "Sorry.", message_only=True))
    actions = conversation.handle(ev.StreamStarted(), 0.0)
    assert ev.SpeakKnown(1, "This is your dentist. Call us back.") in actions
    story = Story.__new__(Story)
    story.conversation = conversation
    assert not {"ClearPlayout"} & set(kinds(story.starts(0.1)))
    story.sounds(0.2, 1, "This is your dentist. Call us back. ")
    conversation.handle(ev.SpeechFinished(1), 0.2)
    story.heard(1.0, 1, 12)
    story.heard(1.6, 1, 24)
    assert story.heard(2.1, 1, 36)[-1] == ev.EndCall("completed", "message-left")


# From one stream to the next


def test_the_past_of_a_call_survives_as_json() -> None:
    story = calling(Story(transfers=("desk",)), "transfer_call", TO_DESK, "One moment.")
    past = Past(story.conversation.turn, tuple(story.conversation.transcript.entries))
    assert Past.read(json.loads(json.dumps(past.plain()))) == past


@pytest.mark.parametrize(
    "plain", [{}, {"turns": 1}, {"turns": 1, "entries": [{"Nobody": {}}]}, {"turns": None, "entries": []}]
)
def test_what_is_no_past_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no past"):
        Past.read(plain)


def test_a_conversation_goes_on_from_its_past() -> None:
    story = calling(Story(transfers=("desk",)), "transfer_call", TO_DESK)
    past = Past(story.conversation.turn, tuple(story.conversation.transcript.entries))
    past = past.with_result("transfer_call", '{"error": "nobody answered"}')
    later = Conversation(Rules("Nobody is there.", "Sorry."), past)
    assert later.handle(ev.StreamStarted(), 0.0)[0] == ev.SpeakKnown(3, "Nobody is there.")
    assert [m["content"] for m in later.transcript.messages()][-1] == '{"error": "nobody answered"}'
    assert later.transcript.messages()[0] == {"role": "assistant", "content": "Hello there."}
