"""Webhooks, to a receiver that is well, ill, slow or away."""

import hmac
import json
import logging
from collections.abc import Iterator

import gevent
import pytest
from sqlalchemy import select

from tests.records.conftest import Clock
from tests.records.receiver import Receiver, cut, drip, hang, receiving, status
from tests.records.stories import SID, started, wait_until, written
from voice.records import outbox as outbox_module
from voice.records.outbox import Destination, Outbox
from voice.records.records import Records
from voice.records.schema import outbox as table

SECRET = "a secret"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def outbox(records: Records, receiver: Receiver) -> Iterator[Outbox]:
    """Of an agent that has a webhook. Patient for 0.2 s."""
    records.call_started(started())
    outbox = Outbox(records, {"receptionist": Destination(receiver.url, SECRET)}.get, timeout_s=0.2)
    outbox.start()
    yield outbox
    outbox.stop()


def kept(records: Records) -> list[tuple[int, bool, float | None, str | None]]:
    """Of each webhook: attempts, delivered, when next, what went wrong."""
    rows = records.read(lambda connection: connection.execute(select(table)).all())
    return [(row.attempts, row.delivered_at is not None, row.next_at, row.last_error) for row in rows]


def test_what_is_posted_is_delivered_at_once_and_signed(
    records: Records, outbox: Outbox, receiver: Receiver, clock: Clock
) -> None:
    delivery_id = records.post(SID, "receptionist", {"call_sid": SID, "said": "gr\u00fc\u00dfe \u2713", "cost": 0.5})
    wait_until(lambda: kept(records) == [(1, True, None, None)], "the delivery", 5)
    records.post(SID, "receptionist", {})
    wait_until(lambda: len(receiver.received) == 2, "the second one", 5)
    received = receiver.received[0]
    assert received.path == "/calls?key=hunter2"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-voice-delivery"] == delivery_id
    assert json.loads(received.body) == {"call_sid": SID, "said": "gr\u00fc\u00dfe \u2713", "cost": 0.5}
    timestamp = received.headers["x-voice-timestamp"]
    assert timestamp == str(int(clock.now))
    signed = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + received.body, "sha256").hexdigest()
    assert received.headers["x-voice-signature"] == f"v1={signed}"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(500), "HTTP 500"),
        (status(307, Location="http://127.0.0.1:1/elsewhere"), "HTTP 307"),
        (hang, "TimeoutError"),
        (drip, "no answer within 0.4 s"),
        (cut, "RemoteDisconnected"),
    ],
)
def test_what_is_not_taken_is_tried_again(
    records: Records,
    outbox: Outbox,
    receiver: Receiver,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    answer: object,
    said: str,
) -> None:
    receiver.answer = answer  # type: ignore[assignment]
    delivery_id = records.post(SID, "receptionist", {"n": 1})
    wait_until(lambda: kept(records)[0][3], "the failure", 5)
    ((attempts, delivered, next_at, error),) = kept(records)
    assert (attempts, delivered, error) == (1, False, said)
    assert next_at is not None and 4 <= next_at - clock.now <= 6
    assert [m for m in caplog.messages if "webhook" in m] == [
        f"{SID}: webhook {delivery_id} not delivered, attempt 1: {said}"
    ]
    assert "hunter2" not in caplog.text
    receiver.answer = status(200)
    clock.now += 3
    records.posted.set()
    gevent.sleep(0.05)
    assert len(receiver.received) == 1
    clock.now += 4
    records.posted.set()
    wait_until(lambda: kept(records) == [(2, True, None, None)], "the second attempt", 5)
    first, second = receiver.received
    assert second.body == first.body and second.headers["x-voice-delivery"] == delivery_id
    assert second.headers["x-voice-signature"] != first.headers["x-voice-signature"]


