"""Faults of our own in the greenlets of one call: it ends as it should, once, and no other call notices."""

import gc
import logging
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import orjson
import pytest
from gevent.event import Event
from websocket import WebSocket

import server
import voice.call
from config.start import load
from tests.running import AGENTS, wait_until
from tests.wires.loopback import Peer, tcp_pair
from voice import registry
from voice.bookkeeping import Bookkeeping
from voice.call import Call
from voice.core import events as ev
from voice.core.conversation import Conversation
from voice.monitor import GOODBYE_S, Monitor
from voice.readers import Ear
from voice.sandbox.stand_ins import Sandbox
from voice.services import Admission, Services
from voice.wires.caller import Caller
from voice.wires.stream_socket import StreamSocket
from voice.wires.synthesizer import Synthesizer
from voice.wires.telephone import Telephone
from voice.wires.transcriber import Transcriber
from voice.wires.vendor_socket import VendorSocket

SILENCE = "/" * 212 + "/w=="

Told = Callable[[str, object], None]


class OneCall:
    """A call on a socket of its own, with nobody at the other end who plays or returns a mark."""

    def __init__(self, services: Services, number: int) -> None:
        self.call_sid = f"CA{number:032x}"
        ours, theirs = tcp_pair()
        self.peer = Peer(theirs)
        self.connection = registry.connect()
        self.connection.stream_name = f"0-0-{number:016x}"
        self.call = Call(Caller(StreamSocket(ours), self.connection.client_id), self.connection, services)
        self.greenlet = gevent.spawn(self._run)
        start = {
            "callSid": self.call_sid,
            "streamSid": f"MZ{number:032x}",
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        }
        self._send({"event": "connected"})
        self._send({"event": "start", "start": start})

    def _run(self) -> Exception | None:
        """What Flask would log."""
        try:
            self.call.run(lambda started: Admission("plain", "+15550001111", "+15559990000"), early=True)
        except Exception as error:
            return error
        return None

    def _send(self, message: dict[str, Any]) -> None:
        self.peer.text(orjson.dumps(message))

    def speak(self) -> None:
        self._send({"event": "media", "media": {"track": "inbound", "payload": SILENCE}})

    def keep_line_alive(self) -> None:
        """A frame now and then, as from a caller who is silent."""

        def send() -> None:
            while not self.greenlet.dead:
                try:
                    self.speak()
                except OSError:
                    return
                gevent.sleep(0.5)

        gevent.spawn(send)

    def is_greeted(self) -> bool:
        return b'"media"' in self.peer.message()

    def raised(self) -> Exception | None:
        """When it is over."""
        self.greenlet.join(15)
        assert self.greenlet.dead, "the call hangs"
        return self.greenlet.value if isinstance(self.greenlet.value, Exception) else None


class World:
    def __init__(self, sandbox: Sandbox, services: Services) -> None:
        self.sandbox, self.services = sandbox, services
        self._calls: list[OneCall] = []

    def call(self) -> OneCall:
        call = OneCall(self.services, int(time.time() * 1e6) + len(self._calls))
        self._calls.append(call)
        return call

    def forget(self, call: OneCall) -> None:
        """One that will be over by itself."""
        self._calls.remove(call)

    def kept(self, call: OneCall) -> tuple[str | None, str | None]:
        record = self.services.records.call(call.call_sid)
        assert record is not None
        return record.result, record.reason

    def open_vendors(self) -> tuple[int, int]:
        """Sessions of the transcriber and sockets of the synthesizer."""
        sessions, sockets = self.sandbox.openai.sessions, self.sandbox.elevenlabs.sockets
        return sum(not s.closed for s in sessions), sum(not s.closed for s in sockets)

    def close(self) -> None:
        for call in self._calls:
            call.greenlet.kill()
            call.peer.sock.close()


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Services]]:
    folder: Path = tmp_path_factory.mktemp("faults")
    with Sandbox() as sandbox:
        environment = {
            "AGENTS_DIR": str(AGENTS),
            "DEFAULT_AGENT": "plain",
            "CALL_LOG_DIR": str(folder / "calls"),
            "CLIPS_DIR": str(folder / "clips"),
            "DATABASE_URL": f"sqlite:///{folder}/voice.db",
        }
        services = server._services(*load(sandbox.environment() | environment))
        services.records.start()
        yield sandbox, services
        services.records.stop(5)


