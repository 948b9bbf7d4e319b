"""Bodies that are promised and not sent: they must not keep the server from its callers."""

import socket
import time
from pathlib import Path

import gevent
import pytest
import requests

from tests.running import Running
from tests.web.served import Served

# A worker takes MAX_CALLS + 100 connections.
_SOCKETS = 110
_HUGE = 100 * 2**20


@pytest.mark.threat(17)
@pytest.mark.parametrize("header", ["", "X-Twilio-Signature: c29tZXRoaW5n\r\n"], ids=["no signature", "a false one"])
def test_half_sent_bodies_do_not_hold_the_server(tmp_path: Path, header: str) -> None:
    with Running(tmp_path, MAX_CALLS="1") as running:
        running.forget()
        head = f"POST /twilio/voice HTTP/1.1\r\nHost: x\r\n{header}Content-Length: 100\r\n"
        head += "Content-Type: application/x-www-form-urlencoded\r\n\r\nabc"
        sockets = [socket.create_connection(("127.0.0.1", running.server.port)) for _ in range(_SOCKETS)]
        try:
            for sock in sockets:
                sock.sendall(head.encode())
            began = time.monotonic()
            assert requests.get(f"{running.server.url}/healthz", timeout=20).ok
            assert time.monotonic() - began < 15
            assert sockets[0].recv(12).startswith(b"HTTP/1.1 40" if header else b"HTTP/1.1 403")
        finally:
            for sock in sockets:
                sock.close()
        assert "Traceback" not in running.log


@pytest.mark.threat(17)
def test_bodies_that_drip_do_not_hold_the_server(tmp_path: Path) -> None:
    with Running(tmp_path, MAX_CALLS="1") as running:
        head = "POST /twilio/voice HTTP/1.1\r\nHost: x\r\nX-Twilio-Signature: eA==\r\nContent-Length: 60000\r\n"
        head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        sockets = [socket.create_connection(("127.0.0.1", running.server.port)) for _ in range(_SOCKETS)]
        try:
            for sock in sockets:
                sock.sendall(head.encode())
            feeder = gevent.spawn(_drip, sockets)
            assert requests.get(f"{running.server.url}/healthz", timeout=15).ok
        finally:
            feeder.kill()
            for sock in sockets:
                sock.close()


@pytest.mark.threat(17)
@pytest.mark.parametrize("length", [f"Content-Length: {_HUGE}", "Transfer-Encoding: chunked"])
def test_a_body_that_is_far_too_long_is_answered_and_not_read(served: Served, length: str) -> None:
    head = f"POST /twilio/voice HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n{_HUGE:x}\r\n".encode()
    sent = 0
    with socket.create_connection(("127.0.0.1", served.running.server.port), timeout=5) as sock:
        sock.sendall(head)
        piece = b"a" * 2**20
        try:
            while sent < _HUGE:
                sent += sock.send(piece)
        except OSError:
            pass
        # What the kernel holds for the two of them, and what is read to let the answer come through.
        assert sent < _HUGE / 3, "all of it was taken"
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 403") and b"Connection: close" in answer


def _drip(sockets: list[socket.socket]) -> None:
    while True:
        for sock in sockets:
            try:
                sock.sendall(b"a")
            except OSError:
                pass
        gevent.sleep(1)
