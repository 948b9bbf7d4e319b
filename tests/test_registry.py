"""The three maps, and what is read out of them."""

from collections.abc import Iterator

import gevent
import pytest
from gevent.event import Event

from voice import registry
from voice.core.conversation import Conversation, Rules
from voice.errors import CallRefused
from voice.registry import CallSession, Connection, State


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    assert (registry.client_connections, registry.active_sessions, registry.stream_to_call_sid) == ({}, {}, {})
    yield
    registry.client_connections.clear()
    registry.active_sessions.clear()
    registry.stream_to_call_sid.clear()


def session(connection: Connection, call_sid: str = "CA1", stream_sid: str = "MZ1") -> CallSession:
    rules = Rules(greeting="Hello.", apology="Sorry.")
    return CallSession(call_sid, stream_sid, "an agent", "+1", "+2", connection, Conversation(rules))


def test_a_call_from_its_socket_to_its_end() -> None:
    connection = registry.connect()
    assert registry.client_connections == {connection.client_id: connection}
    assert (connection.state, registry.live_calls()) == (State.CONNECTING, 1)
    live = session(connection)
    registry.start(live)
    assert registry.active_sessions == {"CA1": live} and registry.session_of("CA1") is live
    assert registry.stream_to_call_sid == {"MZ1": "CA1"}
    assert (connection.state, connection.call_sid) == (State.LIVE, "CA1")
    for _ in range(2):
        registry.disconnect(connection, over=False)
        assert (registry.client_connections, registry.active_sessions, registry.stream_to_call_sid) == ({}, {}, {})
    assert not registry.is_over("CA1")


def test_client_ids_are_numbered_and_cannot_be_guessed() -> None:
    first, second = registry.connect().client_id, registry.connect().client_id
    word, number, chance = first.split("_")
    assert word == "client" and len(chance) == 8
    assert second.split("_")[1] == str(int(number) + 1) and second.split("_")[2] != chance


def test_a_call_is_live_once() -> None:
    first, second = registry.connect(), registry.connect()
    registry.start(session(first))
    with pytest.raises(CallRefused, match="CA1 is live already"):
        registry.start(session(second, stream_sid="MZ2"))
    # The one that was refused takes nothing of the other with it.
    registry.disconnect(second, over=True)
    assert registry.session_of("CA1") is not None and not registry.is_over("CA1")
    assert registry.stream_to_call_sid == {"MZ1": "CA1"}
    assert registry.connections() == [first]


def test_a_call_that_is_over_is_remembered_and_a_lost_one_is_not() -> None:
    for call_sid, over in (("CA2", True), ("CA3", False)):
        connection = registry.connect()
        registry.start(session(connection, call_sid))
        registry.disconnect(connection, over)
    assert registry.is_over("CA2") and not registry.is_over("CA3") and not registry.is_over("CA4")


def test_a_socket_that_never_said_who_it_was() -> None:
    connection = registry.connect()
    registry.disconnect(connection, over=True)
    assert registry.live_calls() == 0 and not registry.is_over("")


def test_connections_is_a_copy() -> None:
    connection = registry.connect()
    for each in registry.connections():
        registry.disconnect(each, over=False)
    assert registry.connections() == [] and registry.session_of(connection.call_sid) is None


def test_describe_tells_where_each_greenlet_stands() -> None:
    gate = Event()

    def waiting_for_godot() -> None:
        gate.wait()

    connection = registry.connect()
    live = session(connection)
    greenlets = [gevent.spawn(waiting_for_godot), gevent.spawn(int)]
    greenlets[0].name, greenlets[1].name = "CA1 caller-reader", "CA1 reply-1"
    connection.greenlets = lambda: greenlets
    gevent.wait(greenlets[1:])
    before = registry.describe()
    assert before.startswith("1 connections, 0 calls, ")
    assert f"{connection.client_id}: connecting, quiet for " in before
    registry.start(live)
    text = registry.describe()
    assert "CA1: live, floor nobody, turn 0, quiet for " in text
    assert "waiting_for_godot" in text and "  CA1 caller-reader: " in text
    assert text.endswith("  CA1 reply-1: not running\n")
    gate.set()
    gevent.joinall(greenlets, raise_error=True)