@pytest.fixture
def world(services: tuple[Sandbox, Services]) -> Iterator[World]:
    services[0].openai.sessions.clear()
    services[0].elevenlabs.sockets.clear()
    world = World(*services)
    yield world
    world.close()
    wait_until(lambda: registry.connections() == [], 5, "no call is left")
    assert registry.active_sessions == {} and registry.stream_to_call_sid == {}


def raises_for(
    monkeypatch: pytest.MonkeyPatch, kind: type, method: str, of_victim: Callable[[Any], bool], says: str
) -> None:
    """That method of that one object raises."""
    original = getattr(kind, method)

    def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
        if of_victim(self):
            raise RuntimeError(says)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, method, faulty)


def tracebacks(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.exc_info is not None for record in caplog.records if record.levelno >= logging.ERROR)


# While it goes on


@pytest.mark.matrix(70)
@pytest.mark.parametrize(
    ("kind", "method", "end"),
    [
        (Ear, "hear", ("lost", "stream-lost")),
        (Caller, "play", ("lost", "error")),
    ],
    ids=["caller-reader", "call"],
)
def test_a_greenlet_that_raises_costs_its_own_call_the_stream_and_twilio_comes_back_with_it(
    world: World,
    kind: type,
    method: str,
    end: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    record_property: Told,
) -> None:
    other, victim = world.call(), world.call()
    assert other.is_greeted()

    def of_victim(each: Any) -> bool:
        if isinstance(each, Ear):
            return each._transcriber is victim.call._transcriber
        return each is victim.call._caller

    raises_for(monkeypatch, kind, method, of_victim, "a fault of ours")
    victim.speak()
    raised = victim.raised()
    assert world.kept(victim) == end
    assert tracebacks(caplog) + (raised is not None) == 1
    wait_until(lambda: world.open_vendors() == (1, 1), 2, "its vendors are disconnected")
    assert not other.greenlet.dead and registry.session_of(other.call_sid) is not None
    assert not registry.is_over(victim.call_sid), "it may be carried on"
    record_property("tracebacks", tracebacks(caplog) + (raised is not None))


@pytest.mark.matrix(70)
def test_a_transcript_reader_that_raises_ends_its_own_call_with_the_apology(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, record_property: Told
) -> None:
    other = world.call()
    assert other.is_greeted()
    victim = world.call()
    ears = victim.call._transcriber
    monkeypatch.setattr(voice.call, "STREAM_END_WAIT_S", 0.1)
    raises_for(monkeypatch, Transcriber, "next", lambda each: each is ears, "a fault of ours")
    victim.keep_line_alive()
    assert victim.raised() is None
    assert world.kept(victim) == ("failed", "transcriber-failed")
    record_property("transcript_reader_tracebacks", tracebacks(caplog))
    assert tracebacks(caplog) == 1
    assert not other.greenlet.dead and registry.session_of(other.call_sid) is not None


@pytest.mark.matrix(70)
def test_a_speech_reader_that_raises_is_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, record_property: Told
) -> None:
    victim = world.call()
    mouth = victim.call._synthesizer
    raises_for(monkeypatch, Synthesizer, "events", lambda each: each is mouth, "a fault of ours")
    assert victim.is_greeted()
    wait_until(lambda: victim.call._synthesizer is not mouth, 5, "another one takes over")
    record_property("speech_reader_tracebacks", tracebacks(caplog))
    assert tracebacks(caplog) == 1 and not victim.greenlet.dead


# At its end


