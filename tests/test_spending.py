"""What calls cost, held against the limits: in numbers, and at a real server that has used up its day."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from config.prices import PRICES_FILE, load_prices
from tests.records.stories import started
from tests.running import Running, wait_until
from tests.web.served import Served, new_call_sid
from voice import registry
from voice.records.entries import CallEnded, Outbound
from voice.records.records import Records
from voice.spending import Spending, unpriced
from voice.web.outbound_limits import OutboundLimits
from voice.web.twilio import BUSY

API_TOKEN = "a-token-that-nobody-guesses"
DAY_S = 86400


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(f"sqlite:///{tmp_path}/voice.db", timeout_s=10)
    records.start()
    yield records
    records.stop(5)


def cost(records: Records, call_sid: str, dollars: float, ago_s: float) -> None:
    at = records.clock() - ago_s
    records.call_started(started(call_sid, at))
    records.call_ended(call_sid, CallEnded("completed", "caller-hung-up", at + 1, {}, {"total": dollars}))


@pytest.mark.threat(5, 16)
def test_the_calls_of_a_day_are_added_up_warned_of_and_stopped(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    cost(records, "CA-the-day-before", 100.0, DAY_S + 10)
    cost(records, "CA-1", 7.9, 1000)
    spending = Spending(records, None, 10.0)
    assert not spending.exhausted and caplog.messages == []
    cost(records, "CA-2", 0.1, 10)
    spending.look()
    spending.look()
    assert not spending.exhausted
    assert caplog.messages == ["calls have cost 8.00 of 10.00 dollars in 24 hours"], "told once"
    cost(records, "CA-3", 2.0, 5)
    spending.look()
    assert spending.exhausted and "no new ones" in caplog.messages[-1]
    records.delete_call("CA-1")
    spending.look()
    assert not spending.exhausted and "new ones again" in caplog.messages[-1]


@pytest.mark.threat(16)
def test_a_worker_that_has_just_started_knows_what_was_spent(records: Records) -> None:
    cost(records, "CA-1", 10.0, 10)
    assert Spending(records, None, 10.0).exhausted
    assert not Spending(records, None, None).exhausted


@pytest.fixture
def connection() -> Iterator[registry.Connection]:
    connection = registry.connect()
    connection.state, connection.call_sid = registry.State.LIVE, "CA-live"
    yield connection
    registry.disconnect(connection, over=False)


@pytest.mark.threat(16)
def test_a_live_call_counts_for_everybody_and_ends_at_its_own_limit(
    records: Records, connection: registry.Connection
) -> None:
    records.call_started(started("CA-live", records.clock()))
    reasons: list[str] = []
    connection.request_end = reasons.append
    connection.cost = lambda: 1.99
    spending = Spending(records, 2.0, 3.0)
    spending.look()
    other = Spending(records, 2.0, 1.99)
    assert reasons == [] and other.exhausted, "another worker knows of it"
    connection.cost = lambda: 2.0
    spending.look()
    assert reasons == ["cost-limit"]


@pytest.mark.threat(16)
def test_what_has_no_price_is_named() -> None:
    missing = unpriced(load_prices(PRICES_FILE), {"grok-4.20-non-reasoning", "grok-9"}, "gpt-live-transcribe", "eleven")
    telephone = ["telephone inbound_minute", "telephone stream_minute", "telephone sms"]
    models = ["language model grok-9", "synthesizer eleven"]
    assert sorted(missing) == sorted([*telephone, *models, "telephone outbound_minute", "telephone amd"])


@pytest.mark.threat(5)
def test_the_minutes_of_placed_calls_are_limited(records: Records) -> None:
    now = records.clock()
    limits = OutboundLimits((), 10, 10, minutes_per_day=10)
    for number, (ago, seconds) in enumerate(((DAY_S + 5, 6000), (3000, 300), (2000, 0))):
        records.call_started(replace(started(f"CA-{number}", now - ago), direction="outbound"))
        usage = {"call_seconds": seconds} if seconds else {}
        records.call_ended(f"CA-{number}", CallEnded("completed", "x", now - 1, usage, {}))
    records.call_started(started("CA-inbound", now - 5000))
    records.call_started(replace(started("CA-live", now - 290), direction="outbound"))
    assert limits.place(records, Outbound("a", "+15550001", "desk", {})) == ""
    records.call_started(replace(started("CA-live-2", now - 15), direction="outbound"))
    assert limits.place(records, Outbound("b", "+15550001", "desk", {})) == "10 minutes a day"


@pytest.mark.threat(5, 16)
@pytest.mark.matrix(75)
def test_beyond_the_days_limit_no_call_begins_and_a_live_one_ends_at_its_own_without_a_word_from_its_peer(
    tmp_path: Path,
) -> None:
    environment = {"API_TOKEN": API_TOKEN, "TWILIO_PHONE_NUMBER": "+15559990000", "MONITOR_INTERVAL_S": "0.1"}
    # 0.017 dollars a minute for the transcriber alone: a second's worth, and three seconds' worth.
    with Running(tmp_path, COST_PER_DAY="0.0003", COST_PER_CALL="0.0008", **environment) as running:
        served = Served(running)
        assert "COST_PER_DAY count nothing for what has no price" in running.log
        call_sid = new_call_sid()
        parameters = served.parameters(call_sid)
        stream = served.upgrade()
        stream.start(call_sid, parameters)
        began = time.monotonic()
        assert stream.next()["event"] == "media"
        served.wait_for_log("no new ones")
        vendors = served.vendors_connected()
        form = {"CallSid": new_call_sid(), "From": "+15550001111", "To": "+15559990000", "CallStatus": "ringing"}
        assert BUSY in served.post("/twilio/voice", form).text
        answered = served.post(f"/twilio/voice?outbound={'a' * 32}", form | {"Direction": "outbound-api"}).text
        assert "Hangup" in answered and "Stream" not in answered
        headers = {"Authorization": f"Bearer {API_TOKEN}"}
        body = {"to": "+15550007777"}
        refused = requests.post(f"{served.url}/api/calls", json=body, headers=headers, timeout=5)
        assert (refused.status_code, refused.json()["error"]) == (429, "budget_exhausted")
        assert served.vendors_connected() == vendors and running.level()[1] == 1, "the live one goes on"
        # Not a frame and not a mark has come from its peer.
        served.wait_for_log(f"{call_sid}: has cost 0.00 dollars, ending it")
        assert 2 < time.monotonic() - began < 6
        stream.leave()
        served.wait_for_log(f"{call_sid}: over, completed, cost-limit")

        def record() -> dict[str, object]:
            told: dict[str, object] = requests.get(
                f"{served.url}/api/calls/{call_sid}", headers=headers, timeout=5
            ).json()
            return told

        wait_until(lambda: bool(record().get("ended_at")), 5, "the end is recorded")
        assert record()["reason"] == "cost-limit"
