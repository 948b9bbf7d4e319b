"""The monitor's sweep, stepped by hand at times of our choice."""

import logging
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent.event import Event

from voice import registry
from voice.core.conversation import Conversation
from voice.core.rules import Rules
from voice.monitor import CLOSING_S, CONNECTING_S, Monitor
from voice.registry import CallSession, Connection, State

IDLE_S = 300.0


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    assert registry.client_connections == {}
    yield
    registry.client_connections.clear()
    registry.active_sessions.clear()
    registry.stream_to_call_sid.clear()


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


@pytest.mark.matrix(72)
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


@pytest.mark.matrix(72)
def test_a_call_in_which_nothing_happens_is_over_after_five_to_six_minutes(
    record_property: Callable[[str, object], None],
) -> None:
    """Whenever the last thing happened, by the monitor's own clock of sixty seconds."""
    ends = []
    for since_sweep in range(0, 60, 5):
        done: list[str] = []
        connection = connected(1000.0 + since_sweep, done)
        monitor, now = Monitor(IDLE_S, 60), 1000.0
        while not done:
            now += 60
            monitor.sweep(now)
        ends.append(now - connection.last_activity)
        registry.client_connections.clear()
    record_property("ended_after_min_s", min(ends))
    record_property("ended_after_max_s", max(ends))
    assert 300 <= min(ends) and max(ends) <= 360


# Calls that cannot end by themselves


def live(began: float, done: list[str], limit_s: float = 1800) -> Connection:
    connection = connected(began, done)
    connection.began = began
    rules = Rules(greeting="", apology="", max_duration_s=limit_s)
    registry.start(CallSession("CA1", "MZ1", None, "+1", "+2", connection, Conversation(rules)))
    return connection


@pytest.mark.threat(16)
@pytest.mark.matrix(73)
def test_a_call_beyond_its_limit_is_hung_up_and_killed_and_before_it_left_alone() -> None:
    done: list[str] = []
    connection = live(1000.0, done, limit_s=600)
    monitor = Monitor(IDLE_S, 60, (), lambda call_sid: done.append(f"hung up: {call_sid}"))
    for now in (1000.0, 1300.0, 1600.0, 1629.9):
        connection.last_activity = now
        monitor.sweep(now)
    assert done == []
    monitor.sweep(1630.0)
    assert done == ["hung up: CA1", "killed"]


@pytest.mark.parametrize(("state", "limit_s"), [(State.CONNECTING, CONNECTING_S), (State.CLOSING, CLOSING_S)])
def test_a_call_that_stays_where_it_should_pass_is_killed(state: State, limit_s: float) -> None:
    done: list[str] = []
    connection = connected(1000.0, done)
    connection.began, connection.state = 1000.0, state
    monitor = Monitor(IDLE_S, 60)
    monitor.sweep(1000.0)
    monitor.sweep(1000.0 + limit_s - 0.1)
    assert done == []
    monitor.sweep(1000.0 + limit_s)
    assert done == ["killed"]


def test_how_long_a_call_is_closing_counts_from_when_it_began_to() -> None:
    done: list[str] = []
    connection = live(1000.0, done)
    monitor = Monitor(IDLE_S, 60)
    monitor.sweep(1200.0)
    connection.state = State.CLOSING
    monitor.sweep(1260.0)
    assert done == []
    monitor.sweep(1260.0 + CLOSING_S)
    assert done == ["killed"]


class Wire:
    """What is closed."""

    def __init__(self, faulty: bool = False) -> None:
        self.faulty = faulty
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True
        if self.faulty:
            raise RuntimeError("it cannot be closed")

    shutdown = close


@pytest.mark.matrix(71)
def test_a_call_whose_greenlet_has_gone_is_cleared_away_whatever_fails(caplog: pytest.LogCaptureFixture) -> None:
    connection = live(1000.0, [])
    wires = connection.caller, connection.transcriber, connection.synthesizer = Wire(), Wire(faulty=True), Wire()
    gone, child = gevent.spawn(int), gevent.spawn(gevent.sleep, 60)
    gevent.wait([gone])
    connection.greenlets = lambda: [gone, child]
    Monitor(IDLE_S, 60).sweep(1001.0)
    assert all(wire.is_closed for wire in wires)
    child.join(1)
    assert child.dead and "CA1: a call whose greenlet has gone" in caplog.text
    assert (registry.client_connections, registry.active_sessions, registry.stream_to_call_sid) == ({}, {}, {})
    assert not registry.is_over("CA1"), "Twilio may come back with it"
    registry.left_over.clear()


def test_a_greenlet_that_outlives_its_call_is_killed_at_the_second_sweep(caplog: pytest.LogCaptureFixture) -> None:
    connection = live(1000.0, [])
    own, child, done = gevent.spawn(gevent.sleep, 60), gevent.spawn(gevent.sleep, 60), gevent.spawn(int)
    child.name = "CA1 speech-reader"
    gevent.wait([done])
    connection.greenlets = lambda: [own, child, done]
    registry.disconnect(connection, over=True)
    monitor = Monitor(IDLE_S, 60)
    monitor.sweep(1000.0)
    gevent.sleep(0)
    assert not child.dead and caplog.text == "", "it may be about to end"
    monitor.sweep(1060.0)
    child.join(1)
    assert child.dead and not own.dead and "CA1 speech-reader: has outlived its call" in caplog.text
    monitor.sweep(1120.0)
    assert list(registry.left_over) == []
    own.kill()


def test_maps_that_do_not_agree_are_mended_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    live(1000.0, [])
    monitor = Monitor(IDLE_S, 60)
    monitor.sweep(1000.0)
    assert caplog.text == ""
    registry.stream_to_call_sid["MZ-nobody"] = "CA-nobody"
    del registry.stream_to_call_sid["MZ1"]
    monitor.sweep(1000.0)
    assert registry.stream_to_call_sid == {"MZ1": "CA1"} and len(caplog.records) == 2
    registry.client_connections.clear()
    monitor.sweep(1000.0)
    assert (registry.active_sessions, registry.stream_to_call_sid) == ({}, {}) and len(caplog.records) == 4
