"""The server's end of a WebSocket, on real connections; the judges are `websockets`' client and websocket-client."""

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import websocket
from websockets.frames import Frame, Opcode

from tests.wires.loopback import LIMIT_S, Line, tcp_pair
from voice.wires.beat import BEAT_S
from voice.wires.stream_socket import MAX_MESSAGE_BYTES, WRITE_TIMEOUT_S, Patience, StreamClosed, StreamSocket


def finish(greenlet: gevent.Greenlet) -> Any:
    return greenlet.get(timeout=LIMIT_S)


def closed(read: Callable[[], object]) -> StreamClosed:
    with pytest.raises(StreamClosed) as caught:
        read()
    return caught.value


def small_buffers(line: Line) -> None:
    line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    line.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)


# Messages


def test_text_goes_both_ways(line: Line) -> None:
    line.peer.text("hello — in")
    assert line.stream.receive(LIMIT_S) == "hello — in".encode()
    line.stream.send("hello — out".encode())
    assert line.peer.message() == "hello — out".encode()


def test_many_messages_in_one_read_come_one_by_one(line: Line) -> None:
    for n in range(500):
        line.peer.protocol.send_text(b"%d" % n)
    line.peer.flush()
    assert [line.stream.receive(LIMIT_S) for _ in range(500)] == [b"%d" % n for n in range(500)]


def test_a_fragmented_message_is_joined_with_a_ping_between_its_fragments(line: Line) -> None:
    line.peer.text(b"one, ", fin=False)
    line.peer.more(b"two, ", fin=False)
    line.peer.protocol.send_ping(b"still there?")
    line.peer.more(b"three", fin=True)
    assert line.stream.receive(LIMIT_S) == b"one, two, three"
    pong = line.peer.frame()
    assert pong is not None and (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"still there?")


def test_fragments_without_a_byte_are_not_kept(line: Line) -> None:
    """They count for nothing in a message's size, so that it would never be too great."""
    line.peer.text(b"one", fin=False)
    for _ in range(20):
        line.peer.protocol.writes.append(b"\x00\x80" + MASK)
    line.peer.flush()
    with pytest.raises(TimeoutError):
        line.stream.receive(0.05)
    assert line.stream._fragments == [b"one"]
    line.peer.more(b" two", fin=True)
    assert line.stream.receive(LIMIT_S) == b"one two"


def test_a_ping_is_answered_while_the_reader_waits(line: Line) -> None:
    reader = gevent.spawn(line.stream.receive, LIMIT_S)
    line.peer.protocol.send_ping(b"42")
    line.peer.flush()
    pong = line.peer.frame()
    assert pong is not None and (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"42")
    line.peer.text(b"done")
    assert finish(reader) == b"done"


def test_binary_messages_are_counted_and_skipped(line: Line) -> None:
    line.peer.protocol.send_binary(b"\x00\x01", fin=False)
    line.peer.more(b"\x02", fin=True)
    line.peer.protocol.send_binary(b"\x03")
    line.peer.text(b"text")
    assert line.stream.receive(LIMIT_S) == b"text"
    assert line.stream.binary_messages == 2


@pytest.mark.threat(18)
def test_a_message_of_the_greatest_size_is_taken(line: Line) -> None:
    line.peer.text(b"x" * MAX_MESSAGE_BYTES)
    assert line.stream.receive(LIMIT_S) == b"x" * MAX_MESSAGE_BYTES


def test_half_a_frame_is_a_timeout_and_the_other_half_completes_it(line: Line) -> None:
    line.peer.protocol.send_text(b"a whole message")
    (data,) = line.peer.protocol.data_to_send()
    line.peer.sock.sendall(data[:9])
    with pytest.raises(TimeoutError):
        line.stream.receive(0.05)
    line.peer.sock.sendall(data[9:])
    assert line.stream.receive(LIMIT_S) == b"a whole message"


