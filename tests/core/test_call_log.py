"""A call's log: every event and action there and back, and a recorded call that replays to the same actions."""

import json
from dataclasses import fields
from typing import Any, get_args

import pytest

from voice.core import events as ev
from voice.core.audio import Audio
from voice.core.call_log import action_line, event_line, read, replay
from voice.core.conversation import Conversation, Rules

RULES = Rules(greeting="Hello. How can I help?", apology="Sorry.")


def examples(kind: Any) -> list[Any]:
    """One value with every field set to something that is not its default."""
    chosen: dict[object, object] = {
        int: 7,
        float: 2.5,
        str: 'tëxt \u2028\n"',
        bool: True,
        ev.Vendor: "synthesizer",
        ev.Result: "failed",
        ev.Synthesis: "by-request",
        Audio: Audio(4801, "never written"),
        ev.Alignment: ev.Alignment("Hï", (0, 40), (40, 60)),
        ev.TurnTimes: ev.TurnTimes(speech_end=1.5, heard=2.25),
    }
    return [kind(**{f.name: chosen[f.type] for f in fields(kind)})]


EVENTS = [value for kind in get_args(ev.Event) for value in examples(kind)]
ACTIONS = [value for kind in get_args(ev.Action) for value in examples(kind)]


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_every_event_there_and_back(event: ev.Event) -> None:
    line = json.dumps(event_line(event, 1.25))
    assert "\n" not in line and "never written" not in line
    assert json.loads(line)["t"] == 1.25
    assert read(json.loads(line)) == event


@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: type(a).__name__)
def test_every_action_there_and_back(action: ev.Action) -> None:
    line = json.dumps(action_line(action, 1.25))
    assert "\n" not in line and "never written" not in line
    assert read(json.loads(line)) == action


def test_a_line_is_what_the_documentation_shows() -> None:
    assert event_line(ev.StreamStarted(), 0.0) == {"t": 0.0, "event": "StreamStarted"}
    assert action_line(ev.Speak(1, "Hello."), 0.0) == {"t": 0.0, "action": "Speak", "turn": 1, "text": "Hello."}
    assert action_line(ev.PlayAudio(1, Audio(160)), 0.5) == {"t": 0.5, "action": "PlayAudio", "turn": 1, "audio": 160}


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"event": "NoSuchEvent"},
        {"event": None},
        {"event": "Conversation"},
        {"event": "DigitPressed"},
        {"event": "SpeechArrived", "turn": 1, "audio": "loud", "alignment": {}},
        {"event": "SpeechArrived", "turn": 1, "audio": 160, "alignment": {"chars": "a"}},
        {"event": "SpeechArrived", "turn": 1, "audio": 160, "alignment": None},
        {"action": "RecordTurn", "turn": 1, "caller": "", "agent": "", "cut": False, "times": {"no_such_stage": 1}},
    ],
)
def test_a_line_that_holds_nothing_is_refused(line: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        read(line)


def recorded() -> list[str]:
    """A short call: greeting, played and heard, one question, barge-in into the answer, the caller hangs up."""
    conversation = Conversation(RULES)
    lines = [json.dumps({"call": {"call_sid": "CA"}, "rules": vars(RULES)})]
    steps: list[tuple[float, ev.Event]] = [
        (0.0, ev.StreamStarted()),
        (0.3, ev.SpeechArrived(1, Audio(8000), ev.Alignment())),
        (0.4, ev.SpeechFinished(1)),
        (1.4, ev.MarkReturned(1, 1000)),
        (2.0, ev.CallerStartedSpeaking()),
        (3.0, ev.CallerStoppedSpeaking(500)),
        (3.1, ev.UtteranceCommitted("a")),
        (3.8, ev.TranscriptFinished("a", "When do you open?")),
        (4.2, ev.SentenceReady(2, "We open at nine.")),
        (4.5, ev.SpeechArrived(2, Audio(16000), ev.Alignment("We", (0, 500), (500, 500)))),
        (5.0, ev.CallerStartedSpeaking()),
        (6.0, ev.CallerHungUp()),
    ]
    for now, event in steps:
        lines.append(json.dumps(event_line(event, now)))
        lines += [json.dumps(action_line(action, now)) for action in conversation.handle(event, now)]
    return lines


def test_a_recorded_call_replays_to_the_same_actions() -> None:
    lines = recorded()
    replayed = replay(lines)
    assert replayed.differences == []
    assert replayed.events == 12
    assert replayed.events + replayed.actions + 1 == len(lines)
    assert replay([]) == replay(lines[:1])


def test_a_difference_names_its_line_and_shows_both() -> None:
    lines = recorded()
    place = next(n for n, line in enumerate(lines) if '"SpeakKnown"' in line)
    lines[place] = lines[place].replace("Hello.", "Goodbye.")
    (difference,) = replay(lines).differences
    assert (difference.line, difference.event) == (2, ev.StreamStarted())
    assert ev.SpeakKnown(1, "Goodbye. How can I help?") in difference.logged
    assert ev.SpeakKnown(1, "Hello. How can I help?") in difference.replayed


def test_an_action_too_many_and_one_too_few_are_differences() -> None:
    lines = recorded()
    place = next(n for n, line in enumerate(lines) if '"SpeakKnown"' in line)
    assert len(replay(lines[:place] + lines[place + 1 :]).differences) == 1
    assert len(replay([*lines[: place + 1], *lines[place:]]).differences) == 1


def test_two_calls_in_one_file_are_two_conversations() -> None:
    lines = recorded()
    assert replay(lines * 2).differences == []
    assert replay(lines * 2).events == 24


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, "no JSON"),
        (1, "5"),
        (1, "[]"),
        (1, "null"),
        (1, '{"rules":{"no_such_rule":1}}'),
        (1, '{"rules":null}'),
        (1, "[" * 60_000),
        (1, '{"t":0,"event":"StreamStarted"}'),
        (1, '{"t":0,"action":"Speak","turn":1,"text":"a"}'),
        (5, '{"event":"StreamStarted"}'),
        (5, '{"t":0,"event":"NoSuchEvent"}'),
        (5, '{"t":0,"action":"NoSuchAction"}'),
        (5, '{"t":1,"event":"SpeechArr'),
        (5, ""),
    ],
)
def test_a_broken_log_is_refused_with_the_number_of_its_line(number: int, line: str) -> None:
    lines = recorded()
    lines[number - 1] = line
    with pytest.raises(ValueError, match=f"line {number}: "):
        replay(lines)
