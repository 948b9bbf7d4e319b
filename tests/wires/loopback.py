"""A StreamSocket on a real TCP connection of 127.0.0.1, and at its other end `websockets`' client or bare bytes."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from voice.wires.stream_socket import StreamSocket

LIMIT_S = 10.0
"""Whatever a test waits for comes within milliseconds; after this it has failed."""


class Peer:
    """The client's end, judged by `websockets`' own protocol."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(LIMIT_S)
        self.protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self._frames: list[Frame] = []

    def text(self, text: str | bytes, fin: bool = True) -> None:
        self.protocol.send_text(text.encode() if isinstance(text, str) else text, fin=fin)
        self.flush()

    def more(self, text: bytes, fin: bool) -> None:
        self.protocol.send_continuation(text, fin)
        self.flush()

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.sock.sendall(data)

    def frame(self) -> Frame | None:
        """The next frame that arrives; None when the other side has shut the connection."""
        while not self._frames:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.protocol.receive_data(data)
            if self.protocol.parser_exc is not None:
                raise self.protocol.parser_exc
            self._frames += [frame for frame in self.protocol.events_received() if isinstance(frame, Frame)]
        return self._frames.pop(0)

    def message(self) -> bytes:
        """The next text message, whole; an answered ping is passed over."""
        payload = b""
        while (frame := self.frame()) is not None:
            if frame.opcode in (Opcode.TEXT, Opcode.CONT):
                payload += bytes(frame.data)
                if frame.fin:
                    return payload
            else:
                assert frame.opcode is Opcode.PONG, frame
        raise AssertionError("the connection ended before a message")

    def close_code(self) -> int | None:
        """The code of the close frame that comes next, whatever comes before it; None when none comes."""
        while (frame := self.frame()) is not None:
            if frame.opcode is Opcode.CLOSE:
                return int(Close.parse(frame.data).code)
        return None


@dataclass(frozen=True)
class Line:
    stream: StreamSocket
    sock: socket.socket
    """The stream's own socket."""
    peer: Peer


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return server, client


@pytest.fixture
def line() -> Iterator[Line]:
    server, client = tcp_pair()
    stream = StreamSocket(server)
    yield Line(stream, server, Peer(client))
    stream.abort()
    server.close()
    client.close()
