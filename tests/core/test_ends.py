"""A call ends once, however many sides end it, and in whatever order they are heard."""

import random
from collections.abc import Callable

import pytest

from tests.core.stories import RULES
from voice.core import events as ev
from voice.core.conversation import Conversation

RUNS = 10_000
SIDES = (
    ev.CallerHungUp(),
    ev.StreamLost("the connection is gone"),
    ev.EndRequested("caller-hung-up"),
    ev.EndRequested("idle"),
    ev.EndRequested("superseded"),
    ev.EndRequested("operator-hung-up"),
    ev.TransferRequested("desk"),
    ev.DrainRequested(0.0),
    ev.DeadlinePassed(),
    ev.VendorFailed("synthesizer", "401", refused=True),
)

Told = Callable[[str, object], None]


@pytest.mark.matrix(45)
def test_a_call_ends_once_whoever_ends_it(record_property: Told) -> None:
    chance = random.Random(45)
    ends = []
    for _ in range(RUNS):
        conversation = Conversation(RULES)
        events = [ev.StreamStarted(), ev.CallerHungUp(), *chance.sample(SIDES, chance.randint(1, 5))]
        chance.shuffle(events)
        actions = [action for now, event in enumerate(events) for action in conversation.handle(event, now * 0.001)]
        ends.append(sum(isinstance(action, ev.EndCall) for action in actions))
        assert conversation.deadline is None
    record_property("runs", len(ends))
    record_property("ends_max", max(ends))
    assert ends == [1] * RUNS
