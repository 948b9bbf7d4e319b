"""Calls that outlive their worker: killed, told to go, reloaded. Two workers, real signals, and nobody is lost."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
import requests
from gevent.event import Event

from tests.running import Running, wait_until
from voice import drain, registry
from voice.sandbox.call_plan import CallSetup
from voice.sandbox.phone import Phone

CALLS = 6
GREETING = "how can I help you?"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path, workers=2) as running:
        running.forget()
        yield running


def _workers(server: Running) -> list[int]:
    return [
        int(pid) for pid in Path(f"/proc/{server.server.pid}/task/{server.server.pid}/children").read_text().split()
    ]


def _busiest(server: Running) -> int:
    """The worker with the most sockets, and so with calls."""
    return max(_workers(server), key=lambda pid: len(list(Path(f"/proc/{pid}/fd").iterdir())))


def _calls(server: Running, setup: CallSetup = CallSetup()) -> list[Phone]:
    """Callers who have said their names."""
    phones = [server.phone(from_number=f"+1555000{number:04}", setup=setup) for number in range(CALLS)]
    for phone in phones:
        phone.dial()
    for phone in phones:
        phone.wait_until_heard(GREETING)
    gevent.joinall([gevent.spawn(phone.say, f"I am caller {number}") for number, phone in enumerate(phones)])
    for number, phone in enumerate(phones):
        phone.wait_until_heard(f"You said: I am caller {number}")
        phone.wait_until_silent()
    return phones


def _go_on(server: Running, phones: list[Phone]) -> None:
    """Each caller is answered, by an agent that knows what was said before, and rings off."""
    gevent.joinall([gevent.spawn(phone.say, f"Who is number {number}") for number, phone in enumerate(phones)])
    for number, phone in enumerate(phones):
        phone.wait_until_heard(f"You said: Who is number {number}")
    histories = [str(request.body["messages"]) for request in server.sandbox.xai.requests]
    for number in range(len(phones)):
        (history,) = [told for told in histories if f"Who is number {number}'" in told]
        assert f"I am caller {number}'" in history, "the agent has forgotten who calls"
        assert not any(f"caller {other}'" in history for other in range(CALLS) if other != number), "calls have crossed"
    for phone in phones:
        phone.hang_up()
        phone.wait_until_over()


@contextmanager
def _busy_database(server: Running) -> Iterator[None]:
    """Others write to it: most of the time whoever wants to has to wait."""

    def write() -> None:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                gevent.sleep(0.01)
                continue
            gevent.sleep(0.25)
            connection.execute("ROLLBACK")
            gevent.sleep(0.15)

    connection = sqlite3.connect(server.folder / "voice.db", timeout=0, isolation_level=None)
    writer = gevent.spawn(write)
    try:
        yield
    finally:
        writer.kill()
        connection.close()


def _gap_s(phone: Phone) -> float:
    """From the end of the first stream to the beginning of the second, as the phone saw it."""
    entries = phone.events
    ended = next(e.at for e in entries if e.kind == "stream-ended")
    begun = next(e.at for e in entries if e.kind == "start" and e.at > ended)
    return begun - ended


@pytest.mark.matrix(48)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to go"])
def test_the_calls_of_a_worker_go_on_at_the_other(server: Running, end: signal.Signals) -> None:
    phones = _calls(server)
    moved = lambda: [phone for phone in phones if len(phone.streams) > 1]  # noqa: E731
    with _busy_database(server):
        os.kill(_busiest(server), end)
        wait_until(lambda: bool(moved()), 30, "calls come to the other worker")
        for phone in moved():
            phone.wait_until_stream()
        if end == signal.SIGTERM:
            wait_until(lambda: "Worker exiting" in server.log, 60, "the worker has gone")
    if end == signal.SIGTERM:
        assert "Sorry" not in " ".join(phone.heard_text for phone in phones), "a call handed over in silence spoke"
    else:
        for phone in moved():
            phone.wait_until_heard("Sorry, I lost you for a second.")
            phone.wait_until_silent()
    assert all(_gap_s(phone) < 2 for phone in moved())
    _go_on(server, phones)
    assert "given up" not in server.log and "Traceback" not in server.log


@pytest.mark.matrix(50)
def test_a_reload_moves_every_call_and_nobody_hears_it(server: Running) -> None:
    phones = _calls(server)
    os.kill(server.server.pid, signal.SIGHUP)
    for phone in phones:
        wait_until(lambda phone=phone: len(phone.streams) == 2 and phone.line is not None, 60, "the call has moved")
    assert "Sorry" not in " ".join(phone.heard_text for phone in phones)
    _go_on(server, phones)
    assert "Traceback" not in server.log


def test_who_goes_says_so(server: Running) -> None:
    phone = server.phone()
    phone.dial()
    phone.wait_until_heard(GREETING)
    for pid in _workers(server):
        os.kill(pid, signal.SIGTERM)
    # The other may be gone before it says anything: it has nothing to hand over.
    wait_until(lambda: "draining: 1 calls" in server.log, 20, "the one with the call drains")
    wait_until(lambda: len(_workers(server)) == 2 and len(phone.streams) == 2, 15, "new workers have taken over")
    assert requests.get(f"{server.server.url}/readyz", timeout=5).status_code == 200
    phone.hang_up()
    phone.wait_until_over()


def test_a_worker_that_goes_writes_down_what_waits_for_the_database(server: Running) -> None:
    """Longer than it takes until nothing is left to be handed over, and nothing to be answered."""
    phones = _calls(server, CallSetup(status_callback=None))
    path = Path(server.environment["DATABASE_URL"].removeprefix("sqlite:///"))
    before = _workers(server)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for phone in phones:
        phone.hang_up()
    wait_until(lambda: server.log.count(": over, completed, caller-hung-up") == CALLS, 10, "the calls are over")
    for pid in before:
        os.kill(pid, signal.SIGTERM)
    # Nobody is left to be handed over: without the database they would be gone.
    gevent.sleep(drain.LISTENERS_CLOSE_S + 1.4)
    other.execute("COMMIT")
    other.close()
    wait_until(lambda: not set(before) & set(_workers(server)), 15, "they have gone")
    ends = dict(sqlite3.connect(path).execute("SELECT call_sid, reason FROM calls").fetchall())
    assert ends == {phone.call_sid: "caller-hung-up" for phone in phones}


def test_a_worker_leaves_when_its_last_request_is_answered_and_not_before() -> None:
    left = Event()
    drain.request_begins()
    drain.request_begins()
    going = drain.when_it_goes(lambda: False, lambda: True, lambda: True, 5, left.set)
    drain.request_ends()
    assert not left.wait(drain.LISTENERS_CLOSE_S + 0.5), "one is being answered"
    drain.request_ends()
    assert left.wait(0.5)
    going.join(1)
    assert going.successful()
    registry.draining.clear()
