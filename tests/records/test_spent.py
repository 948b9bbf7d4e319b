"""What may be done once is done once, however many want it and wherever they are; and nobody waits long to be told."""

import sqlite3
import time
from pathlib import Path

import gevent
import pytest
from gevent.pool import Pool

from tests.records.conftest import Clock
from voice.errors import RecordsUnavailable
from voice.records import spent
from voice.records.records import Records
from voice.records.spent import KEPT_S

pytestmark = pytest.mark.threat(3)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is what counts here, not how soon on a machine that does other things."""
    monkeypatch.setattr(spent, "WAIT_S", 10.0)


@pytest.mark.usefixtures("patient")
def test_a_name_is_used_once_by_all_workers_together(records: Records, url: str, clock: Clock) -> None:
    other = Records(url, clock=clock, timeout_s=10)
    assert records.spend("one", "two")
    assert not records.spend("one") and not other.spend("two")
    assert not other.spend("three", "two") and other.spend("three"), "all of them, or none"
    other.stop(5)


@pytest.mark.usefixtures("patient")
def test_of_many_at_once_one_is_the_first(records: Records, url: str, clock: Clock) -> None:
    workers = [records, Records(url, clock=clock, timeout_s=10)]
    workers[1].spend("warm")
    for name in range(10):
        first = Pool(20).map(
            lambda number: workers[number % 2].spend(f"name {name}", f"own {name} {number}"), range(20)
        )
        assert first.count(True) == 1
    workers[1].stop(5)


@pytest.mark.usefixtures("patient")
def test_after_a_month_it_is_forgotten(records: Records, clock: Clock) -> None:
    assert records.spend("one")
    clock.now += KEPT_S - 1
    assert not records.spend("one")
    clock.now += 2
    assert records.spend("one")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_nobody_waits_longer_than_a_quarter_of_a_second_and_the_database_is_not_given_up_for_it(
    records: Records, tmp_path: Path
) -> None:
    assert records.spend("before")
    lock = sqlite3.connect(tmp_path / "voice.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    waiting = [gevent.spawn(_spend, records, f"name {number}") for number in range(20)]
    gevent.joinall(waiting)
    assert 0.2 < time.monotonic() - began < 2
    assert {greenlet.value for greenlet in waiting} == {"not told"}
    lock.execute("ROLLBACK")
    lock.close()
    assert records.outbound("nobody's") is None, "asked at once, not in ten seconds"
    assert _spend(records, "name 21") == "first"


def _spend(records: Records, name: str) -> str:
    try:
        return "first" if records.spend(name) else "used"
    except RecordsUnavailable:
        return "not told"