def test_the_pauses_grow_to_an_hour_and_after_a_week_it_is_given_up(
    records: Records, outbox: Outbox, receiver: Receiver, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = status(503)
    began = clock.now
    records.post(SID, "receptionist", {})
    pauses: list[float] = []
    while True:
        attempt = len(pauses) + 1
        wait_until(lambda: kept(records)[0][3] and len(receiver.received) == attempt, "the attempt", 5)
        wait_until(lambda: kept(records)[0][2] != clock.now + 60, "its result", 5)
        next_at = kept(records)[0][2]
        if next_at is None:
            break
        pauses.append(next_at - clock.now)
        # From the twelfth on they are all the same: on to the last day.
        clock.now = max(next_at, began + 7 * 86400 + 1) if len(pauses) == 12 else next_at
        records.posted.set()
    doubling = [min(3600.0, 5.0 * 2**n) for n in range(12)]
    assert all(0.8 * pause <= found <= 1.2 * pause for pause, found in zip(doubling, pauses, strict=True))
    assert clock.now - began > 7 * 86400
    assert [r.levelno for r in caplog.records if "given up" in r.message] == [logging.ERROR]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_second_attempt_does_not_wait_for_the_next_look(
    url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_FIRST_PAUSE_S", 0.2)
    receiver.answer = status(500)
    records = Records(url)
    records.start()
    records.call_started(started())
    outbox = Outbox(records, lambda agent: Destination(receiver.url, SECRET))
    outbox.start()
    records.post(SID, "receptionist", {})
    wait_until(lambda: len(receiver.received) == 1, "the first attempt", 5)
    receiver.answer = status(200)
    wait_until(lambda: len(receiver.received) == 2, "the second one", 5)
    outbox.stop()
    records.stop(5)


def test_of_two_workers_one_delivers(records: Records, receiver: Receiver, url: str, clock: Clock) -> None:
    records.call_started(started())
    for number in range(12):
        records.post(SID, "receptionist", {"n": number})
    written(records)
    other = Records(url, clock=clock)
    workers = [Outbox(r, lambda agent: Destination(receiver.url, SECRET)) for r in (records, other)]
    for worker in workers:
        worker.start()
    wait_until(lambda: len(receiver.received) >= 12, "all have come")
    wait_until(lambda: all(delivered for _, delivered, _, _ in kept(records)), "all are delivered")
    assert sorted(json.loads(received.body)["n"] for received in receiver.received) == list(range(12))
    for worker in workers:
        worker.stop()
    other.stop(5)


def test_what_a_dead_worker_had_in_hand_is_delivered_by_another(
    records: Records, outbox: Outbox, receiver: Receiver, clock: Clock
) -> None:
    receiver.answer = hang
    records.post(SID, "receptionist", {})
    wait_until(lambda: receiver.received, "the first attempt", 5)
    outbox.stop()
    receiver.answer = status(200)
    other = Outbox(records, lambda agent: Destination(receiver.url, SECRET))
    other.start()
    gevent.sleep(0.05)
    assert len(receiver.received) == 1
    clock.now += 61
    records.posted.set()
    wait_until(lambda: kept(records) == [(2, True, None, None)], "the second attempt", 5)
    other.stop()


def test_an_agent_without_a_webhook_may_get_one_again(records: Records, outbox: Outbox) -> None:
    records.post(SID, "sales", {})
    wait_until(lambda: kept(records)[0][3], "the failure", 5)
    assert kept(records)[0][3] == "sales has no webhook"
    assert kept(records)[0][2] is not None


def test_one_receiver_that_hangs_does_not_keep_the_others_waiting(
    records: Records, receiver: Receiver, clock: Clock
) -> None:
    records.call_started(started())
    with receiving() as slow:
        slow.answer = hang
        destinations = {"slow": Destination(slow.url, SECRET), "quick": Destination(receiver.url, SECRET)}
        outbox = Outbox(records, destinations.get, timeout_s=5)
        outbox.start()
        for _ in range(4):
            records.post(SID, "slow", {})
        records.post(SID, "quick", {})
        wait_until(lambda: receiver.received and len(slow.received) == 4, "the quick one", 3)
        outbox.stop()


def test_a_secret_and_an_address_are_not_shown() -> None:
    assert repr(Destination("https://example.com/hunter2", SECRET)) == "Destination()"
