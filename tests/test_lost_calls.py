"""Calls that lose their stream and are not brought back by Twilio itself, and all the ways to end at the same time.

Two workers, so that what Twilio tells comes to one that does not hold the call as often as not.
"""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import gevent
import pytest
import websocket

from tests.running import Running, wait_until
from tests.web.served import Served, Stream, new_call_sid
from voice.recall import COMES_BACK_S
from voice.sandbox import faults
from voice.sandbox.call_plan import CallSetup
from voice.sandbox.phone import Phone
from voice.sandbox.serving import ServerProcess
from voice.sandbox.twilio_rest import Fault
from voice.services import Admission
from voice.web.tokens import Tokens

GREETING = "how can I help you?"
SORRY = "Sorry, I lost you for a second."
APOLOGY = "Sorry, something is wrong. Goodbye."
LIMIT_S = 10
_ESTABLISHED = "01"

Told = Callable[[str, object], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("lost"), workers=2) as running:
        yield running


@pytest.fixture
def calls(server: Running) -> Iterator[Running]:
    server.forget()
    server.sandbox.twilio.faults.clear()
    yield server
    assert "Traceback" not in server.log


def phone_of(server: Running, **setup: object) -> Phone:
    return server.phone(setup=CallSetup(**setup))  # type: ignore[arg-type]


def greeted(phone: Phone) -> Phone:
    phone.dial()
    phone.wait_until_heard(GREETING)
    phone.wait_until_silent()
    return phone


def hang_up(phone: Phone) -> None:
    phone.hang_up()
    phone.wait_until_over()


def vendor_connections(server: Running) -> int:
    """Connections to the stand-ins that are open at the server's end, by the kernel's account."""
    port = f":{server.sandbox.port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(remote.endswith(port) and state == _ESTABLISHED for _, _, remote, state, *_ in lines)


def at(phone: Phone, kind: str, after: float = 0.0) -> float:
    return next(entry.at for entry in phone.events if entry.kind == kind and entry.at > after)


# Not brought back by Twilio


@pytest.mark.full
@pytest.mark.matrix(34)
def test_calls_that_twilio_does_not_bring_back_are_asked_back(calls: Running, record_property: Told) -> None:
    """Whether their worker has died or lost the socket only."""
    phones = [phone_of(calls, falls_through=False) for _ in range(4)]
    gevent.joinall([gevent.spawn(greeted, phone) for phone in phones], raise_error=True)
    gevent.joinall([gevent.spawn(phone.say, f"I am caller {n}") for n, phone in enumerate(phones)])
    for number, phone in enumerate(phones):
        phone.wait_until_heard(f"You said: I am caller {number}")
        phone.wait_until_silent()
    folder = Path(f"/proc/{calls.server.pid}/task/{calls.server.pid}/children")
    os.kill(
        max(map(int, folder.read_text().split()), key=lambda pid: len(os.listdir(f"/proc/{pid}/fd"))), signal.SIGKILL
    )
    lost_at = time.monotonic()
    for phone in phones:
        phone.drop()
    wait_until(lambda: all(s.closed for s in calls.sandbox.openai.sessions), 2, "the transcribers are disconnected")
    record_property("vendors_closed_s", round(time.monotonic() - lost_at, 2))
    for phone in phones:
        phone.wait_until_heard(SORRY, COMES_BACK_S + 10)
        phone.wait_until_silent()
    back = [at(phone, "start", at(phone, "stream-ended")) - at(phone, "stream-ended") for phone in phones]
    record_property("asked_back_after_s_max", round(max(back), 2))
    assert all(COMES_BACK_S - 0.5 < after < COMES_BACK_S + 4 for after in back), back
    gevent.joinall([gevent.spawn(phone.say, f"Who is number {n}") for n, phone in enumerate(phones)])
    for number, phone in enumerate(phones):
        phone.wait_until_heard(f"You said: Who is number {number}")
    asked = [str(request.body["messages"]) for request in calls.sandbox.xai.requests]
    for number, phone in enumerate(phones):
        (history,) = [told for told in asked if f"Who is number {number}'" in told]
        assert f"I am caller {number}'" in history, "the agent has forgotten who calls"
        redirects = [form for method, path, form in calls.sandbox.twilio.requests if phone.call_sid in path]
        assert len(redirects) == 1 and len(phone.streams) == 2, "once, by one worker"
        hang_up(phone)


@pytest.mark.matrix(34)
def test_a_call_that_twilio_brings_back_itself_is_back_at_once(calls: Running, record_property: Told) -> None:
    phone = greeted(phone_of(calls))
    sessions = calls.sandbox.openai.sessions
    before = time.monotonic()
    phone.drop()
    wait_until(lambda: sessions[0].closed, 2, "the transcriber is disconnected")
    record_property("vendors_closed_s", round(time.monotonic() - before, 2))
    phone.wait_until_heard(SORRY)
    gap = at(phone, "start", at(phone, "stream-ended")) - at(phone, "stream-ended")
    record_property("resumed_s", round(gap, 2))
    assert gap < 2
    hang_up(phone)


