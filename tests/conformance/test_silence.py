"""Peers that say nothing, take nothing or are gone without a word: all at the same time, because each takes seconds."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import gevent
import pytest

from tests.conformance.inputs import payloads
from tests.conformance.live import LiveStream, over
from tests.conformance.namespaces import Namespace, Unavailable
from tests.running import Running, wait_until
from tests.web.served import Served, new_call_sid
from voice.sandbox.phone import Phone

_PATIENCE_S = 30.0
_TALKER = "+15550000077"
_AGENT = """
greeting = "{greeting}"
instructions = "You answer the phone."
apology = "Sorry, something is wrong. Goodbye."
voice = "plainVoice"
numbers = {numbers}
"""
_STORY = " ".join(f"This is sentence {n} of a story that is as long as a winter night." for n in range(20))


@dataclass
class Stage:
    served: Served
    namespace: Namespace | None
    why_not: str
    phone: Phone
    """A healthy call beside all of it."""
    grown_mb: float = 0.0
    """What the worker has taken while nobody read what it sent."""
    ready: list[LiveStream] = field(default_factory=list)
    """Streams that are to be cut."""
    cut_at: float = 0.0

    def call(self, to: str = "", sock: socket.socket | None = None) -> LiveStream:
        stream = LiveStream(self.served, sock=sock)
        stream.raw.sock.settimeout(_PATIENCE_S)
        call_sid = new_call_sid()
        stream.start(call_sid, self.served.parameters(call_sid, **({"To": to} if to else {})))
        return stream.greeted()


# Each runs on a greenlet of its own from the beginning; what it gives is how many seconds it took, or what it saw.


def never_starts(stage: Stage) -> float:
    stream = LiveStream(stage.served)
    began = time.monotonic()
    stream.send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
    assert stream.code() == 1008
    return time.monotonic() - began


def half_a_frame(stage: Stage) -> float:
    stream = LiveStream(stage.served)
    began = time.monotonic()
    stream.raw.send(bytes.fromhex(payloads("ws_frame")["half a frame then silence"]["_hex"]))
    assert stream.code() == 1008
    return time.monotonic() - began


def starts_and_sends_nothing(stage: Stage) -> float:
    stream = stage.call()
    began = time.monotonic()
    assert stream.code() == 1000
    took = time.monotonic() - began
    assert ": over, lost, stream-lost" in over(stage.served.running, stream.call_sid)
    return took


def body_that_drips(stage: Stage) -> float:
    head = "POST /twilio/voice HTTP/1.1\r\nHost: x\r\nX-Twilio-Signature: eA==\r\nContent-Length: 1000\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", stage.served.running.server.port), timeout=_PATIENCE_S) as sock:
        sock.sendall(head.encode())
        dripping = gevent.spawn(_drip, sock)
        answered = sock.recv(100)
        took = time.monotonic() - began
        dripping.kill()
    assert answered.split()[1] in (b"400", b"403")
    return took


def _drip(sock: socket.socket) -> None:
    try:
        while True:
            sock.sendall(b"a")
            gevent.sleep(0.5)
    except OSError:
        pass


def reads_slowly(stage: Stage) -> float:
    """One kilobyte a second, and hardly a buffer that would take more."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", stage.served.running.server.port))
    stream = stage.call(_TALKER, sock)
    began = time.monotonic()
    busy = [gevent.spawn(stream.feed), gevent.spawn(_sip, sock)]
    gevent.sleep(2)
    # The other scenes have begun by now, with what they need for themselves.
    memory = stage.served.running.memory_mb()
    assert ": over, lost, stream-lost" in over(stage.served.running, stream.call_sid)
    stage.grown_mb = stage.served.running.memory_mb() - memory
    gevent.killall(busy)
    return time.monotonic() - began


def _sip(sock: socket.socket) -> None:
    try:
        while sock.recv(200):
            gevent.sleep(0.2)
    except OSError:
        pass


def gone_while_we_listen(stage: Stage) -> float:
    return _gone(stage, "")


def gone_while_we_speak(stage: Stage) -> float:
    return _gone(stage, _TALKER)


def _gone(stage: Stage, to: str) -> float:
    assert stage.namespace is not None
    stream = stage.call(to, stage.namespace.connect())
    gevent.spawn(stream.feed)
    assert stream.is_open()
    stage.ready.append(stream)
    if len(stage.ready) == 2:
        stage.namespace.cut()
        stage.cut_at = time.monotonic()
    assert ": over, lost, stream-lost" in over(stage.served.running, stream.call_sid)
    return time.monotonic() - stage.cut_at


