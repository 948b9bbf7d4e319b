"""The proxy over real sockets: each fault hits the connection that it is meant for, and no other."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import gevent
import pytest
from gevent.server import StreamServer

from tests.running import wait_until
from voice.sandbox.chaos_faults import Corrupt, Cut, Drip, Fault, HalfClose, Latency, Reset, Stall
from voice.sandbox.chaos_proxy import ChaosProxy

VICTIM = b"GET /victim HTTP/1.1\r\n\r\n"
HEALTHY = b"GET /healthy HTTP/1.1\r\n\r\n"


@contextmanager
def _echo(tag: bytes) -> Iterator[StreamServer]:
    """Answers every piece with its tag and the piece."""

    def serve(sock: socket.socket, _: object) -> None:
        with suppress(OSError):
            while piece := sock.recv(65536):
                sock.sendall(tag + piece)

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    yield server
    server.stop(timeout=0)


@pytest.fixture
def proxy() -> Iterator[ChaosProxy]:
    with _echo(b"h:") as upstream, _echo(b"v:") as victims:
        addresses = upstream.address, victims.address
        with ChaosProxy(addresses[0], b"/victim", addresses[1]) as proxy:
            yield proxy


def _dial(proxy: ChaosProxy, first: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=2)
    if first:
        sock.sendall(first)
    return sock


def _ask(sock: socket.socket, piece: bytes) -> bytes:
    sock.sendall(piece)
    return sock.recv(65536)


def _met(proxy: ChaosProxy) -> tuple[socket.socket, socket.socket]:
    """A victim and a healthy one, both through and known."""
    victim, healthy = _dial(proxy), _dial(proxy)
    assert _ask(victim, VICTIM) == b"v:" + VICTIM
    assert _ask(healthy, HEALTHY) == b"h:" + HEALTHY
    return victim, healthy


def _is_reset(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b"never"
    except ConnectionResetError:
        return True


def test_each_request_of_a_kept_connection_goes_where_its_head_says(proxy: ChaosProxy) -> None:
    sock = _dial(proxy)
    assert _ask(sock, HEALTHY) == b"h:" + HEALTHY
    assert _ask(sock, VICTIM) == b"v:" + VICTIM
    assert _ask(sock, b"its body, with no /victim head") == b"v:its body, with no /victim head"
    assert _ask(sock, HEALTHY + b"/victim stands in the body") == b"h:" + HEALTHY + b"/victim stands in the body"
    assert len(proxy.claimed) == 1


def test_of_a_victims_kept_connections_the_one_it_asked_on_last_is_known(proxy: ChaosProxy) -> None:
    first, second = _dial(proxy), _dial(proxy)
    for sock in (first, second, first):
        assert _ask(sock, VICTIM) == b"v:" + VICTIM
    older, newer = proxy.victims
    assert older.claimed_at > newer.claimed_at > 0
    _ask(first, HEALTHY)
    assert older.claimed_at == 0.0


@pytest.mark.parametrize(
    ("fault", "seen"), [(Reset(), "reset"), (Cut(), "end"), (HalfClose(), "end")], ids=["reset", "cut", "half-closed"]
)
def test_an_end_takes_an_idle_connection_at_once_and_no_other(proxy: ChaosProxy, fault: Fault, seen: str) -> None:
    victim, healthy = _met(proxy)
    began = time.monotonic()
    proxy.spoil(fault)
    assert _is_reset(victim) if seen == "reset" else victim.recv(1) == b""
    assert time.monotonic() - began < 0.1
    assert _ask(healthy, b"still here") == b"h:still here"


def test_an_end_after_so_many_bytes_lets_just_these_through(proxy: ChaosProxy) -> None:
    victim, _ = _met(proxy)
    proxy.spoil(Cut(after=5))
    victim.sendall(b"a long piece")
    assert victim.makefile("rb").read() == b"v:a long piece"[:5]


def test_a_half_closed_connection_still_takes_what_the_client_sends() -> None:
    heard: list[bytes] = []

    def serve(sock: socket.socket, _: object) -> None:
        while piece := sock.recv(65536):
            heard.append(piece)
            sock.sendall(b"heard")

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    with ChaosProxy(server.address) as proxy:
        proxy.claims = True
        sock = _dial(proxy)
        assert _ask(sock, b"one") == b"heard"
        proxy.spoil(HalfClose())
        assert sock.recv(1) == b""
        sock.sendall(b"two")
        wait_until(lambda: heard == [b"one", b"two"], 2, "it went through")
    server.stop(timeout=0)


def test_a_stall_keeps_what_comes_until_it_is_healed(proxy: ChaosProxy) -> None:
    victim, healthy = _met(proxy)
    proxy.spoil(Stall(after=3))
    victim.sendall(b"piece")
    assert victim.recv(65536) == b"v:p"
    assert _ask(healthy, b"x") == b"h:x"
    victim.settimeout(0.1)
    with pytest.raises(TimeoutError):
        victim.recv(1)
    proxy.heal()
    assert victim.recv(65536) == b"iece"


def test_a_stall_of_both_directions_keeps_the_clients_words_too(proxy: ChaosProxy) -> None:
    victim, _ = _met(proxy)
    proxy.spoil(Stall(both=True))
    victim.sendall(b"late")
    victim.settimeout(0.1)
    with pytest.raises(TimeoutError):
        victim.recv(1)
    proxy.heal()
    assert victim.recv(65536) == b"v:late"


def test_a_drip_is_a_byte_at_a_time(proxy: ChaosProxy) -> None:
    victim, _ = _met(proxy)
    proxy.spoil(Drip(bytes_per_s=50))
    began = time.monotonic()
    victim.sendall(b"12345678")
    got = b""
    while len(got) < 10:
        got += victim.recv(1)
    assert got == b"v:12345678" and 0.2 <= time.monotonic() - began < 0.5


def test_one_byte_is_corrupt_and_the_next_is_not(proxy: ChaosProxy) -> None:
    victim, _ = _met(proxy)
    proxy.spoil(Corrupt(after=2))
    assert _ask(victim, b"abc") == b"v:" + bytes([ord("a") ^ 0xFF]) + b"bc"
    assert _ask(victim, b"abc") == b"v:abc"


def test_latency_delays_each_piece_and_keeps_their_order_and_their_pace(proxy: ChaosProxy) -> None:
    victim, _ = _met(proxy)
    proxy.spoil(Latency(50, jitter_ms=20))
    began = time.monotonic()
    for number in range(10):
        victim.sendall(b"%d" % number)
        gevent.sleep(0.02)
    got = b""
    while len(got.replace(b"v:", b"")) < 10:
        got += victim.recv(65536)
    # Sent in 0.18 s, there and back 0.1 to 0.14 s later: each piece waits for itself and not for those before it.
    assert got.replace(b"v:", b"") == b"0123456789" and 0.25 <= time.monotonic() - began < 0.9


def test_what_is_expected_meets_the_next_dials_and_no_more(proxy: ChaosProxy) -> None:
    proxy.claims = True
    proxy.expect(Reset(), times=2)
    assert [_is_reset(_dial(proxy)) for _ in range(2)] == [True, True]
    assert _ask(_dial(proxy), b"third") == b"v:third"
    assert len(proxy.claimed) == 3


def test_a_dial_that_is_accepted_and_never_answered(proxy: ChaosProxy) -> None:
    proxy.claims = True
    proxy.expect(Stall(both=True), times=1)
    silent = _dial(proxy, b"hello")
    silent.settimeout(0.1)
    with pytest.raises(TimeoutError):
        silent.recv(1)


def test_what_is_expected_of_a_request_meets_the_victims(proxy: ChaosProxy) -> None:
    proxy.expect(Reset(), times=1)
    healthy = _dial(proxy)
    assert _ask(healthy, HEALTHY) == b"h:" + HEALTHY
    assert _is_reset(_dial(proxy, VICTIM))
    assert _ask(_dial(proxy), VICTIM) == b"v:" + VICTIM


def test_nobody_listens_and_what_is_open_stays(proxy: ChaosProxy) -> None:
    _, healthy = _met(proxy)
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        _dial(proxy)
    assert _ask(healthy, b"x") == b"h:x"
    proxy.open()
    assert _ask(_dial(proxy), HEALTHY) == b"h:" + HEALTHY


def test_a_black_hole_does_not_answer_a_dial_and_what_is_open_stays(proxy: ChaosProxy) -> None:
    _, healthy = _met(proxy)
    proxy.blackhole()
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=0.5)
    assert _ask(healthy, b"x") == b"h:x"
    proxy.heal()
    assert _ask(_dial(proxy), HEALTHY) == b"h:" + HEALTHY


def test_ends_of_the_peers_are_passed_on_as_they_are(proxy: ChaosProxy) -> None:
    _met(proxy)
    polite, rude = _dial(proxy), _dial(proxy)
    _ask(polite, HEALTHY), _ask(rude, HEALTHY)
    before = len(proxy.passages)
    polite.close()
    rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    rude.close()
    wait_until(lambda: len(proxy.passages) == before - 2, 2, "both have gone")
