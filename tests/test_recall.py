"""Calls that Twilio holds without a stream: asked back once, hung up when over, closed when it has them no more."""

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.records.conftest import Clock
from tests.records.stories import AT, ended, started, written
from tests.running import wait_until
from voice import registry
from voice.core.conversation import Conversation, Rules
from voice.recall import Recall
from voice.records.records import Records
from voice.sandbox.stand_ins import Sandbox
from voice.sandbox.twilio_rest import Fault
from voice.wires import telephone as wire
from voice.wires.telephone import Telephone

SID = "CA" + "0f" * 16
NAME = "1-2-00000000000000ab"
URL = f"https://voice.example.com/twilio/resume?stream={NAME}&asked=1"
WAIT_S = 0.05
FAILS = [Fault(500)] * 3

Told = Callable[[str, object], None]


class AtTwilio:
    """A call that Twilio has."""

    def __init__(self) -> None:
        self.state = "in-progress"
        self.from_number, self.to_number, self.direction = "+1", "+2", "inbound"
        self.began_at = datetime.now(UTC)
        self.ended_at: datetime | None = None
        self.asked: list[str] = []

    def complete(self) -> None:
        self.state = "completed"

    def replace_document(self, *, twiml: str | None, url: str | None, method: str) -> None:
        self.asked.append(url or "")

    def limit(self, seconds: int) -> bool:
        return True