Scene = Callable[[Stage], float]
SCENES: tuple[Scene, ...] = (
    never_starts,
    half_a_frame,
    starts_and_sends_nothing,
    body_that_drips,
    reads_slowly,
)
IN_A_NAMESPACE: tuple[Scene, ...] = (gone_while_we_listen, gone_while_we_speak)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("silence")
    with ExitStack() as stack:
        namespace, why_not = None, ""
        try:
            namespace = stack.enter_context(Namespace())
        except Unavailable as error:
            why_not = str(error)
        running = stack.enter_context(_server(folder, namespace.prefix if namespace else ()))
        # What a first call costs is none of the scenes' business.
        with running.phone(to_number=_TALKER) as first:
            first.wait_until_heard("This is sentence 1")
        wait_until(lambda: len(list((folder / "clips").glob("*.ulaw"))) > 0, 20, "the story is kept")
        with running.phone() as phone:
            phone.wait_until_heard("how can I help you?")
            yield Stage(Served(running), namespace, why_not, phone)
            phone.say("Are you still there")
            phone.wait_until_heard("You said: Are you still there")
            assert phone.warnings == [] and phone.errors == []
        running.wait_until_idle()
        assert "Traceback" not in running.log


def _server(folder: Path, prefix: tuple[str, ...]) -> Running:
    agents = folder / "agents"
    agents.mkdir()
    (agents / "plain.toml").write_text(_AGENT.format(greeting="Hello, how can I help you?", numbers="[]"))
    (agents / "talker.toml").write_text(_AGENT.format(greeting=_STORY, numbers=f'["{_TALKER}"]'))
    return Running(folder, prefix=prefix, AGENTS_DIR=str(agents))


@pytest.fixture(scope="module")
def scenes(stage: Stage) -> dict[Scene, gevent.Greenlet]:
    stage.served.running.forget()
    running = SCENES + (IN_A_NAMESPACE if stage.namespace else ())
    return {scene: gevent.spawn(scene, stage) for scene in running}


def took(scenes: dict[Scene, gevent.Greenlet], scene: Scene) -> float:
    seconds: float = scenes[scene].get(timeout=_PATIENCE_S)
    return seconds


@pytest.mark.matrix(38)
def test_a_stream_that_never_starts_is_closed(
    scenes: dict[Scene, gevent.Greenlet], record_property: Callable[[str, object], None]
) -> None:
    seconds = took(scenes, never_starts)
    record_property("closed_s", round(seconds, 2))
    assert 4.0 <= seconds <= 6.0


@pytest.mark.threat(18)
def test_half_a_frame_does_not_hold_a_stream_open(scenes: dict[Scene, gevent.Greenlet]) -> None:
    assert took(scenes, half_a_frame) <= 10


def test_a_body_that_drips_is_cut(scenes: dict[Scene, gevent.Greenlet]) -> None:
    assert 4.0 <= took(scenes, body_that_drips) <= 6.5


def test_a_stream_that_brings_nothing_is_dead(scenes: dict[Scene, gevent.Greenlet]) -> None:
    assert 7.5 <= took(scenes, starts_and_sends_nothing) <= 10.5


@pytest.mark.matrix(37)
def test_a_peer_that_reads_slowly_is_given_up_and_nothing_piles_up(
    stage: Stage, scenes: dict[Scene, gevent.Greenlet], record_property: Callable[[str, object], None]
) -> None:
    seconds = took(scenes, reads_slowly)
    record_property("closed_s", round(seconds, 1))
    record_property("rss_mb", round(stage.grown_mb, 1))
    assert seconds <= 10
    assert stage.grown_mb <= 2


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(gone_while_we_speak, marks=pytest.mark.matrix(35)),
        pytest.param(gone_while_we_listen, marks=pytest.mark.matrix(36)),
    ],
)
def test_a_peer_that_is_gone_without_a_word_is_noticed(
    stage: Stage, scenes: dict[Scene, gevent.Greenlet], scene: Scene, record_property: Callable[[str, object], None]
) -> None:
    if stage.namespace is None:
        pytest.skip(stage.why_not)
    seconds = took(scenes, scene)
    record_property("noticed_s", round(seconds, 1))
    assert 4 <= seconds <= 10
