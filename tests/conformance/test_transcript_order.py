"""What the transcriber says, late, twice and in any order: nobody is answered twice for the same words."""

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.test_vendor_bytes import TIMES
from tests.conformance.vendor_bytes import READY, framed, heard
from tests.core.stories import RULES
from tests.core.test_any_order import _World
from voice.core import events as ev

ORDERS = 1000 if TIMES == 1 else 10_000
_UTTERANCES = 3
_OF = "conversation.item.input_audio_transcription."


def _told(dice: random.Random, n: int) -> list[tuple[float, ev.Event]]:
    """All that is said of one utterance, each with how long after its beginning; some of it twice."""
    item = f"item-{n}"
    words: list[ev.Event] = [
        ev.TranscriptExtended(item, f"first{n} "),
        ev.TranscriptExtended(item, f"second{n}"),
        ev.TranscriptFinished(item, f"first{n} second{n}"),
    ]
    twice: list[ev.Event] = [ev.UtteranceCommitted(item), ev.TranscriptFinished(item, f"first{n} second{n}")]
    told = [(dice.uniform(0.2, 1.5), words[0]), (dice.uniform(0.2, 4), words[1]), (dice.uniform(0.5, 8), words[2])]
    return told + [(dice.uniform(1, 9), event) for event in twice if dice.random() < 0.5]


def _user_words(seed: int) -> list[str]:
    """What the caller is taken to have said, by the words, in the order of the history."""
    dice = random.Random(seed)
    rules = replace(RULES, preemptive=dice.choice(("off", "think", "speak")))
    world = _World(rules, [("Of course.", None), ("A rather long answer, " * 5, None)], with_letters=True)
    world.runs_until(3)
    for n in range(_UTTERANCES):
        world.tell(ev.CallerStartedSpeaking(), 0)
        world.tell(ev.CallerStoppedSpeaking(600), 1)
        world.tell(ev.UtteranceCommitted(f"item-{n}"), 1.05)
        for after, event in _told(dice, n):
            world.tell(event, after)
        world.runs_until(world.now + dice.uniform(1.2, 5))
    world.runs_until(world.now + 15)
    said = (m["content"] for m in world.conversation.transcript.messages() if m["role"] == "user")
    return re.findall(r"(?:first|second)\d", " ".join(said))


@pytest.mark.matrix(12)
def test_no_word_is_answered_twice_in_whatever_order_transcripts_come(
    record_property: Callable[[str, object], None],
) -> None:
    answered = 0
    for seed in range(ORDERS):
        words = _user_words(seed)
        assert max(Counter(words).values(), default=0) <= 1, (seed, words)
        firsts = [word for word in words if word.startswith("first")]
        assert firsts == sorted(firsts), (seed, words)
        answered += len(firsts)
    record_property("orders_number", ORDERS)
    # Most come in time to be answered; or nothing would have been shown.
    assert answered > ORDERS * _UTTERANCES * 0.8


@pytest.mark.matrix(12)
def test_the_same_event_twice_is_one() -> None:
    delta: dict[str, Any] = {"type": _OF + "delta", "item_id": "a", "delta": "no ", "event_id": "event_7"}
    events, _ = heard([READY + b"".join(map(framed, (delta, delta, delta | {"event_id": "event_8"}, delta)))])
    assert events[1:] == [ev.TranscriptExtended("a", "no ")] * 2
