"""The stream's messages in an order that they should not come in: one by one, and any order whatever."""

import base64
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any
from xml.etree import ElementTree

import gevent
import pytest
import requests
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.conformance.live import STREAM_SID, LiveStream, over, start
from tests.conformance.raw import TEXT, close, frame
from tests.conformance.test_vendor_bytes import TIMES
from tests.running import wait_until
from tests.web.served import Served, new_call_sid

Record = Callable[[str, object], None]


def media(mulaw: bytes, **more: object) -> dict[str, Any]:
    payload = base64.b64encode(mulaw).decode()
    return {"event": "media", "streamSid": STREAM_SID, "media": {"track": "inbound", "payload": payload}, **more}


def rows(served: Served, call_sid: str) -> list[tuple[float | None]]:
    """When the call ended, for each of its records; there should be one."""
    path = served.running.folder / "voice.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        found = database.execute("SELECT ended_at FROM calls WHERE call_sid = ?", (call_sid,)).fetchall()
    return [(ended_at,) for (ended_at,) in found]


def heard(served: Served, stream: LiveStream, size: int) -> bytes:
    """So many bytes of what the transcriber has got of the newest call."""
    session = max(served.sandbox.openai.sessions, key=lambda session: session.connected_at)
    # More has to come: what waits for the session to be ready goes out with it.
    feeding = gevent.spawn(stream.feed)
    wait_until(lambda: len(session.audio) >= size, 5, "all of it is there")
    feeding.kill()
    return session.audio[:size]


@pytest.mark.matrix(39)
def test_the_same_start_again_is_ignored(served: Served, record_property: Record) -> None:
    before = served.vendors_connected()
    stream = LiveStream(served)
    call_sid = new_call_sid()
    parameters = served.parameters(call_sid)
    stream.start(call_sid, parameters)
    stream.greeted().send(*[start(call_sid, parameters)] * 3)
    assert stream.is_open()
    sessions = served.vendors_connected() - before
    record_property("vendor_sessions", sessions)
    assert sessions == 2, "one of the transcriber's and one of the synthesizer's"
    stream.stop()
    assert "3 messages skipped" in over(served.running, call_sid)
    assert len(rows(served, call_sid)) == 1


@pytest.mark.matrix(40)
def test_audio_before_the_start_reaches_no_vendor(served: Served, record_property: Record) -> None:
    stream = LiveStream(served)
    stream.send(*[media(b"\x01" * 160)] * 100)
    assert stream.is_open()
    stream.start(new_call_sid())
    stream.greeted()
    after = [bytes([128 + n]) * 160 for n in range(10)]
    stream.send(*map(media, after))
    audio = heard(served, stream, 1600)
    record_property("vendor_bytes", audio.count(1))
    assert audio == b"".join(after)
    stream.stop()
    assert "100 messages skipped" in over(served.running, stream.call_sid)


@pytest.mark.matrix(41)
def test_audio_is_heard_in_the_order_in_which_it_comes(served: Served) -> None:
    stream = LiveStream(served)
    stream.start(new_call_sid())
    stream.greeted()
    sounds = [bytes([128 + n]) * 160 for n in range(20)]
    numbers = [5, 4, 4, 900, 3, 0, 7, 8, 9, 10, 10, 10, 2, 1, 12, 11, 13, 15, 14, 16]
    stream.send(*(media(sound, sequenceNumber=str(n)) for sound, n in zip(sounds, numbers, strict=True)))
    assert heard(served, stream, 3200) == b"".join(sounds)
    stream.stop()
    assert "0 messages skipped" in over(served.running, stream.call_sid)


@pytest.mark.matrix(42)
def test_a_second_stop_and_what_comes_behind_it_change_nothing(served: Served, record_property: Record) -> None:
    stream = LiveStream(served)
    stream.start(new_call_sid())
    stream.greeted()
    stop = {"event": "stop", "streamSid": STREAM_SID}
    stream.send(stop, media(b"\x80" * 160), stop, *[media(b"\x80" * 160)] * 50)
    assert stream.code() == 1000
    over(served.running, stream.call_sid)
    assert len([line for line in served.running.lines_of(stream.call_sid) if ": over, " in line]) == 1
    wait_until(lambda: rows(served, stream.call_sid) not in ([], [(None,)]), 5, "the end is recorded")
    record_property("record_rows", len(rows(served, stream.call_sid)))
    assert len(rows(served, stream.call_sid)) == 1


@pytest.mark.matrix(46)
@pytest.mark.parametrize("first", ["live", "lost"])
def test_of_three_streams_at_once_for_one_call_one_has_it_and_its_record(served: Served, first: str) -> None:
    """A webhook that Twilio sends again and again, and all of its answers are followed."""
    old = LiveStream(served)
    old.start(new_call_sid())
    old.greeted()
    if first == "lost":
        old.leave()
        over(served.running, old.call_sid)
    answers = [served.post("/twilio/resume", form_of(old.call_sid)) for _ in range(3)]
    streams = [LiveStream(served) for _ in answers]
    for stream, answer in zip(streams, answers, strict=True):
        stream.send(start(old.call_sid, parameters(answer)))
    speaking = [stream for stream in streams if stream.speaks()]
    (last,) = [stream for stream in speaking if stream.is_open()]
    assert not (first == "live" and old.is_open())
    last.stop()
    wait_until(lambda: rows(served, old.call_sid) not in ([], [(None,)]), 5, "the end is recorded")
    assert len(rows(served, old.call_sid)) == 1


def form_of(call_sid: str) -> dict[str, str]:
    return {"CallSid": call_sid, "From": "+15550001111", "To": "+15559990000"}