def test_a_timeout_is_for_one_receive_and_not_for_those_after_it(line: Line) -> None:
    with pytest.raises(TimeoutError):
        line.stream.receive(0.02)
    reader = gevent.spawn(line.stream.receive)
    assert not reader.ready() and gevent.wait([reader], timeout=0.1) == []
    line.peer.text(b"late")
    assert finish(reader) == b"late"


def test_bytes_that_drip_in_do_not_put_the_timeout_off(line: Line) -> None:
    line.peer.protocol.send_text(b"x" * 200)
    (data,) = line.peer.protocol.data_to_send()
    dripping = gevent.spawn(drip, line.peer.sock, data)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        line.stream.receive(0.2)
    assert time.monotonic() - started < 1
    dripping.kill()


def drip(sock: socket.socket, data: bytes) -> None:
    for byte in data:
        sock.sendall(bytes([byte]))
        gevent.sleep(0.02)


# The end


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 3000, 4999])
def test_a_close_of_the_other_side_is_answered_and_told(line: Line, code: int) -> None:
    line.peer.text(b"last words")
    line.peer.protocol.send_close(code, "bye")
    line.peer.flush()
    assert line.stream.receive(LIMIT_S) == b"last words"
    error = closed(lambda: line.stream.receive(LIMIT_S))
    assert (error.said, str(error)) == (True, f"closed with {code}")
    assert line.peer.close_code() == code


def test_a_connection_that_just_ends_was_not_closed_in_words(line: Line) -> None:
    line.peer.sock.close()
    error = closed(lambda: line.stream.receive(LIMIT_S))
    assert (error.said, str(error)) == (False, "the connection is gone")


def test_a_connection_that_is_reset_was_not_closed_in_words(line: Line) -> None:
    line.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    line.peer.sock.close()
    assert closed(lambda: line.stream.receive(LIMIT_S)).said is False


MASK = b"\x00\x00\x00\x00"
BROKEN = {
    "unmasked": (b"\x81\x02hi", 1002),
    "reserved bit": (b"\xc1\x82" + MASK + b"hi", 1002),
    "unknown opcode": (b"\x83\x80" + MASK, 1002),
    "a long ping": (b"\x89\xfe\x00\x7e" + MASK + b"x" * 126, 1002),
    "a ping in fragments": (b"\x09\x80" + MASK, 1002),
    "a continuation of nothing": (b"\x80\x82" + MASK + b"hi", 1002),
    "a text within a text": (b"\x01\x82" + MASK + b"hi" + b"\x81\x82" + MASK + b"hi", 1002),
    "a close frame of one byte": (b"\x88\x81" + MASK + b"\x03", 1002),
    "a close code that is none": (b"\x88\x82" + MASK + b"\x00\x01", 1002),
    "a length above 2**63": (b"\x81\xff" + b"\xff" * 8 + MASK, 1009),
    "64 kB and one byte": (b"\x81\xff" + (MAX_MESSAGE_BYTES + 1).to_bytes(8, "big") + MASK, 1009),
    "64 kB and one byte, in fragments": (
        b"\x01\xff" + (MAX_MESSAGE_BYTES).to_bytes(8, "big") + MASK + bytes(MAX_MESSAGE_BYTES) + b"\x80\x81" + MASK,
        1009,
    ),
}


@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_closes_the_stream_with_its_code(line: Line, data: bytes, code: int) -> None:
    sender = gevent.spawn(line.peer.sock.sendall, data)
    error = closed(lambda: line.stream.receive(LIMIT_S))
    assert error.said is False
    assert str(error).startswith("a rule of WebSocket was broken: ")
    assert line.peer.close_code() == code
    finish(sender)


def test_after_a_broken_rule_the_reader_waits_for_nothing_more(line: Line) -> None:
    line.peer.text(b"good")
    line.peer.sock.sendall(b"\x81\x02hi")
    assert line.stream.receive(LIMIT_S) == b"good"
    # The other side keeps its socket open and sends on: none of that is read.
    closed(lambda: line.stream.receive(LIMIT_S))
    line.peer.text(b"more")
    with gevent.Timeout(LIMIT_S):
        assert closed(lambda: line.stream.receive()).said is False
    assert "closed" in str(closed(lambda: line.stream.send(b"too late")))


