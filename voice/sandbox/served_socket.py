"""One WebSocket of a stand-in, taken over from the WSGI server: its handler's greenlet reads, any greenlet writes."""

import socket
import struct
from collections import deque
from contextlib import suppress
from typing import Any

import gevent
import orjson
from gevent.lock import RLock
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]  # in C where there is a wheel
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

from voice.sandbox.doors import Environ, reset

# OpenAI takes 15 MiB of audio in one event, which is 20 MiB of base64.
MAX_MESSAGE_BYTES = 24 * 2**20
_FAREWELL_S = 1.0
# Masked, one whole message in one frame.
_TEXT, _BINARY = 0x81, 0x82
_LENGTH_16, _LENGTH_64 = struct.Struct(">H"), struct.Struct(">Q")


class ServedSocket:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=MAX_MESSAGE_BYTES)
        self._messages: deque[bytes] = deque()
        # The beginning of a frame whose rest is still to come.
        self._unread = b""
        # The pieces of a message that came in several frames.
        self._fragments: list[bytes] = []
        self._writing = RLock()
        self._over = False

    @property
    def open(self) -> bool:
        return self._protocol.state is State.OPEN

    @property
    def close_code(self) -> int:
        """The code of whoever closed first; 1006 if nobody did."""
        # Who is closed answers with the same code, so ours is the first one's in both cases.
        sent = self._protocol.close_sent
        return 1006 if sent is None else int(sent.code)

    def receive(self) -> bytes | None:
        """The next message, text or binary; None when the socket is over. Answers pings and closes."""
        while not self._messages:
            if self._over or not self._read():
                return None
        return self._messages.popleft()

    def send(self, event: object) -> bool:
        """Send JSON; False when the socket is over."""
        return self.send_raw(orjson.dumps(event))

    def send_raw(self, text: bytes) -> bool:
        with self._writing:
            try:
                self._protocol.send_text(text)
            except InvalidState:
                return False
            return self._flush()

    def close(self, code: int, reason: str = "") -> None:
        """Send the close frame; the reader then meets the end. A reason is cut to the 123 bytes that fit."""
        with self._writing, suppress(InvalidState):
            self._protocol.send_close(code, reason.encode()[:120].decode("utf-8", "ignore"))
            self._flush()
            # A peer that never answers the close frame must not hold the reader.
            gevent.spawn_later(_FAREWELL_S, self._shut)

    def finish(self) -> None:
        """Let the peer answer our close frame, then end the TCP connection. For the reader."""
        while not self.open and self.receive() is not None:
            pass
        self._shut()

    def drop(self) -> None:
        """Reset the TCP connection without a word."""
        reset(self._connection)

    def _shut(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _read(self) -> bool:
        try:
            if type(self._connection) is socket.socket:
                # It is empty nearly always, which the kernel need not be asked for. TLS may hold something back.
                if self._connection.fileno() < 0:
                    return False  # dropped while a message was looked at
                self._connection._wait(self._connection._read_event)  # type: ignore[attr-defined]
            data = self._connection.recv(65536)
        except OSError:
            return False
        if not data:
            return False
        data = self._unread + data
        start = 0
        while end := _frame_end(data, start):
            # Whole messages are nearly all that comes, fifty a second of each call: the protocol sees only the rest.
            if data[start] in (_TEXT, _BINARY) and data[start + 1] >= 0x80 and self.open:
                self._messages.append(_unmasked(data, start, end))
            else:
                self._receive(data[start:end])
            start = end
        self._unread = data[start:]
        return True

    def _receive(self, frame: bytes) -> None:
        self._protocol.receive_data(frame)
        for event in self._protocol.events_received():
            self._take(event)  # type: ignore[arg-type]
        # What came before a close frame in the same read is still handed out.
        self._over = not self._flush()

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY if frame.fin:
                self._messages.append(bytes(frame.data))
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self._fragments.append(bytes(frame.data))
                if frame.fin:
                    self._messages.append(b"".join(self._fragments))
                    self._fragments.clear()
            case _:
                pass

    def _flush(self) -> bool:
        """Write what the protocol wants written; False when the connection is over."""
        with self._writing:
            for data in self._protocol.data_to_send():
                # An empty piece is the protocol's way to say that we shall close.
                if not data:
                    return False
                try:
                    self._connection.sendall(data)
                except OSError:
                    return False
        return True


def _frame_end(data: bytes, start: int) -> int:
    """Where the frame that begins at `start` ends; 0 when it is not there as a whole. RFC 6455, section 5.2.

    What is too long is there at once: its head is enough to refuse it.
    """
    if len(data) < start + 2:
        return 0
    length, head = data[start + 1] & 0x7F, start + (6 if data[start + 1] & 0x80 else 2)
    if length >= 126:
        layout = _LENGTH_16 if length == 126 else _LENGTH_64
        head += layout.size
        if len(data) < head:
            return 0
        length = layout.unpack_from(data, start + 2)[0]
    if length > MAX_MESSAGE_BYTES:
        return len(data)
    return head + length if len(data) >= head + length else 0


def _unmasked(data: bytes, start: int, end: int) -> bytes:
    size = data[start + 1] & 0x7F
    mask = start + (2 if size < 126 else 4 if size == 126 else 10)
    return apply_mask(data[mask + 4 : end], data[mask : mask + 4])


def wants_upgrade(environ: Environ) -> bool:
    return environ.get("HTTP_UPGRADE", "").lower() == "websocket" and bool(environ.get("HTTP_SEC_WEBSOCKET_KEY"))


def upgrade(environ: Environ) -> ServedSocket:
    """Answer 101 and take the connection over. Ask `wants_upgrade` first."""
    connection = environ["sandbox.connection"]
    accept = accept_key(environ["HTTP_SEC_WEBSOCKET_KEY"])
    lines = "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"
    connection.sendall("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode())
    return ServedSocket(connection)
