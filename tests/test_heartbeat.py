"""What workers learn of each other from the records."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.records.conftest import Clock
from tests.records.stories import AT, ended, started, written
from voice import registry
from voice.core.conversation import Conversation, Rules
from voice.heartbeat import BEAT_S, LIVES_S, Heartbeat
from voice.records.records import Records

SID = "CA" + "1" * 32


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = AT
    return clock


@pytest.fixture
def records(tmp_path: Path, clock: Clock) -> Iterator[Records]:
    records = Records(f"sqlite:///{tmp_path}/voice.db", clock=clock, timeout_s=10)
    records.start()
    yield records
    records.stop(5)
    registry.client_connections.clear()
    registry.active_sessions.clear()
    registry.stream_to_call_sid.clear()


def live(records: Records, name: str, asked: list[str]) -> None:
    """A call on a stream of this worker."""
    connection = registry.connect()
    connection.stream_name, connection.request_end = name, asked.append
    rules = Rules(greeting="", apology="")
    registry.start(registry.CallSession(SID, "MZ1", None, "+1", "+2", connection, Conversation(rules)))
    records.call_started(replace(started(SID), stream_name=name, owner="one"))


def test_who_is_heard_of_lives(records: Records, clock: Clock) -> None:
    records.call_started(replace(started(SID), stream_name="here", owner="one"))
    heartbeat = Heartbeat(records, "one")

    def lives() -> bool:
        standing = records.standing(SID)
        return standing is not None and standing.owner_lives

    assert not lives()
    heartbeat.beat(1000.0)
    assert lives()
    clock.now += LIVES_S - 0.1
    assert lives()
    heartbeat.beat(1000.0 + BEAT_S - 0.1)
    clock.now += 0.1
    assert not lives(), "it beats each ten seconds and no more often"
    heartbeat.beat(1000.0 + BEAT_S)
    assert lives()


def test_a_call_that_goes_on_is_left_alone(records: Records) -> None:
    asked: list[str] = []
    live(records, "here", asked)
    heartbeat = Heartbeat(records, "one")
    for _ in range(3):
        heartbeat.look()
    assert asked == []


@pytest.mark.matrix(44)
def test_a_call_that_another_worker_was_told_is_over_ends_here(records: Records) -> None:
    asked: list[str] = []
    live(records, "here", asked)
    heartbeat = Heartbeat(records, "one")
    heartbeat.look()
    records.call_ended(SID, replace(ended(), result="completed"), if_open=True)
    written(records)
    heartbeat.look()
    assert asked == ["caller-hung-up"]


@pytest.mark.matrix(46)
def test_a_call_that_has_another_stream_at_another_worker_ends_here(records: Records) -> None:
    asked: list[str] = []
    live(records, "here", asked)
    heartbeat = Heartbeat(records, "one")
    heartbeat.look()
    claim = records.claim(SID, "two")
    assert claim
    heartbeat.look()
    assert asked == [], "that one has not begun yet"
    records.call_started(replace(started(SID), stream_name="there", owner="two"), claim.fence)
    heartbeat.look()
    assert asked == ["superseded"]


def test_a_stream_that_has_just_begun_is_not_judged_by_what_was_kept_before(records: Records) -> None:
    records.call_started(replace(started(SID), stream_name="before", owner="two"))
    records.call_ended(SID, ended())
    written(records)
    asked: list[str] = []
    connection = registry.connect()
    connection.stream_name, connection.request_end = "here", asked.append
    rules = Rules(greeting="", apology="")
    registry.start(registry.CallSession(SID, "MZ1", None, "+1", "+2", connection, Conversation(rules)))
    heartbeat = Heartbeat(records, "one")
    heartbeat.look()
    records.call_started(replace(started(SID), stream_name="here", owner="one"))
    heartbeat.look()
    assert asked == []


def test_the_late_end_of_an_earlier_stream_is_no_hang_up(records: Records) -> None:
    asked: list[str] = []
    live(records, "here", asked)
    heartbeat = Heartbeat(records, "one")
    heartbeat.look()
    records.call_ended(SID, ended(result="lost"))
    heartbeat.look()
    assert asked == []