class World:
    """Twilio with one call, a database, and workers."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.clock = Clock()
        self.call = AtTwilio()
        sandbox.twilio.attach(SID, self.call)
        self._url = f"sqlite:///{folder}/voice.db"
        self._opened: list[Records] = []
        self.records = self.open()

    def open(self) -> Records:
        records = Records(self._url, clock=self.clock, timeout_s=10)
        records.start()
        self._opened.append(records)
        return records

    def recall(self, owner: str = "one", records: Records | None = None) -> Recall:
        env = self.sandbox.environment()
        telephone = Telephone(env["TWILIO_ACCOUNT_SID"], env["TWILIO_AUTH_TOKEN"], env["TWILIO_API_BASE_URL"])
        return Recall(telephone, records or self.records, "https://voice.example.com", owner, WAIT_S, WAIT_S)

    def on_stream(self, owner: str = "one", name: str = NAME) -> None:
        self.clock.now = AT
        self.records.call_started(replace(started(SID), stream_name=name, owner=owner))
        written(self.records)

    def left(self, result: str = "lost", ago: float = 30) -> None:
        self.records.call_ended(SID, ended(at=AT - ago, result=result))
        written(self.records)

    def kept(self) -> tuple[str | None, str | None]:
        call = self.records.call(SID)
        assert call is not None
        return call.result, call.reason

    @property
    def requests(self) -> list[str]:
        return [method for method, *_ in self.sandbox.twilio.requests]

    def close(self) -> None:
        for records in self._opened:
            records.stop(5)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def world(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(wire, "_PAUSES_S", (0.01, 0.01))
    sandbox.twilio.requests.clear()
    sandbox.twilio.faults.clear()
    world = World(sandbox, tmp_path)
    yield world
    world.close()
    registry.client_connections.clear()
    registry.active_sessions.clear()
    registry.stream_to_call_sid.clear()


def settled() -> None:
    """Until no greenlet of a recall is left."""

    def busy() -> list[Any]:
        # The database's thread must not be in the middle of a tuple that we look at.
        sys.setswitchinterval(10.0)
        try:
            return _recalls()
        finally:
            sys.setswitchinterval(0.005)

    def _recalls() -> list[Any]:
        return [g for g in gc.get_objects() if isinstance(g, gevent.Greenlet) and "recall" in g.name and not g.dead]

    wait_until(lambda: not busy(), 10, "nothing is waited for")


# A stream has ended


@pytest.mark.matrix(34)
@pytest.mark.parametrize("result", ["lost", "handed-over"])
def test_a_call_that_does_not_come_back_is_asked_back(world: World, result: str) -> None:
    world.on_stream()
    world.left(result)
    world.recall().soon(SID, NAME)
    assert world.requests == [], "Twilio has some time to come by itself"
    settled()
    assert world.call.asked == [URL]


@pytest.mark.matrix(34)
def test_by_exactly_one_worker_however_many_are_told(world: World, record_property: Told) -> None:
    world.on_stream()
    world.left()
    workers = [world.recall(f"worker-{n}", world.open()) for n in range(6)]
    for worker in workers * 2:
        worker.soon(SID, NAME)
    settled()
    record_property("workers", len(workers))
    record_property("asked_back", len(world.call.asked))
    assert world.call.asked == [URL] and len(world.requests) == 1


def test_a_call_with_which_twilio_comes_by_itself_is_left_alone(world: World) -> None:
    world.on_stream()
    world.left()
    world.recall().soon(SID, NAME)
    world.records.came_back(NAME)
    settled()
    assert world.requests == []


@pytest.mark.parametrize("result", ["completed", "failed", "transferred", "busy"])
def test_a_call_that_is_over_is_left_alone(world: World, result: str) -> None:
    world.on_stream()
    world.left(result)
    world.recall().soon(SID, NAME)
    settled()
    assert world.requests == []


def test_a_call_that_goes_on_elsewhere_is_left_alone_unless_that_worker_has_died(world: World) -> None:
    world.on_stream("two", "another stream")
    world.records.lives("two", 30)
    world.recall().soon(SID, NAME)
    settled()
    assert world.requests == []
    world.clock.now += 31
    world.recall().soon(SID, NAME)
    settled()
    assert world.call.asked == [URL]


def test_a_stream_that_ended_for_twilio_and_not_for_its_worker_is_over_all_the_same(world: World) -> None:
    world.on_stream()
    world.records.lives("one", 30)
    world.recall().soon(SID, NAME)
    settled()
    assert world.call.asked == [URL]


@pytest.mark.matrix(47)
def test_a_call_whose_stream_never_began_is_asked_back(world: World) -> None:
    world.recall().soon(SID, NAME)
    settled()
    assert world.call.asked == [URL]


def test_a_stream_that_is_none_of_ours_is_nothing(world: World) -> None:
    world.recall().soon(SID, "")
    settled()
    assert world.requests == []


def test_a_call_that_twilio_says_is_over_is_forgotten(world: World) -> None:
    world.on_stream()
    world.left()
    recall = world.recall()
    recall.soon(SID, NAME)
    recall.forget(SID)
    settled()
    assert world.requests == []


@pytest.mark.parametrize("gone", ["completed", "unknown"])
def test_a_call_that_twilio_has_no_more_is_closed(world: World, gone: str) -> None:
    world.on_stream("dead")
    if gone == "completed":
        world.call.complete()
    else:
        world.sandbox.twilio.detach(SID)
    world.recall().soon(SID, NAME)
    settled()
    assert world.kept() == ("lost", "worker-lost") and world.call.asked == []


def test_while_twilio_or_the_database_fail_it_waits_for_the_next_sweep(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.on_stream()
    world.left(ago=1000)
    world.sandbox.twilio.faults += FAILS
    recall = world.recall()
    recall.soon(SID, NAME)
    settled()
    assert world.call.asked == [] and "cannot be asked yet" in caplog.text
    recall.sweep()
    settled()
    assert world.call.asked == [URL]
    recall.sweep()
    settled()
    assert world.call.asked == [URL], "once is enough"


def test_what_twilio_refuses_is_told_and_given_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.on_stream()
    world.left(ago=1000)
    world.sandbox.twilio.faults.append(Fault(403))
    recall = world.recall()
    recall.soon(SID, NAME)
    settled()
    recall.sweep()
    settled()
    assert len(world.requests) == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


# A call that is over, and Twilio could not be told so


@pytest.mark.matrix(74)
@pytest.mark.parametrize("answer", ["taken", "gone", "late"])
def test_a_call_that_is_over_is_hung_up_until_twilio_has_taken_it(
    world: World, answer: str, record_property: Told
) -> None:
    world.on_stream()
    world.left("completed")
    if answer == "gone":
        world.sandbox.twilio.detach(SID)
    elif answer == "late":
        world.sandbox.twilio.faults += FAILS * 2
    recall = world.recall()
    recall.soon(SID, NAME, is_over=True)
    settled()
    sweeps = 0
    while answer == "late" and world.call.state != "completed":
        recall.sweep()
        settled()
        sweeps += 1
    record_property("sweeps_until_taken", sweeps)
    before = len(world.requests)
    recall.sweep()
    settled()
    assert len(world.requests) == before, "there is nothing left to be done"
    assert (world.call.state == "completed") is (answer != "gone")
    assert sweeps == (2 if answer == "late" else 0)


def test_who_was_told_so_by_resume_is_not_hung_up_too(world: World) -> None:
    world.on_stream()
    world.left("completed")
    world.recall().soon(SID, NAME, is_over=True)
    world.records.came_back(NAME)
    settled()
    assert world.requests == []


@pytest.mark.matrix(74)
def test_the_monitor_has_a_call_hung_up(world: World) -> None:
    world.sandbox.twilio.faults += FAILS
    recall = world.recall()
    recall.hang_up(SID)
    settled()
    assert world.call.state == "in-progress"
    recall.sweep()
    settled()
    assert world.call.state == "completed"


# Calls that a dead worker has left


def test_the_call_of_a_dead_worker_is_asked_back_by_one_of_the_living(world: World) -> None:
    world.on_stream("dead")
    workers = [world.recall(f"worker-{n}", world.open()) for n in range(4)]
    for worker in workers:
        worker.sweep()
    settled()
    assert world.call.asked == [URL]


def test_a_worker_that_was_late_to_tell_of_itself_keeps_its_calls(world: World) -> None:
    world.on_stream("two")
    recall = world.recall()
    recall._look_again_s = 1.0
    recall.sweep()
    wait_until(lambda: bool(recall._sweeping), 1, "the first look")
    gevent.sleep(0.2)
    world.records.lives("two", 30)
    settled()
    assert world.requests == []


def connected(call_sid: str, name: str) -> registry.CallSession:
    connection = registry.connect()
    connection.stream_name = name
    session = registry.CallSession(
        call_sid, f"MZ-{name}", None, "+1", "+2", connection, Conversation(Rules(greeting="", apology=""))
    )
    registry.start(session)
    return session


def test_calls_of_its_own_it_leaves_alone_as_long_as_it_holds_them(world: World) -> None:
    world.on_stream("one")
    world.records.lives("one", 30)
    session = connected(SID, NAME)
    recall = world.recall("one")
    recall.sweep()
    settled()
    assert world.requests == []
    registry.disconnect(session.connection, over=False)
    recall.sweep()
    settled()
    assert world.call.asked == [URL]


def test_a_lost_call_whose_worker_has_died_before_it_could_ask_is_asked_back(world: World) -> None:
    world.on_stream("dead")
    world.left(ago=60)
    world.recall().sweep()
    settled()
    assert world.call.asked == [URL]


@pytest.mark.parametrize("state", ["in-progress", "completed"])
def test_a_call_that_came_back_and_has_no_stream_is_closed_when_twilio_has_it_no_more(world: World, state: str) -> None:
    world.on_stream("dead")
    world.records.came_back(NAME)  # perhaps a human has it
    world.call.state = state
    world.recall().sweep()
    settled()
    assert world.requests == ["GET"]
    assert world.kept() == (("lost", "worker-lost") if state == "completed" else (None, None))