def test_close_says_goodbye_and_wakes_the_reader(line: Line) -> None:
    reader = gevent.spawn(closed, lambda: line.stream.receive())
    gevent.idle()
    line.stream.close(1008, "no token")
    close = line.peer.frame()
    assert close is not None and bytes(close.data) == b"\x03\xf0no token"
    assert line.peer.frame() is None
    assert finish(reader).said is False
    line.stream.close()
    line.stream.abort()
    assert "closed" in str(closed(lambda: line.stream.send(b"more")))


@pytest.mark.parametrize("reason", ["x" * 500, "é" * 100, "ende \ud800"])
def test_a_reason_that_does_not_fit_is_cut(line: Line, reason: str) -> None:
    line.stream.close(1008, reason)
    close = line.peer.frame()
    assert close is not None and close.opcode is Opcode.CLOSE and bytes(close.data[:2]) == b"\x03\xf0"
    assert 0 < len(close.data) - 2 <= 123
    assert reason.encode("utf-8", "replace").startswith(bytes(close.data[2:]))


def test_the_goodbye_arrives_though_nobody_has_read_what_the_other_side_sent(line: Line) -> None:
    line.peer.text(b"x" * 60000)
    line.stream.close(1008)
    line.sock.close()
    assert line.peer.close_code() == 1008


def test_who_is_still_writing_is_not_reset_before_it_has_read_the_goodbye(line: Line) -> None:
    closing = gevent.spawn(line.stream.close, 1000, "that was all")
    gevent.idle()
    for _ in range(50):  # a reset would come upon the first, and be an error of the next
        line.peer.text(b"x" * 1000)
        gevent.sleep(0.001)
    close = line.peer.frame()
    assert close is not None and bytes(close.data) == b"\x03\xe8that was all"
    assert not closing.dead
    line.peer.sock.close()
    finish(closing)


def test_who_does_not_end_its_side_is_waited_for_half_a_second(line: Line) -> None:
    began = time.monotonic()
    line.stream.close()
    assert 0.4 < time.monotonic() - began < LIMIT_S
    with pytest.raises(OSError):
        for _ in range(50):
            line.peer.sock.sendall(b"x")
            gevent.sleep(0.01)


def test_abort_wakes_a_blocked_reader_without_a_word(line: Line) -> None:
    reader = gevent.spawn(closed, lambda: line.stream.receive())
    gevent.idle()
    line.stream.abort()
    line.stream.abort()
    assert finish(reader).said is False
    assert line.peer.frame() is None


# Writing


def test_ten_megabytes_arrive_whole_at_a_slow_reader(line: Line) -> None:
    small_buffers(line)
    message = os.urandom(5_000_000).hex().encode()
    writer = gevent.spawn(line.stream.send, message)
    received = line.peer.message()
    finish(writer)
    assert len(received) == len(message)
    assert hashlib.sha256(received).digest() == hashlib.sha256(message).digest()


@pytest.mark.threat(18)
def test_a_reader_that_takes_nothing_ends_the_stream_within_the_bound_for_all_who_write(line: Line) -> None:
    small_buffers(line)
    started = time.monotonic()
    writers = [gevent.spawn(closed, lambda: line.stream.send(b"x" * 8_000_000)) for _ in range(3)]
    reader = gevent.spawn(closed, lambda: line.stream.receive())
    errors = [finish(greenlet) for greenlet in (*writers, reader)]
    assert WRITE_TIMEOUT_S - 0.1 <= time.monotonic() - started < WRITE_TIMEOUT_S + 1
    assert [error.said for error in errors] == [False] * 4


def test_abort_wakes_a_blocked_writer(line: Line) -> None:
    small_buffers(line)
    writer = gevent.spawn(closed, lambda: line.stream.send(b"x" * 8_000_000))
    assert line.peer.sock.recv(1)
    started = time.monotonic()
    line.stream.abort()
    assert finish(writer).said is False
    assert time.monotonic() - started < 1


