"""The monitor's sweep, stepped by hand at times of our choice."""

import logging
from collections.abc import Iterator

import pytest
from gevent.event import Event

from voice import registry
from voice.monitor import Monitor
from voice.registry import Connection

IDLE_S = 300.0


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    assert registry.client_connections == {}
    yield
    registry.client_connections.clear()


def connected(last_activity: float, done: list[str]) -> Connection:
    connection = registry.connect()
    connection.last_activity = last_activity
    connection.request_end = lambda reason: done.append(f"asked: {reason}")
    connection.kill = lambda: done.append("killed")
    return connection


def test_an_active_call_is_left_alone() -> None:
    done: list[str] = []
    connected(1000.0, done)
    monitor = Monitor(IDLE_S, 60)
    for now in (1000.0, 1060.0, 1299.9):
        monitor.sweep(now)
    assert done == []


def test_an_idle_call_is_asked_to_end_and_killed_if_it_does_not() -> None:
    done: list[str] = []
    connected(1000.0, done)
    monitor = Monitor(IDLE_S, 60)
    monitor.sweep(1300.0)
    assert done == ["asked: idle"]
    monitor.sweep(1360.0)
    assert done == ["asked: idle", "killed"]


def test_a_call_that_ends_when_asked_is_not_killed() -> None:
    done: list[str] = []
    connection = connected(1000.0, done)
    connection.request_end = lambda reason: registry.disconnect(connection, over=True)
    monitor = Monitor(IDLE_S, 60)
    monitor.sweep(1300.0)
    assert registry.connections() == []
    monitor.sweep(1360.0)
    assert done == []


def test_a_call_in_which_something_happens_again_begins_anew() -> None:
    done: list[str] = []
    connection = connected(1000.0, done)
    monitor = Monitor(IDLE_S, 60)
    monitor.sweep(1300.0)
    connection.last_activity = 1310.0
    monitor.sweep(1360.0)
    monitor.sweep(1620.0)
    assert done == ["asked: idle", "asked: idle"]
    monitor.sweep(1680.0)
    assert done[2:] == ["killed"]


def test_each_call_is_judged_by_itself() -> None:
    quiet: list[str] = []
    active: list[str] = []
    connected(1000.0, quiet)
    connected(1290.0, active)
    monitor = Monitor(IDLE_S, 60)
    monitor.sweep(1300.0)
    late: list[str] = []
    connected(1001.0, late)
    monitor.sweep(1360.0)
    assert (quiet, active, late) == (["asked: idle", "killed"], [], ["asked: idle"])


def raising(reason: str = "") -> None:
    raise RuntimeError("it cannot be ended")


def test_a_call_that_cannot_be_asked_does_not_keep_the_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    before: list[str] = []
    broken: list[str] = []
    after: list[str] = []
    connected(1000.0, before)
    connected(1000.0, broken).request_end = raising
    connected(1000.0, after)
    monitor = Monitor(IDLE_S, 60)
    monitor.sweep(1300.0)
    assert (before, broken, after) == (["asked: idle"], [], ["asked: idle"])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    # It did not end: that is all that counts.
    monitor.sweep(1360.0)
    assert (before, broken, after) == (["asked: idle", "killed"], ["killed"], ["asked: idle", "killed"])


def test_a_call_that_cannot_be_killed_does_not_keep_the_others_from_it() -> None:
    after: list[str] = []
    connected(1000.0, []).kill = raising
    connected(1000.0, after)
    monitor = Monitor(IDLE_S, 60)
    monitor.sweep(1300.0)
    monitor.sweep(1360.0)
    assert after == ["asked: idle", "killed"]


def test_its_greenlet_sweeps_again_and_again() -> None:
    killed = Event()
    connection = connected(0.0, [])
    connection.request_end = raising
    connection.kill = killed.set
    greenlet = Monitor(IDLE_S, 0.01).start()
    try:
        assert greenlet.name == "monitor"
        assert killed.wait(5)
        assert not greenlet.ready()
    finally:
        greenlet.kill()