def test_who_has_not_heard_all_of_the_greeting_hears_it_again(calls: Running) -> None:
    phone = phone_of(calls)
    phone.dial()
    phone.wait_for(lambda: not phone.is_silent(100))
    phone.drop()
    phone.wait_until_heard(GREETING)
    assert len(phone.streams) == 2 and SORRY not in phone.heard_text
    hang_up(phone)


@pytest.mark.matrix(47)
def test_streams_that_never_open_are_given_up_with_an_apology(calls: Running, record_property: Told) -> None:
    before = asked_behind(calls)
    phone = phone_of(calls, failing_handshakes=99)
    phone.dial()
    phone.wait_until_over(20)
    rounds = sum("its stream was lost" in line and "given up" not in line for line in calls.lines_of(phone.call_sid))
    record_property("rounds", rounds)
    record_property("seconds", round(time.monotonic() - phone.began, 1))
    assert rounds <= 3 and phone.said == [APOLOGY] and phone.streams == []
    assert asked_behind(calls) - before == rounds + 1, "nobody needs to ask for it"


def asked_behind(server: Running) -> int:
    """Behind how many streams Twilio, or one of us, has come back with the call."""
    with sqlite3.connect(server.folder / "voice.db", timeout=10) as database:
        return int(database.execute("SELECT count(*) FROM leases WHERE name LIKE 'behind %'").fetchone()[0])


@pytest.mark.matrix(74)
def test_a_call_that_twilio_does_not_hang_up_is_told_so_when_it_asks(calls: Running, record_property: Told) -> None:
    phone = greeted(phone_of(calls))
    calls.sandbox.twilio.faults += [Fault(500)] * 3
    phone.say("Goodbye")
    phone.wait_until_over(20)
    tries = sum(method == "POST" for method, *_ in calls.sandbox.twilio.requests)
    record_property("tries", tries)
    assert tries == 3 and phone.over_reason == "<Hangup>" and phone.said == []
    assert "over, completed, agent-hung-up" in calls.last_line(phone.call_sid)


@pytest.fixture
def second(server: Running) -> Iterator[ServerProcess]:
    """Another server with the same records, as on another machine."""
    with (server.folder / "second.log").open("wb") as log:
        with ServerProcess(server.environment, log) as process:
            yield process


@pytest.mark.matrix(74)
def test_it_is_told_so_at_another_server_too_though_the_end_is_written_late(
    calls: Running, second: ServerProcess
) -> None:
    phone = greeted(phone_of(calls))
    phone.reroute(second.url)
    rest = calls.sandbox.twilio
    rest.faults += [Fault(500)] * 3
    phone.say("Goodbye")
    phone.wait_until_heard("Goodbye then.")
    with closing(sqlite3.connect(calls.folder / "voice.db", timeout=10)) as database:
        database.execute("BEGIN IMMEDIATE")
        wait_until(lambda: sum(method == "POST" for method, *_ in rest.requests) == 3, 10, "it was not hung up")
        gevent.sleep(0.4)
        database.rollback()
    phone.wait_until_over(20)
    assert phone.over_reason == "<Hangup>" and len(phone.streams) == 1, "an agent who has said goodbye is back"


def test_a_call_that_was_asked_back_just_when_it_had_come_back_goes_on(calls: Running) -> None:
    """Told to open another stream, Twilio stops the one that there is, as if the caller had rung off."""
    served = Served(calls)
    call_sid = new_call_sid()
    (stream,) = streams_of(served, [call_sid])
    stream.send({"event": "stop", "stop": {"callSid": call_sid}})
    wait_until(lambda: summaries(calls, call_sid) == 1, 5, "the stream is over")
    form = {"CallSid": call_sid, "From": "+15550001111", "To": "+15559990000", "CallStatus": "in-progress"}
    asked = [served.post(f"/twilio/resume?stream=0-0-{call_sid[2:18]}{more}", form).text for more in ("", "&asked=1")]
    assert ["<Hangup" in document for document in asked] == [True, False]
    assert "<Stream" in asked[1]
    stream.leave()


# Ended from several sides


@pytest.mark.matrix(43)
def test_who_hangs_up_while_the_vendors_are_being_connected_leaves_no_connection(
    calls: Running, record_property: Told
) -> None:
    before = vendor_connections(calls)
    calls.sandbox.openai.faults.append(faults.NeverAnswer())
    calls.sandbox.elevenlabs.faults.append(faults.NeverAnswer())
    phone = phone_of(calls)
    phone.dial()
    phone.wait_until_stream()
    wait_until(lambda: vendor_connections(calls) == before + 2, 2, "both are being connected")
    phone.hang_up()
    began = time.monotonic()
    wait_until(lambda: vendor_connections(calls) == before, 1, "no connection is left")
    record_property("vendors_closed_s", round(time.monotonic() - began, 2))
    phone.wait_until_over()


