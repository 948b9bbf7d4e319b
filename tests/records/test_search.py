"""Past calls looked for, and counted; the same on both databases."""

import pytest

from tests.records.conftest import Clock
from tests.records.stories import AT, ended, started, turn, written
from voice.records.entries import CallEnded, Turn
from voice.records.records import Records
from voice.records.search import Search
from voice.records.statistics import Waits


def _sid(number: int) -> str:
    return f"CA{number:032x}"


@pytest.fixture
def kept(records: Records) -> Records:
    """Five calls, a minute apart; the last one is live."""
    for number in range(5):
        at = AT + 60 * number
        records.call_started(started(_sid(number), at, "clinic" if number % 2 else "desk", f"+155500{number:02d}"))
        said = turn(1, f"Where is number {number}?", "It is 100% here.")
        records.turn_finished(_sid(number), said, {})
        if number < 4:
            records.call_ended(_sid(number), ended(at + 30, "failed" if number == 3 else "completed"))
    written(records)
    return records


def found(records: Records, **wanted: object) -> list[int]:
    return [int(call.call_sid[2:], 16) for call in records.find(Search(**wanted))]  # type: ignore[arg-type]


def test_calls_are_found_by_what_they_have(kept: Records) -> None:
    assert found(kept) == [4, 3, 2, 1, 0]
    assert found(kept, number="50003") == [3]
    assert found(kept, number="+15559999") == [4, 3, 2, 1, 0], "the other number counts too"
    assert found(kept, agent="clinic") == [3, 1]
    assert found(kept, since=AT + 60, until=AT + 180) == [2, 1]
    assert found(kept, reason="failed") == [3]
    assert found(kept, reason="caller-hung-up") == [3, 2, 1, 0]
    assert found(kept, words="NUMBER 2") == [2], "in any case"
    assert found(kept, words="number 2", agent="clinic") == []
    assert kept.reasons() == ["caller-hung-up", "completed", "failed"]


def test_what_means_something_to_the_database_is_looked_for_as_it_is(kept: Records) -> None:
    assert found(kept, words="100%") == [4, 3, 2, 1, 0]
    for words in ("1%0", "_00%", "'; DROP TABLE calls; --", "\\", "10/%"):
        assert found(kept, words=words) == [], words


def test_pages_follow_each_other_without_a_gap(kept: Records) -> None:
    kept.call_started(started(_sid(99), AT + 60))
    seen: list[str] = []
    after = None
    while page := kept.find(Search(), 2, after):
        assert len(page) <= 2
        seen += [call.call_sid for call in page]
        after = page[-1].started_at, page[-1].call_sid
    assert seen == [_sid(4), _sid(3), _sid(2), _sid(1), _sid(99), _sid(0)]


def test_the_summary_counts_failures_by_reason(kept: Records) -> None:
    told = kept.summary(AT + 60)
    assert (told.calls, told.failed, told.seconds) == (4, 1, 90)
    assert told.failures == (("failed", "caller-hung-up", 1),)
    assert told.cost_usd == pytest.approx(0.09)
    assert kept.summary(AT + 1000) == type(told)(0, 0, 0, 0, ())


def test_waits_are_told_by_stretches_of_time(records: Records) -> None:
    records.call_started(started(_sid(1)))
    records.call_ended(_sid(1), CallEnded("completed", "x", AT, {}, {}))
    for number in range(1, 21):
        at = AT + (5 if number <= 10 else 65)
        times = {"speech_end": at - 10, "heard": at - 10 + number, "first_token": None}
        records.turn_finished(_sid(1), Turn(number, "", "", False, times, at), {})
    unanswered = {"speech_end": None, "heard": 1.0}
    records.turn_finished(_sid(1), Turn(30, "", "", False, unanswered, AT + 125), {})
    records.turn_finished(_sid(1), Turn(31, "", "", False, {}, AT + 5), {})
    assert records.waits(AT, 60) == [Waits(AT, 5, 10, 10), Waits(AT + 60, 15, 20, 10)]
    assert records.waits(AT + 120, 60) == []


def test_a_worker_tells_of_its_calls_until_it_goes(records: Records, clock: Clock) -> None:
    records.present("a:1", "one")
    clock.now += 1
    records.present("b:2", "two")
    records.present("a:1", "three")
    assert sorted(records.presences()) == [("a:1", clock.now, "three"), ("b:2", clock.now, "two")]
    records.absent("b:2")
    assert records.presences() == [("a:1", clock.now, "three")]


def test_the_row_of_a_dead_worker_is_deleted_by_the_others(records: Records, clock: Clock) -> None:
    records.present("dead:1", "calls")
    clock.now += 100
    records.present("alive:2", "none")
    assert len(records.presences()) == 2, "its clock may be behind ours"
    clock.now += 30
    records.present("alive:2", "none")
    assert [owner for owner, *_ in records.presences()] == ["alive:2"]
