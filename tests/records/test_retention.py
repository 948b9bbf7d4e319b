"""How long records are kept, with a clock of the test's own."""

import os
from pathlib import Path

import pytest

from tests.records.conftest import Clock
from tests.records.stories import AT, ended, started
from voice.records.records import Records
from voice.records.retention import Retention

DAY_S = 86400.0


def _kept(records: Records) -> list[str]:
    return sorted(call.call_sid for call in records.calls())


@pytest.mark.threat(11)
def test_what_is_too_old_goes_once_an_hour(records: Records, clock: Clock, tmp_path: Path) -> None:
    retention = Retention(records, tmp_path, days=30)
    for call_sid, at in (("CA-old", AT), ("CA-young", AT + 2 * DAY_S)):
        records.call_started(started(call_sid, at))
        records.call_ended(call_sid, ended(at=at + 60))
    clock.now = AT + 29 * DAY_S
    retention.apply()
    assert _kept(records) == ["CA-old", "CA-young"]
    clock.now = AT + 31 * DAY_S
    retention.apply()
    assert _kept(records) == ["CA-young"]
    clock.now = AT + 40 * DAY_S
    retention.apply()
    assert _kept(records) == []


def test_it_is_not_looked_for_more_than_once_an_hour(records: Records, clock: Clock, tmp_path: Path) -> None:
    retention = Retention(records, tmp_path, days=1)
    clock.now = AT + 10 * DAY_S
    retention.apply()
    records.call_started(started("CA-old", AT))
    records.call_ended("CA-old", ended(at=AT + 60))
    clock.now += 3599
    retention.apply()
    assert _kept(records) == ["CA-old"]
    clock.now += 1
    retention.apply()
    assert _kept(records) == []


@pytest.mark.threat(11)
def test_logs_of_calls_go_with_them_and_nothing_else_does(records: Records, clock: Clock, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for name, at in (("CA1.jsonl", AT), ("CA2.jsonl", AT + 9 * DAY_S), ("notes.txt", AT)):
        (logs / name).write_text("")
        os.utime(logs / name, (at, at))
    clock.now = AT + 10 * DAY_S
    Retention(records, logs, days=5).apply()
    assert sorted(path.name for path in logs.iterdir()) == ["CA2.jsonl", "notes.txt"]
