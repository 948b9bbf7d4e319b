"""Who is let in, by numbers; and a real server that has had enough."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import gevent
import pytest
import requests
from gevent.pool import Pool as Greenlets

from tests.metrics.test_counting import Counts
from tests.records.stories import started
from tests.running import Running
from tests.web.served import MAX_CALLS, Served, new_call_sid
from voice.pressure import Pressure
from voice.records.records import Records
from voice.spending import Spending
from voice.web.gate import MOST_STRANGERS, Gate, Pace, Strangers
from voice.web.twilio import BUSY

CALLER = "+15550001"


def test_at_most_so_many_in_any_second_and_the_rest_wait_their_turn() -> None:
    pace = Pace(10)
    waits = [pace.wait(100.0) for _ in range(60)]
    assert waits == [second for second in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0) for _ in range(10)]
    assert pace.wait(100.0) is None, "the line is five seconds long"
    # Who was sent away has taken no turn, and who comes later does not overtake.
    assert pace.wait(101.0) == 5.0 and pace.wait(107.0) == 0.0


def test_no_more_wait_than_there_are_connections_to_spare() -> None:
    pace = Pace(100)
    waits = [pace.wait(0.0) for _ in range(300)]
    assert waits.count(0.0) == 100 and waits.count(None) == 200, "a wait of a second is too long for a line of 50"


@pytest.mark.threat(16)
def test_evenly_spread_calls_never_wait() -> None:
    pace = Pace(5)
    assert {pace.wait(number / 5) for number in range(100)} == {0.0}


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(f"sqlite:///{tmp_path}/voice.db", timeout_s=10)
    records.start()
    yield records
    records.stop(5)


def gate(records: Records, per_number: int | None = None, per_day: float | None = None) -> Gate:
    return Gate(records, Spending(records, None, per_day), Pressure(), 1000, per_number)


@pytest.mark.threat(16)
def test_one_number_calls_only_so_often_in_an_hour(records: Records) -> None:
    now = records.clock()
    for number in range(3):
        records.call_started(started(f"CA-{number}", now - 600, caller=CALLER))
    records.call_started(started("CA-long-ago", now - 3700, caller=CALLER))
    records.flush(5)
    assert gate(records, per_number=4).let_in("CA-new", CALLER, outbound=False)
    assert not gate(records, per_number=3).let_in("CA-new", CALLER, outbound=False)
    assert gate(records, per_number=3).let_in("CA-new", "+15550002", outbound=False)
    assert gate(records, per_number=3).let_in("CA-new", CALLER, outbound=True), "we have called it"


def test_each_refusal_is_counted_by_its_reason(records: Records, caplog: pytest.LogCaptureFixture) -> None:
    def asked(gate: Gate) -> dict[str, float]:
        counts = Counts()
        assert not gate.let_in("CA-new", CALLER, outbound=False)
        return counts.more()

    records.call_started(started("CA-1", records.clock(), caller=CALLER))
    assert asked(gate(records, per_number=1)) == {"voice_calls_refused_total number": 1}
    assert asked(gate(records, per_number=1, per_day=0.0)) == {"voice_calls_refused_total budget": 1}
    busy = Pressure()
    busy.is_high = True
    spending = Spending(records, None, None)
    assert asked(Gate(records, spending, busy, 1000, None)) == {"voice_calls_refused_total no-time": 1}
    full = gate(records)
    full._pace.wait = lambda now: None  # type: ignore[method-assign]
    assert asked(full) == {"voice_calls_refused_total at-once": 1}
    assert len([line for line in caplog.messages if line.startswith("CA-new: refused, ")]) == 4


@pytest.mark.threat(28)
def test_those_who_hide_their_number_are_not_one_caller(records: Records) -> None:
    for withheld in ("anonymous", "", "+266696687"):
        for number in range(3):
            records.call_started(started(f"CA-{withheld}-{number}", records.clock(), caller=withheld))
        records.flush(5)
        assert gate(records, per_number=1).let_in("CA-new", withheld, outbound=False)


def test_while_the_database_is_away_everybody_is_let_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    away = Records(f"sqlite:///{tmp_path}/nowhere/voice.db", timeout_s=0.2)
    began = time.monotonic()
    assert gate(away, per_number=1, per_day=1.0).let_in("CA-new", CALLER, outbound=False)
    assert time.monotonic() - began < 1.5
    assert "is not known" in caplog.text
    away.stop(0.1)


@pytest.mark.threat(2, 3)
def test_beyond_a_few_strangers_in_a_minute_the_vendors_are_not_connected_early() -> None:
    strangers = Strangers()
    for second in range(MOST_STRANGERS):
        assert strangers.are_few(second)
        strangers.came(second)
    assert not strangers.are_few(MOST_STRANGERS) and not strangers.are_few(59.0)
    assert strangers.are_few(61.0)


def refused_for_room(served: Served) -> float:
    text = requests.get(f"{served.url}/metrics", timeout=5).text
    return float(re.findall(r'^voice_calls_refused_total{reason="full"} (\S+)$', text, re.MULTILINE)[0])


@pytest.mark.matrix(57)
def test_at_a_full_server_twenty_more_are_refused_at_once_and_nobody_else_notices(
    served: Served, record_property: Callable[[str, object], None]
) -> None:
    live = []
    for _ in range(MAX_CALLS):
        call_sid = new_call_sid()
        parameters = served.parameters(call_sid)
        stream = served.upgrade()
        stream.start(call_sid, parameters)
        assert stream.next()["event"] == "media", "the greeting"
        live.append(stream)

    def refused(_: int) -> tuple[float, str]:
        form = {"CallSid": new_call_sid(), "From": "+15550001111", "To": "+15559990000", "CallStatus": "ringing"}
        began = time.monotonic()
        text = served.post("/twilio/voice", form).text
        return time.monotonic() - began, text

    before = refused_for_room(served)
    answers = list(Greenlets(20).imap_unordered(refused, range(20)))
    assert all(
        BUSY in text and [v.tag for v in ElementTree.fromstring(text)] == ["Say", "Hangup"] for _, text in answers
    )
    slowest = max(took for took, _ in answers) * 1000
    record_property("refusal_ms", round(slowest))
    assert slowest < 300
    assert refused_for_room(served) == before + 20
    assert requests.get(f"{served.url}/healthz", timeout=5).status_code == 200 and served.ready() == 503
    for stream in live:
        assert stream.next()["event"] in ("media", "mark")
        stream.leave()


@pytest.mark.full
@pytest.mark.matrix(58)
def test_a_hundred_calls_within_a_second(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Each is greeted soon after it was answered, or told that the lines are busy; callers and server share cores."""
    with Running(tmp_path) as running:

        def greeted(delay: float) -> float | None:
            gevent.sleep(delay)
            phone = running.phone()
            phone.dial()
            phone.wait_for(lambda: bool(phone.agent_spans_ms) or bool(phone.said), 20)
            told = phone.began + phone.agent_spans_ms[0][0] / 1000 if phone.agent_spans_ms else None
            answered = phone.journal.all("answered")[0].at
            phone.hang_up()
            phone.wait_until_over()
            return told - answered if told else None

        idle = max(took for _ in range(20) if (took := greeted(0)) is not None)
        took = list(Greenlets(100).map(greeted, [number / 100 for number in range(100)]))
        accepted = sorted(each for each in took if each is not None)
    record_property("accepted", len(accepted))
    record_property("idle_greeting_most_ms", round(idle * 1000))
    record_property("greeting_p95_ms", round(accepted[int(len(accepted) * 0.95) - 1] * 1000))
    assert len(accepted) >= 50
    assert accepted[int(len(accepted) * 0.95) - 1] < 1.0
