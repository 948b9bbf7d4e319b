"""One WebSocket of a stand-in, taken over from the WSGI server: its handler's greenlet reads, any greenlet writes."""

import socket
from collections import deque
from contextlib import suppress
from typing import Any

import gevent
import orjson
from gevent.lock import RLock
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

from voice.sandbox.doors import Environ, reset

# OpenAI takes 15 MiB of audio in one event, which is 20 MiB of base64.
MAX_MESSAGE_BYTES = 24 * 2**20
_FAREWELL_S = 1.0


class ServedSocket:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=MAX_MESSAGE_BYTES)
        self._messages: deque[bytes] = deque()
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
            data = self._connection.recv(65536)
        except OSError:
            return False
        if not data:
            return False
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            self._take(frame)  # type: ignore[arg-type]
        # What came before a close frame in the same read is still handed out.
        self._over = not self._flush()
        return True

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


def wants_upgrade(environ: Environ) -> bool:
    return environ.get("HTTP_UPGRADE", "").lower() == "websocket" and bool(environ.get("HTTP_SEC_WEBSOCKET_KEY"))


def upgrade(environ: Environ) -> ServedSocket:
    """Answer 101 and take the connection over. Ask `wants_upgrade` first."""
    connection = environ["sandbox.connection"]
    accept = accept_key(environ["HTTP_SEC_WEBSOCKET_KEY"])
    lines = "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"
    connection.sendall("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode())
    return ServedSocket(connection)