def test_a_writer_killed_half_way_through_leaves_no_stream_that_others_write_into(line: Line) -> None:
    small_buffers(line)
    writer = gevent.spawn(line.stream.send, b"x" * 8_000_000)
    assert line.peer.sock.recv(1)
    writer.kill()
    started = time.monotonic()
    closed(lambda: line.stream.send(b"into the middle of a frame"))
    line.stream.close(1000)
    assert time.monotonic() - started < 1


def test_what_many_greenlets_write_at_once_does_not_interleave(line: Line) -> None:
    small_buffers(line)
    messages = [bytes([97 + n % 26]) * (20_000 + 997 * n) for n in range(40)]
    writers = [gevent.spawn(line.stream.send, message) for message in messages]
    for n in range(5):
        line.peer.protocol.send_ping(b"%d" % n)
    line.peer.flush()
    reader = gevent.spawn(line.stream.receive, LIMIT_S)
    received = [line.peer.message() for _ in messages]
    assert sorted(received) == sorted(messages)
    line.peer.text(b"all there")
    assert finish(reader) == b"all there"
    gevent.joinall(writers, raise_error=True)


FLOOD = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
frames = (b"\\x81\\xe4" + bytes(4) + b"x" * 100) * 2000
try:
    while True:
        sock.sendall(frames)
except OSError:
    pass