@pytest.mark.matrix(71)
@pytest.mark.parametrize(
    ("kind", "method", "left"),
    [
        (Transcriber, "shutdown", (1, 0)),
        (Synthesizer, "shutdown", (0, 1)),
        (Telephone, "hang_up", (0, 0)),
        (Caller, "close", (0, 0)),
    ],
    ids=["transcriber", "synthesizer", "telephone", "caller"],
)
def test_one_step_of_the_end_that_raises_keeps_no_other_from_being_taken(
    world: World,
    kind: type,
    method: str,
    left: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Told,
) -> None:
    # Nobody at the other end closes the stream when the call is hung up.
    monkeypatch.setattr(voice.call, "STREAM_END_WAIT_S", 0.1)
    call = world.call()
    assert call.is_greeted()
    wait_until(lambda: world.open_vendors() == (1, 1), 5, "both vendors are connected")
    children = call.connection.greenlets()[1:]
    raises_for(monkeypatch, kind, method, lambda each: True, "the end fails")
    call.connection.request_end("operator-hung-up")
    assert str(call.raised()) == "the end fails"
    most = sum(left)
    wait_until(lambda: sum(world.open_vendors()) <= most, 2, "the others are disconnected")
    record_property("others_left_open", max(0, sum(world.open_vendors()) - most))
    assert all(had <= may for had, may in zip(world.open_vendors(), left, strict=True))
    assert registry.session_of(call.call_sid) is None and call.connection not in registry.connections()
    assert world.kept(call) == ("completed", "operator-hung-up")
    if kind is not Caller:
        assert call.peer.close_code() == 1000
    gevent.joinall(children, timeout=2)
    assert all(child.dead for child in children)


# What is left of it


def test_nothing_of_a_call_that_is_over_waits_for_the_collector_of_garbage(world: World) -> None:
    """All calls of a worker stand still while that looks for it."""
    call = world.call()
    assert call.is_greeted()
    wait_until(lambda: world.open_vendors() == (1, 1), 5, "the vendors are connected")
    call.call._start_reply(ev.StartReply(1, "Hello?"), call.call._conversation)  # type: ignore[arg-type]
    gc.collect()
    kinds = Call, registry.Connection, Conversation, Bookkeeping, Transcriber, Synthesizer, VendorSocket, WebSocket
    left = [weakref.ref(thing) for thing in gc.get_objects() if isinstance(thing, kinds)]
    assert len(left) == len(kinds) + 2, "it has two vendors"
    gc.disable()
    try:
        call.connection.request_end("asked")
        world.forget(call)
        del call
        wait_until(lambda: registry.connections() == [], 10, "it is over")
        wait_until(lambda: [each() for each in left if each()] == [], 2, "nothing is left of it")
    finally:
        gc.enable()


# When its greenlet reacts to nothing


@pytest.mark.matrix(73)
def test_a_call_that_hangs_beyond_its_limit_is_hung_up_and_killed(
    world: World, monkeypatch: pytest.MonkeyPatch, record_property: Told
) -> None:
    other = world.call()
    assert other.is_greeted()
    never = Event()
    original, healthy = Caller.play, other.call._caller

    def stuck(self: Caller, audio: Any) -> None:
        if self is not healthy:
            never.wait()
        original(self, audio)

    monkeypatch.setattr(Caller, "play", stuck)
    call = world.call()
    wait_until(lambda: registry.session_of(call.call_sid) is not None, 5, "it has begun")
    wait_until(lambda: world.open_vendors() == (2, 2), 5, "the vendors are connected")
    # Later by as much as the test goes into the future.
    limit = call.call._conversation.rules.max_duration_s  # type: ignore[union-attr]
    other.connection.began = call.connection.began + limit
    hung_up: list[str] = []
    monitor = Monitor(1e6, 60, (), hung_up.append)
    monitor.sweep(call.connection.began + limit + GOODBYE_S - 1)
    gevent.sleep(0.05)
    assert hung_up == [] and not call.greenlet.dead
    monitor.sweep(call.connection.began + limit + GOODBYE_S)
    began = time.monotonic()
    call.raised()
    record_property("gone_after_sweep_s", round(time.monotonic() - began, 2))
    assert hung_up == [call.call_sid] and time.monotonic() - began < 2
    wait_until(lambda: world.open_vendors() == (1, 1), 2, "its vendors are disconnected")
    assert not other.greenlet.dead and registry.session_of(call.call_sid) is None