def streams_of(served: Served, call_sids: list[str]) -> list[Stream]:
    """A stream for each call, live."""
    tokens = Tokens(served.sandbox.twilio.auth_token)
    streams = []
    for call_sid in call_sids:
        admission = Admission("plain", "+15550001111", "+15559990000", stream_name=f"0-0-{call_sid[2:18]}")
        stream = served.upgrade()
        stream.start(call_sid, tokens.parameters(call_sid, admission))
        streams.append(stream)
    for stream in streams:
        assert stream.next()["event"] == "media", "the greeting"
    return streams


def status(served: Served, call_sid: str) -> None:
    form = {"CallSid": call_sid, "From": "+15550001111", "To": "+15559990000", "CallStatus": "completed"}
    assert served.post("/twilio/status", form).status_code == 204


@pytest.mark.matrix(44)
def test_a_stream_whose_call_is_over_is_closed_whoever_was_told(calls: Running, record_property: Told) -> None:
    served = Served(calls)
    call_sids = [new_call_sid() for _ in range(6)]
    streams = streams_of(served, call_sids)
    # As long as the calls are new, the records may not know them yet.
    gevent.sleep(1.5)
    began = time.monotonic()
    for call_sid in call_sids:
        status(served, call_sid)
    assert [stream.closed()[0] for stream in streams] == [1000] * len(streams)
    record_property("closed_s_max", round(time.monotonic() - began, 2))
    assert time.monotonic() - began < 3
    for stream in streams:
        stream.leave()


@pytest.mark.matrix(45)
@pytest.mark.parametrize("size", [20, pytest.param(200, marks=pytest.mark.full)])
def test_all_ends_at_once_are_one_end(calls: Running, size: int, record_property: Told) -> None:
    """`stop`, the status callback, that of the stream, and the socket's end."""
    served = Served(calls)
    call_sids = [new_call_sid() for _ in range(size)]
    streams = streams_of(served, call_sids)

    def end(call_sid: str, stream: Stream) -> None:
        told = {"CallSid": call_sid, "StreamEvent": "stream-stopped", "StreamName": f"0-0-{call_sid[2:18]}"}
        sides = [gevent.spawn(status, served, call_sid), gevent.spawn(served.post, "/twilio/stream-status", told)]
        stream.send({"event": "stop", "stop": {"callSid": call_sid}})
        stream.leave()
        gevent.joinall(sides, raise_error=True)

    ends = [gevent.spawn(end, *of_call) for of_call in zip(call_sids, streams, strict=True)]
    gevent.joinall(ends, raise_error=True)
    wait_until(lambda: all(summaries(calls, sid) for sid in call_sids), 10, "every call is over")
    rows = rows_of(calls, call_sids)
    record_property("calls", len(call_sids))
    record_property("rows", len(rows))
    assert [summaries(calls, call_sid) for call_sid in call_sids] == [1] * len(call_sids)
    assert len(rows) == len(call_sids) and {result for _, result in rows} == {"completed"}


def summaries(server: Running, call_sid: str) -> int:
    return sum(": over, " in line for line in server.lines_of(call_sid))


def rows_of(server: Running, call_sids: list[str]) -> list[tuple[str, str]]:
    with sqlite3.connect(server.folder / "voice.db", timeout=10) as database:
        rows = database.execute("SELECT call_sid, result FROM calls").fetchall()
    return [row for row in rows if row[0] in call_sids]


@pytest.mark.matrix(46)
def test_a_webhook_that_comes_twice_makes_one_bot(calls: Running, record_property: Told) -> None:
    served = Served(calls)
    bots = [bots_of(served, new_call_sid()) for _ in range(8)]
    record_property("bots", max(bots))
    assert bots == [1] * 8


def bots_of(served: Served, call_sid: str) -> int:
    """How many speak when the webhook was posted twice and both its streams are opened, all at the same time."""
    given = [gevent.spawn(served.parameters, call_sid) for _ in range(2)]
    gevent.joinall(given, raise_error=True)
    streams = [served.upgrade() for _ in given]
    for stream, parameters in zip(streams, given, strict=True):
        stream.start(call_sid, parameters.value)
    bots = sum(speaks(stream) for stream in streams)
    for stream in streams:
        stream.leave()
    return bots


def speaks(stream: Stream) -> bool:
    opcode, data = stream.socket.recv_data()
    assert opcode == websocket.ABNF.OPCODE_TEXT or data[:2] == (1008).to_bytes(2, "big"), data
    return bool(opcode == websocket.ABNF.OPCODE_TEXT)


# Limits that need no word of anybody


@pytest.mark.full
@pytest.mark.matrix(73)
def test_the_time_limit_holds_though_no_mark_ever_comes_back(calls: Running, record_property: Told) -> None:
    phone = calls.phone(to_number="+15550000003", setup=CallSetup(returns_marks=False))
    phone.dial()
    phone.wait_until_stream()
    phone.wait_until_over(LIMIT_S + 25)
    lasted = at(phone, "stream-ended") - at(phone, "start")
    record_property("limit_s", LIMIT_S)
    record_property("over_after_s", round(lasted, 1))
    assert "over, completed, time-limit" in calls.last_line(phone.call_sid)
    assert phone.over_reason == "ended by the REST API" and LIMIT_S <= lasted <= LIMIT_S + 20
