"""When everything is looked at for garbage. That nothing of a call needs it: tests/test_call_faults.py."""

import gc
import time
from collections.abc import Iterator

import pytest

from voice import garbage, registry

_ALL = 2


@pytest.fixture
def looked() -> Iterator[list[int]]:
    """One for each look at everything."""
    looks: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == _ALL:
            looks.append(info["collected"])

    before = gc.get_threshold()
    gc.callbacks.append(note)
    yield looks
    gc.callbacks.remove(note)
    gc.set_threshold(*before)
    gc.unfreeze()


def _make_much(count: int) -> list[list[int]]:
    return [[number] for number in range(count)]


def test_what_is_there_when_it_begins_stays_and_nothing_is_looked_at_by_itself(looked: list[int]) -> None:
    garbage.begin()
    looked.clear()
    assert gc.get_freeze_count() > 10_000
    kept = _make_much(500_000)
    assert looked == [] and len(kept) == 500_000


def test_all_is_looked_at_while_nobody_is_on_the_line_and_seldom_while_somebody_is(looked: list[int]) -> None:
    garbage.begin()
    looked.clear()
    garbage.sweep()
    assert len(looked) == 1
    connection = registry.connect()
    try:
        garbage.sweep()
        assert len(looked) == 1
        garbage._collected_at = time.monotonic() - garbage._SELDOM_S
        garbage.sweep()
        garbage.sweep()
        assert len(looked) == 2
    finally:
        registry.disconnect(connection, over=False)