"""


@pytest.mark.threat(18)
def test_a_flood_leaves_the_other_greenlets_their_turns() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        flood = subprocess.Popen([sys.executable, "-c", FLOOD, str(listener.getsockname()[1])])
        server, _ = listener.accept()
    stream = StreamSocket(server)
    reader = gevent.spawn(drain, stream)
    turns = []
    end = time.monotonic() + 1
    while (now := time.monotonic()) < end:
        gevent.sleep(0.01)
        turns.append(time.monotonic() - now)
    stream.abort()
    server.close()
    assert finish(reader) > 1000
    assert flood.wait(LIMIT_S) == 0
    assert max(turns) < 0.5


def drain(stream: StreamSocket) -> int:
    """Read for two seconds, or to the end; the number of messages."""
    count, end = 0, time.monotonic() + 2
    try:
        while time.monotonic() < end:
            assert stream.receive(LIMIT_S) == b"x" * 100
            count += 1
    except StreamClosed:
        pass
    return count


# websocket-client, as the load drivers use it


def test_websocket_client_agrees() -> None:
    server, client_sock = tcp_pair()
    stream = StreamSocket(server)
    client = websocket.WebSocket()
    client.sock, client.connected = client_sock, True
    client.send("ünï")
    assert stream.receive(LIMIT_S) == "ünï".encode()
    client.send_frame(websocket.ABNF.create_frame("in two ", websocket.ABNF.OPCODE_TEXT, fin=0))
    client.send_frame(websocket.ABNF.create_frame("parts", websocket.ABNF.OPCODE_CONT, fin=1))
    assert stream.receive(LIMIT_S) == b"in two parts"
    for size in (0, 1, 125, 126, 65535, 65536, 1_000_000):
        gevent.spawn(stream.send, b"x" * size)
        assert client.recv() == "x" * size
    client.ping("p")
    client.send("after the ping")
    assert stream.receive(LIMIT_S) == b"after the ping"
    assert client.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"p")
    client.send_close(1000, b"bye")
    assert closed(lambda: stream.receive(LIMIT_S)).said is True
    assert client.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xe8bye")
    stream.abort()
    server.close()
    client_sock.close()


# Several at once

THREE = Patience(messages=3)


def _sent(line: Line, *sizes: int) -> None:
    for size in sizes:
        line.peer.text("x" * size)


def test_what_comes_one_by_one_is_waited_for_and_taken_together(line: Line) -> None:
    _sent(line, 400)
    assert len(line.stream.receive_all(LIMIT_S, THREE)) == 1
    reader = gevent.spawn(line.stream.receive_all, LIMIT_S, THREE)
    for _ in range(3):
        gevent.sleep(0.005)  # each a packet of its own
        assert not reader.ready()
        _sent(line, 400)
    assert list(map(len, reader.get(timeout=LIMIT_S))) == [400] * 3


def test_less_than_was_waited_for_comes_all_the_same(line: Line) -> None:
    _sent(line, 400)
    line.stream.receive_all(LIMIT_S, THREE)
    _sent(line, 20)
    assert list(map(len, line.stream.receive_all(LIMIT_S, THREE))) == [20]


def test_a_ping_while_several_are_waited_for_keeps_nobody_waiting(line: Line) -> None:
    _sent(line, 400)
    line.stream.receive_all(LIMIT_S, THREE)
    reader = gevent.spawn(line.stream.receive_all, LIMIT_S, THREE)
    line.peer.protocol.send_ping(b"1")
    line.peer.flush()
    gevent.sleep(0.01)
    _sent(line, 20)
    assert list(map(len, reader.get(timeout=0.5))) == [20]


def test_what_comes_within_the_beats_is_taken_together(line: Line) -> None:
    reader = gevent.spawn(line.stream.receive_all, LIMIT_S, Patience(beats=3))
    for _ in range(2):
        _sent(line, 400)
        gevent.sleep(BEAT_S / 2)  # each a packet of its own
        assert not reader.ready()
    assert list(map(len, reader.get(timeout=LIMIT_S))) == [400] * 2


def test_nothing_within_the_beats_and_then_something(line: Line) -> None:
    reader = gevent.spawn(line.stream.receive_all, LIMIT_S, Patience(beats=1))
    gevent.sleep(3 * BEAT_S)
    assert not reader.ready()
    _sent(line, 20)
    assert list(map(len, reader.get(timeout=BEAT_S))) == [20]


def test_who_waits_for_beats_is_woken_by_our_own_end(line: Line) -> None:
    reader = gevent.spawn(lambda: closed(lambda: line.stream.receive_all(LIMIT_S, Patience(beats=7))))
    gevent.sleep(0)
    line.stream.abort()
    reader.get(timeout=BEAT_S)


def test_the_end_within_the_beats(line: Line) -> None:
    _sent(line, 20)
    line.peer.sock.close()
    assert list(map(len, line.stream.receive_all(LIMIT_S, Patience(beats=2)))) == [20]
    closed(lambda: line.stream.receive_all(LIMIT_S, Patience(beats=2)))


def test_what_came_before_an_end_that_cannot_be_answered_counts(line: Line) -> None:
    """Twilio's `stop` and close frame, and then it is gone."""
    line.peer.protocol.send_text(b"stop")
    line.peer.protocol.send_close(1000)
    line.peer.flush()
    line.sock.shutdown(socket.SHUT_WR)
    assert line.stream.receive_all(LIMIT_S, Patience()) == [b"stop"]
    closed(lambda: line.stream.receive(LIMIT_S))


def test_pings_without_end_neither_hold_the_others_up_nor_go_on(line: Line) -> None:
    """Always some outstanding, so that the socket is never empty."""
    ping = Frame(Opcode.PING, b"").serialize(mask=True) * 500
    line.peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    longest, ended = [0.0], gevent.event.Event()

    def flood() -> None:
        try:
            while not ended.is_set():
                line.peer.sock.sendall(ping)
        except OSError:
            pass

    def beat() -> None:
        while not ended.is_set():
            began = time.monotonic()
            gevent.sleep(0.001)
            longest[0] = max(longest[0], time.monotonic() - began)

    others = [gevent.spawn(flood), gevent.spawn(beat)]
    assert "more pings" in str(closed(lambda: line.stream.receive(LIMIT_S)))
    ended.set()
    gevent.joinall(others, timeout=LIMIT_S)
    assert longest[0] < 0.2
