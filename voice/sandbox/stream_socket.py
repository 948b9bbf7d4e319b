"""The WebSocket of one Media Stream, from Twilio's side: upgrade, writing that never blocks, reading, closing.

One greenlet reads: whoever calls `open`, then the one that calls `next_messages`. Any greenlet may write: a write never
switches, so messages cannot interleave; what the socket does not take waits in `unsent`, before everything else.
"""

import os
import socket as sockets
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
from gevent import socket
from gevent.event import Event
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]  # in C where there is a wheel
from websockets.protocol import State
from websockets.uri import parse_uri

_HANDSHAKE_S = 10.0
_GOODBYE_S = 2.0
_LONGEST_MESSAGE = 1 << 20
# A final text frame of 126..65535 bytes, masked.
_HEAD = struct.Struct(">BBH4s")
_RESET = struct.pack("ii", 1, 0)


class LineFault(Exception):
    """The stream could not be opened; `code` is Twilio's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code, self.text = code, text


class Closed(Exception):
    """The server ended the stream: a close frame (31921) or malformed frames (31924)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(eq=False, repr=False)
class StreamSocket:
    unsent: bytearray = field(default_factory=bytearray)
    # One mask for the stream: masking protects proxies from scripts, and there are none here.
    _mask: bytes = field(default_factory=lambda: os.urandom(4))
    _fragments: list[bytes] = field(default_factory=list)
    _protocol: ClientProtocol = field(init=False)
    _socket: socket.socket = field(init=False)
    # The kernel's own, past gevent's: it takes what it can at once and never waits.
    _send: Callable[[bytes | bytearray], int] = field(init=False)

    def open(self, address: tuple[str, int], url: str, headers: dict[str, str]) -> None:
        """Upgrade at `address` as if it were `url`. Raises LineFault."""
        self._protocol = ClientProtocol(parse_uri(url), max_size=_LONGEST_MESSAGE)
        try:
            with gevent.Timeout(_HANDSHAKE_S, LineFault(31901, f"no answer within {_HANDSHAKE_S:.0f} s")):
                self._socket = socket.create_connection(address)
                self._socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
                self._upgrade(headers)
                self._send = self._socket._sock.send
        except ConnectionRefusedError as error:
            raise LineFault(31902, "connection refused") from error
        except OSError as error:
            raise LineFault(31901, str(error)) from error

    # Writing; each raises OSError when the connection is broken

    def write_text(self, text: bytes) -> None:
        self.write(Frame(Opcode.TEXT, text).serialize(mask=True))

    def write_long_text(self, text: bytes) -> None:
        """The same for 126 to 65535 bytes, at a seventh of the cost: for media."""
        self.write(_HEAD.pack(0x81, 0xFE, len(text), self._mask) + apply_mask(text, self._mask))

    def write(self, data: bytes) -> None:
        if self.unsent:
            self.unsent += data
            self.flush()
        elif data:
            self.unsent += data[self._taken(data) :]

    def flush(self) -> None:
        if self.unsent:
            del self.unsent[: self._taken(self.unsent)]

    def _taken(self, data: bytes | bytearray) -> int:
        try:
            return self._send(data)
        except BlockingIOError:
            return 0

    # Reading

    def next_messages(self, *, first: bool = False) -> list[bytes | None]:
        """Wait for messages: text, or None for a binary one. `first`: those that came with the upgrade, no waiting.

        Raises Closed once the server has ended the stream, OSError when the connection broke.
        """
        if self._protocol.state is not State.OPEN:
            self._raise_end()
        if not first:
            self._receive()
        frames = [event for event in self._protocol.events_received() if isinstance(event, Frame)]
        self.write(b"".join(self._protocol.data_to_send()))
        messages = [message for frame in frames for message in self._whole(frame)]
        if not messages and self._protocol.state is not State.OPEN:
            self._raise_end()
        return messages

    # Ending

    def drain(self) -> None:
        """Read to the end of the connection, whatever comes."""
        try:
            while self._socket.recv(65536):
                pass
        except OSError:
            pass  # broken, or closed by `close`: either way the end

    def close(self, over: Event) -> None:
        """A close frame, the last bytes, then a short wait for the server to close too: `over` is set when it has.

        Closing with unread bytes would reset the connection, and with it what the server has yet to read.
        """
        with gevent.Timeout(_GOODBYE_S, False):
            try:
                if self._protocol.state is State.OPEN:
                    self._protocol.send_close(1000)
                self.unsent += b"".join(self._protocol.data_to_send())
                self._socket.sendall(bytes(self.unsent))
                self._socket.shutdown(sockets.SHUT_WR)
                over.wait()
            except OSError:
                pass  # the server is gone already, which is what was waited for
        self._socket.close()

    def reset(self) -> None:
        self._socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, _RESET)
        self._socket.close()

    def _upgrade(self, headers: dict[str, str]) -> None:
        request = self._protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self._socket.sendall(b"".join(self._protocol.data_to_send()))
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            self._receive()
        refusal = self._protocol.handshake_exc
        if refusal is not None:
            self._socket.close()
            status = f"HTTP {refusal.response.status_code}" if isinstance(refusal, InvalidStatus) else repr(refusal)
            raise LineFault(31920, f"the upgrade was not answered with 101: {status}")

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()

    def _whole(self, frame: Frame) -> list[bytes | None]:
        if frame.opcode is Opcode.BINARY:
            return [None]
        if frame.opcode not in (Opcode.TEXT, Opcode.CONT):
            return []
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return []
        text = b"".join(self._fragments)
        self._fragments.clear()
        return [text]

    def _raise_end(self) -> None:
        close, failure = self._protocol.close_rcvd, self._protocol.parser_exc
        if close is not None:
            raise Closed(31921, f"the server closed the stream: {close}")
        if isinstance(failure, EOFError):
            raise ConnectionResetError("the server's end of the connection is gone")
        raise Closed(31924, f"malformed frames: {failure!r}")