def parameters(answer: requests.Response) -> dict[str, str]:
    """Of the stream in an answer; none when there is no stream in it."""
    assert answer.status_code == 200
    return {p.get("name", ""): p.get("value", "") for p in ElementTree.fromstring(answer.text).iter("Parameter")}


# Any order


_HAPPENS = ("asks", "asks", "calls", "calls", "starts", "says", "says", "ends", "tells")
_MESSAGES = (
    '{"event":"connected","protocol":"Call"}',
    '{"event":"media","media":{"track":"inbound","payload":"' + "gICA" * 40 + '"}}',
    '{"event":"mark","mark":{"name":"1:600"}}',
    '{"event":"mark","mark":{"name":"x"}}',
    '{"event":"dtmf","dtmf":{"digit":"5"}}',
    '{"event":"start"}',
    '{"event":"stop"}',
    "null",
)
_STATUSES = ("ringing", "in-progress", "completed", "failed", "?")
_ENDS = ("close", "leave", "break")
_ASKED = ("/twilio/voice", "/twilio/resume", "/twilio/resume", "/twilio/transfer")


class Caller(RuleBasedStateMachine):
    """Twilio gone mad: any webhook and any message at any time, for two calls and some streams."""

    served: Served

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        # Of each token the call that it was made for.
        self.tokens: list[tuple[str, dict[str, str]]] = []
        self.streams: list[LiveStream] = []
        # Streams on which an agent has spoken; those that it still may speak on, by their call.
        self.begun: list[LiveStream] = []
        self.live: dict[str, list[LiveStream]] = {}

    @initialize()
    def begins(self) -> None:
        self.calls = [new_call_sid(), new_call_sid()]
        self.served.forget_log()
        self._asks(self.calls[0], "/twilio/voice")

    # One rule: of several, hypothesis leaves some out for a whole run, and most runs would come to nothing.
    @rule(data=st.data(), what=st.sampled_from(_HAPPENS))
    def happens(self, data: st.DataObject, what: str) -> None:
        match what:
            case "asks":
                self._asks(data.draw(st.sampled_from(self.calls)), data.draw(st.sampled_from(_ASKED)))
            case "tells":
                self._tells(data.draw(st.sampled_from(self.calls)), data.draw(st.sampled_from(_STATUSES)))
            case "calls":
                # As it should be, whatever was before it; or with the start still to come.
                self.streams.append(LiveStream(self.served))
                if data.draw(st.integers(0, 3)):
                    self._start([(self.streams[-1], *self.tokens[-1])])
            case "starts" if self.streams:
                self._start(data.draw(st.lists(st.tuples(*map(st.sampled_from, self._choice())), max_size=3)))
            case "says" if self.streams:
                times = data.draw(st.sampled_from((1, 2, 60)))
                text = data.draw(st.sampled_from(_MESSAGES))
                data.draw(st.sampled_from(self.streams)).raw.offer(frame(TEXT, text.encode()) * times)
            case "ends" if self.streams:
                self._ends(data.draw(st.sampled_from(self.streams)), data.draw(st.sampled_from(_ENDS)))

    # Webhooks

    def _asks(self, call_sid: str, path: str) -> None:
        if given := parameters(self.served.post(path, form_of(call_sid) | {"DialCallStatus": "no-answer"})):
            self.tokens.append((call_sid, given))

    def _tells(self, call_sid: str, status: str) -> None:
        form = {"CallSid": call_sid, "CallStatus": status, "StreamEvent": "stream-error"}
        for path in ("/twilio/status", "/twilio/stream-status"):
            assert self.served.post(path, form).status_code == 204

    # Streams

    def _choice(self) -> tuple[list[LiveStream], list[str], list[dict[str, str]]]:
        return self.streams, [call_sid for call_sid, _ in self.tokens], [given for _, given in self.tokens]

    def _start(self, starts: list[tuple[LiveStream, str, dict[str, str]]]) -> None:
        """One after the other, without a look at what comes of those before."""
        for stream, call_sid, given in starts:
            stream.raw.offer(frame(TEXT, json.dumps(start(call_sid, given)).encode()))
        for stream, call_sid, _ in starts:
            if stream not in self.begun and stream.speaks():
                self.begun.append(stream)
                self.live.setdefault(call_sid, []).append(stream)

    def _ends(self, stream: LiveStream, how: str) -> None:
        if how == "leave":
            stream.leave()
            self.streams.remove(stream)
        else:
            stream.raw.offer(close() if how == "close" else b"\x81\x02hi")

    # What always holds

    @invariant()
    def one_agent_for_each_call(self) -> None:
        for call_sid, streams in self.live.items():
            streams[:] = [stream for stream in streams if stream in self.streams and stream.is_open()]
            assert len(streams) <= 1, f"two agents for {call_sid}"

    def teardown(self) -> None:
        for stream in self.streams:
            stream.leave()
        self.served.running.wait_until_idle()
        assert "Traceback" not in self.served.log(), self.served.log()
        for call_sid in self.live:
            wait_until(lambda call_sid=call_sid: rows(self.served, call_sid) not in ([], [(None,)]), 5, "its end")
            assert len(rows(self.served, call_sid)) == 1


def test_any_webhook_and_any_message_at_any_time(served: Served, record_property: Record) -> None:
    machines = 0

    class OfThisServer(Caller):
        def __init__(self) -> None:
            nonlocal machines
            machines += 1
            super().__init__()

    OfThisServer.served = served
    most = settings(
        max_examples=15 * min(TIMES, 30),
        stateful_step_count=20,
        deadline=None,
        # A run that fails takes its time: none is tried again and again to find a shorter one.
        phases=(Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(OfThisServer, settings=most)
    record_property("runs_number", machines)
