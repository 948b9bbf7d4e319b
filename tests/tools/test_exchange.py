"""One request against servers that do what servers do: whatever it is, it is over in time."""

import socket
import struct
import time
from collections.abc import Callable

import gevent
import gevent.event
import pytest

from tests.tools.desk import answer
from tests.wires.peers import read_request, tcp_server, until
from voice.errors import VendorUnavailable
from voice.tools.exchange import LONGEST_BODY, Answer, Exchange, Request

LIMIT_S = 0.25


def exchange(port: int, scheme: str = "http", timeout_s: float = LIMIT_S) -> Answer:
    url = f"{scheme}://127.0.0.1:{port}/a%2Fb?c=d"
    return Exchange(Request("POST", url, {"X-Own": "yes"}, b"{}"), timeout_s).run()


def failure(serve: Callable[[socket.socket], object], scheme: str = "http") -> str:
    with tcp_server(serve) as port, pytest.raises(VendorUnavailable) as caught:
        exchange(port, scheme)
    return caught.value.detail


def test_the_request_is_sent_as_it_is_given() -> None:
    seen = []

    def serve(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(answer(b"ok", "201 Created", "X-More: 1"))

    with tcp_server(serve) as port:
        assert exchange(port) == Answer(201, {"content-length": "2", "x-more": "1"}, b"ok", True)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /a%2Fb?c=d HTTP/1.1" and body == b"{}"
    assert f"Host: 127.0.0.1:{port}".encode() in head and b"X-Own: yes" in head


def late(serve: Callable[[socket.socket], object], scheme: str = "http") -> None:
    """It takes its time and no more, and the other side is told: its connection is shut."""
    shut = []

    def until_shut(connection: socket.socket) -> None:
        try:
            serve(connection)
            while connection.recv(65536):
                pass
        except OSError:
            pass
        shut.append(True)

    with tcp_server(until_shut) as port:
        began = time.monotonic()
        with pytest.raises(VendorUnavailable, match="no complete answer within 0.25 seconds"):
            exchange(port, scheme)
        assert LIMIT_S <= time.monotonic() - began < LIMIT_S + 1
        until(lambda: shut, "the end of the connection")


def drip(connection: socket.socket, data: bytes) -> None:
    read_request(connection)
    for index in range(len(data)):
        connection.sendall(data[index : index + 1])
        gevent.sleep(0.02)


@pytest.mark.matrix(77)
def test_a_server_that_says_nothing() -> None:
    late(read_request)


def test_a_server_that_never_shakes_hands() -> None:
    late(lambda connection: None, "https")


@pytest.mark.matrix(77)
def test_a_head_that_drips() -> None:
    late(lambda connection: drip(connection, b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000))


@pytest.mark.parametrize("header", [b"Content-Length: 1000", b"Connection: close", b"X-None: 1"])
def test_a_body_that_drips(header: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n")
        while True:
            connection.sendall(b"x")
            gevent.sleep(0.02)

    late(serve)


def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(VendorUnavailable, match="refused the connection"):
        exchange(port)


def test_a_host_that_does_not_exist() -> None:
    # RFC 6761: never the name of a machine. The name server's answer may also be late.
    request = Request("GET", "http://nowhere.invalid/", {})
    with pytest.raises(VendorUnavailable, match="not found|no complete answer"):
        Exchange(request, 2.0).run()


class SlowNames:
    """A name server that answers when it is told to."""

    def __init__(self) -> None:
        self.hub_resolver = gevent.get_hub().resolver
        self.answers = gevent.event.Event()

    def getaddrinfo(self, *wanted: object) -> object:
        self.answers.wait()
        return self.hub_resolver.getaddrinfo(*wanted)


def test_a_name_that_is_found_too_late_gets_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    got = []
    names = SlowNames()
    with tcp_server(lambda connection: got.append(connection.recv(65536))) as port:
        monkeypatch.setattr(gevent.get_hub(), "resolver", names)
        with pytest.raises(VendorUnavailable, match="no complete answer within 0.25 seconds"):
            exchange(port)
        names.answers.set()
        until(lambda: got, "the connection")
    assert got == [b""]


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_connection_that_is_reset() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        reset(connection)

    assert "broke" in failure(serve)


def test_a_server_that_hangs_up_at_once() -> None:
    assert "broke" in failure(read_request_and_leave)


def read_request_and_leave(connection: socket.socket) -> None:
    read_request(connection)
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfi",
    ],
)
def test_half_an_answer_is_none(reply: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply)
        connection.shutdown(socket.SHUT_RDWR)

    assert "before the answer was complete" in failure(serve)


@pytest.mark.parametrize(
    "reply", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200]
)
def test_something_that_is_no_http(reply: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply + b"\r\n")

    assert "no HTTP" in failure(serve)


def test_a_server_without_a_certificate() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert "no secure connection" in failure(serve, "https")


@pytest.mark.threat(8)
@pytest.mark.parametrize(("size", "whole"), [(LONGEST_BODY, True), (LONGEST_BODY + 1, False), (50_000_000, False)])
def test_of_a_long_body_only_the_beginning_is_read(size: int, whole: bool) -> None:
    sent = []

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        try:
            for _ in range(0, size, 65536):
                connection.sendall(b"x" * min(65536, size - sum(sent)))
                sent.append(min(65536, size - sum(sent)))
        except OSError:
            pass

    with tcp_server(serve) as port:
        got = exchange(port, timeout_s=5.0)
    assert (len(got.body), got.whole) == (min(size, LONGEST_BODY), whole)
    assert sum(sent) < 20_000_000


@pytest.mark.threat(9)
def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    asked = []

    def serve(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        connection.sendall(answer(b"", "302 Found", f"Location: http://127.0.0.1:{port}/elsewhere"))

    with tcp_server(serve) as port:
        assert exchange(port).status == 302
    assert len(asked) == 1


@pytest.mark.threat(9)
def test_no_proxy_of_the_environment_gets_to_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(b"direct"))

    with tcp_server(serve) as port:
        assert exchange(port).body == b"direct"
