"""The socket to a vendor: whatever happens at the other end is a message, None, or one of our two errors."""

import socket
import struct

import gevent
import orjson
import pytest

from tests.wires.peers import Reader, read_request, tcp_server, until, websocket_server
from voice.errors import VendorError, VendorRefused, VendorUnavailable
from voice.sandbox.served_socket import ServedSocket
from voice.wires import vendor_socket
from voice.wires.vendor_socket import VendorSocket

HEADER = ["Authorization: Bearer the-key"]


def connect(url: str) -> VendorSocket:
    return VendorSocket("transcriber", url, HEADER)


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


def refusal_of(response: bytes) -> VendorError:
    """What connecting raises when the handshake is answered so."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(response)

    with tcp_server(serve) as port, pytest.raises(VendorError) as caught:
        connect(f"ws://127.0.0.1:{port}/")
    assert caught.value.__cause__ is not None, "the cause is not chained"
    return caught.value


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
def test_a_refused_handshake_is_not_tried_again_and_its_body_is_told(status: int) -> None:
    body = b'{"detail":"no such voice"}'
    error = refusal_of(answer(f"{status} No", f"Content-Length: {len(body)}", body=body))
    assert isinstance(error, VendorRefused)
    assert f"refused the connection with {status}" in error.detail and "no such voice" in error.detail
    assert error.account == (status in (401, 402)), "whether it is every call's"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_an_overloaded_vendor_is_unavailable(status: int) -> None:
    error = refusal_of(answer(f"{status} Later", "Content-Length: 0"))
    assert isinstance(error, VendorUnavailable) and str(status) in error.detail


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\xff\xfe\x00 garbage\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: d3Jvbmc=\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 500\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    ],
)
def test_a_handshake_that_makes_no_sense_is_unavailable(response: bytes) -> None:
    assert isinstance(refusal_of(response), VendorUnavailable)


def test_nobody_at_the_address_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(VendorUnavailable, match="cannot connect"):
            connect(f"ws://127.0.0.1:{unused.getsockname()[1]}/")


def test_a_handshake_that_is_never_answered_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_socket, "CONNECT_TIMEOUT_S", 0.05)
    with tcp_server(lambda connection: connection.recv(65536) and connection.recv(1)) as port:
        with pytest.raises(VendorUnavailable, match="cannot connect"):
            connect(f"ws://127.0.0.1:{port}/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_because_the_key_would_go_with_it(status: int) -> None:
    reached: list[bytes] = []
    with tcp_server(lambda connection: reached.append(connection.recv(65536))) as port:
        error = refusal_of(answer(f"{status} Elsewhere", f"Location: ws://127.0.0.1:{port}/", "Content-Length: 0"))
    assert isinstance(error, VendorUnavailable)
    assert reached == []


def test_no_proxy_of_the_host_has_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    proxied: list[bytes] = []
    with tcp_server(lambda connection: proxied.append(connection.recv(65536))) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with websocket_server(lambda served: served.send({"hello": 1})) as url:
            # Another spelling of 127.0.0.1: that one is never proxied.
            vendor = connect(url.replace("127.0.0.1", "127.1"))
            assert vendor.receive() == {"hello": 1}
    assert proxied == []


def test_the_handshake_carries_the_key_and_no_origin() -> None:
    seen: list[bytes] = []
    with tcp_server(lambda connection: seen.append(read_request(connection))) as port:
        with pytest.raises(VendorUnavailable):
            connect(f"ws://127.0.0.1:{port}/v1/realtime?intent=transcription")
    request = seen[0].lower()
    assert request.startswith(b"get /v1/realtime?intent=transcription http/1.1\r\n")
    assert b"\r\nauthorization: bearer the-key\r\n" in request
    assert b"origin:" not in request and b"openai-beta" not in request and b"cookie:" not in request


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense", b"null", b"[]", b'"text"', b"17", b"\xff\xfe", b'{"a":"\xff"}', b"{" * 100_000]
)
def test_a_message_that_is_no_object_is_none_and_the_next_one_is_read(raw: bytes) -> None:
    def serve(served: ServedSocket) -> None:
        served.send_raw(raw)
        served.send({"after": True})
        served.receive()

    with websocket_server(serve) as url:
        vendor = connect(url)
        assert [vendor.receive(), vendor.receive()] == [None, {"after": True}]
        vendor.shutdown()


def _frame(text: bytes) -> bytes:
    """As vendors send it: whole, not masked."""
    size = len(text)
    if size < 126:
        return struct.pack("!BB", 0x81, size) + text
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, size) + text
    return struct.pack("!BBQ", 0x81, 127, size) + text


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536, 300_000])
def test_messages_of_any_length_come_whole_and_one_by_one(length: int) -> None:
    texts = [b'{"n":%d}' % n + b" " * max(0, length - 7) for n in range(3)]

    def serve(served: ServedSocket) -> None:
        served._connection.sendall(b"".join(map(_frame, texts)) + b"\x89\x00" + _frame(texts[0]))
        served.receive()

    with websocket_server(serve) as url:
        vendor = connect(url)
        assert [vendor.receive() for _ in range(5)] == [{"n": 0}, {"n": 1}, {"n": 2}, None, {"n": 0}]
        assert vendor._bytes._data == b"", "what was handed out is not kept"
        vendor.shutdown()


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("text", [b'{"whole":true}', b'{"whole":true}' + b" " * 200], ids=["short", "long"])
def test_silence_is_none_and_half_a_frame_is_not_lost_by_it(
    at: int, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendor_socket, "SOCKET_TIMEOUT_S", 0.05)
    frame = _frame(text)
    more = gevent.event.Event()

    def serve(served: ServedSocket) -> None:
        connection = served._connection
        for piece in (frame[:at], frame[at:]):
            connection.sendall(piece)
            more.wait()
            more.clear()

    with websocket_server(serve) as url:
        vendor = connect(url)
        assert vendor.receive() is None
        more.set()
        assert vendor.receive() == {"whole": True}
        more.set()


@pytest.mark.matrix(8)
def test_a_peer_that_is_silent_and_does_not_answer_a_ping_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_socket, "SOCKET_TIMEOUT_S", 0.05)
    over = gevent.event.Event()
    with websocket_server(lambda served: over.wait(5)) as url:
        vendor = connect(url)
        assert vendor.receive() is None
        with pytest.raises(VendorUnavailable, match="no answer to a ping"):
            vendor.receive()
        over.set()


def test_a_peer_that_has_nothing_to_say_but_answers_pings_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_socket, "SOCKET_TIMEOUT_S", 0.05)
    with websocket_server(lambda served: served.receive()) as url:
        vendor = connect(url)
        assert [vendor.receive() for _ in range(8)] == [None] * 8
        vendor.shutdown()


def test_a_message_in_fragments_with_a_ping_between_is_one_message() -> None:
    def serve(served: ServedSocket) -> None:
        served._connection.sendall(b'\x01\x04{"a"' + b"\x89\x02hi" + b"\x80\x03:1}")
        served.receive()

    with websocket_server(serve) as url:
        vendor = connect(url)
        assert vendor.receive() is None, "the ping"
        assert vendor.receive() == {"a": 1}
        vendor.shutdown()


def test_the_close_code_and_reason_are_told() -> None:
    with websocket_server(lambda served: served.close(4000, "beta shape is gone")) as url:
        with pytest.raises(VendorUnavailable, match="closed the connection: 4000 beta shape is gone"):
            connect(url).receive()


def test_a_close_without_a_code_is_unavailable() -> None:
    with websocket_server(lambda served: served._connection.sendall(b"\x88\x00")) as url:
        with pytest.raises(VendorUnavailable, match="closed the connection: no code"):
            connect(url).receive()


@pytest.mark.parametrize(
    "frame", [b"\x83\x00", b"\xf1\x00", b"\x09\x00", b"\x80\x01x", b"\x88\x01x", b"\x88\x02\x00\x01"]
)
def test_malformed_frames_are_unavailable(frame: bytes) -> None:
    with websocket_server(lambda served: served._connection.sendall(frame)) as url:
        with pytest.raises(VendorUnavailable):
            connect(url).receive()


def test_a_lost_connection_is_unavailable_for_the_reader_and_for_the_writer() -> None:
    def serve(served: ServedSocket) -> None:
        served.receive()
        served._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        served._connection.close()
        served.drop()

    with websocket_server(serve) as url:
        vendor = connect(url)
        vendor.send(b"{}")
        with pytest.raises(VendorUnavailable, match="the connection is gone"):
            vendor.receive()
        with pytest.raises(VendorUnavailable, match="cannot write"):
            for _ in range(3):
                vendor.send(b'{"text":"x"}')


def test_shutdown_wakes_a_blocked_reader_at_once_and_may_be_called_twice() -> None:
    with websocket_server(lambda served: served.receive()) as url:
        vendor = connect(url)
        reader = Reader(iter(vendor.receive, "never"))
        gevent.sleep(0)
        vendor.shutdown()
        with pytest.raises(VendorUnavailable), gevent.Timeout(1):
            reader.next()
        vendor.shutdown()
        with pytest.raises(VendorUnavailable, match="cannot write"):
            vendor.send(b'{"text":"too late"}')


def test_a_peer_that_takes_nothing_bounds_the_write_and_costs_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_socket, "SOCKET_TIMEOUT_S", 0.1)
    done = gevent.event.Event()
    with websocket_server(lambda served: done.wait()) as url:
        vendor = connect(url)
        with pytest.raises(VendorUnavailable, match="cannot write"):
            for _ in range(1000):
                vendor.send(b"x" * 65536)
        with pytest.raises(VendorUnavailable):
            vendor.receive()
        done.set()


def test_what_is_sent_is_one_json_object_a_message() -> None:
    got: list[bytes | None] = []

    def serve(served: ServedSocket) -> None:
        got.extend([served.receive(), served.receive()])

    with websocket_server(serve) as url:
        vendor = connect(url)
        vendor.send('{"text":"Grüße 🙂","n":1}'.encode())
        vendor.send(b'{"b":2}')
        until(lambda: len(got) == 2)
    assert [orjson.loads(message or b"") for message in got] == [{"text": "Grüße 🙂", "n": 1}, {"b": 2}]
