"""One WebSocket to a vendor: plain blocking websocket-client, its errors translated to ours, JSON objects in and out.

One greenlet reads, one writes. The reader must always be in `receive`: the vendor's pings are answered only there.
"""

import os
import socket
import ssl
import struct
from typing import Any

import orjson
import websocket
from websockets.frames import apply_mask  # type: ignore[attr-defined]

from voice import tls
from voice.core.events import Vendor
from voice.errors import VendorRefused, VendorUnavailable

CONNECT_TIMEOUT_S = 3.0
SOCKET_TIMEOUT_S = 4.0
_REFUSALS = (400, 401, 402, 403, 404, 422)
_ACCOUNT = (401, 402)
_SHOWN = 300
# RFC 6455, section 5.2.
_WHOLE_TEXT = 0x81
_MASKED = 0x80
_SIZE_BYTES = {126: 2, 127: 8}
_READ_BYTES = 65536
"""ElevenLabs' longest message, about."""


class VendorSocket:
    def __init__(self, vendor: Vendor, url: str, header: list[str]) -> None:
        """Connect. Raises VendorUnavailable or VendorRefused."""
        self.vendor = vendor
        try:
            self._ws = websocket.create_connection(
                url,
                timeout=CONNECT_TIMEOUT_S,
                header=header,
                # The library's check is Python code: 17 ms of blocked hub for a frame of 64 kB. orjson checks anyway.
                skip_utf8_validation=True,
                suppress_origin=True,
                # The key stands in the header: it goes to the address of the settings and to no other, whatever that
                # address or the host's proxy variables say.
                redirect_limit=0,
                http_proxy_host="none",  # the library asks for exceptions only when a proxy is named
                http_no_proxy=["*"],
                sslopt={"context": tls.CONTEXT},
            )
        except websocket.WebSocketBadStatusException as error:
            body = (error.resp_body or b"")[:_SHOWN].decode("utf-8", "replace")
            detail = f"refused the connection with {error.status_code}: {body}"
            if error.status_code in _REFUSALS:
                raise VendorRefused(vendor, detail, account=error.status_code in _ACCOUNT) from error
            raise VendorUnavailable(vendor, detail) from error
        except ssl.SSLCertVerificationError as error:
            raise VendorRefused(vendor, f"its certificate is not good: {error}") from error
        except (websocket.WebSocketException, OSError, ssl.SSLError) as error:
            raise VendorUnavailable(vendor, f"cannot connect: {error}") from error
        assert self._ws.sock is not None
        self._bytes = _Bytes(self._ws.sock)
        # In the place of the library's own, which asks the kernel for each part of a frame.
        self._ws.frame_buffer.recv = self._bytes.read
        # The library is in the middle of what is no whole text message.
        self._is_unusual = False
        # Bounds a write to a peer that takes nothing; a reader just waits again, see `receive`.
        self._ws.settimeout(SOCKET_TIMEOUT_S)
        # A ping is out, and nothing has come since.
        self._asked = False

    def send(self, text: bytes) -> None:
        """Good UTF-8. Raises VendorUnavailable; the socket is then of no use, half a frame may be out."""
        frame = _framed(text)
        try:
            # The library's lock, for its pings are written by the reader; its own way out takes twice the time.
            with self._ws.lock:
                if (sock := self._ws.sock) is None:
                    raise OSError("the socket is closed")
                if (sent := sock.send(frame)) < len(frame):
                    sock.sendall(frame[sent:])
        except (OSError, ssl.SSLError) as error:
            self.shutdown()
            raise VendorUnavailable(self.vendor, f"cannot write: {error}") from error

    def receive(self) -> dict[str, Any] | None:
        """The next JSON object; None for a message that is none, or when 4 s brought nothing.

        Raises VendorUnavailable with the code and reason of the vendor's close, or when the connection is lost: also
        one that is silent for 8 s and does not answer a ping (RFC 6455, 5.5.2), because its other end is gone.
        """
        try:
            text = None if self._is_unusual else self._bytes.text()
            if text is None:
                self._is_unusual = True
                opcode, data = self._ws.recv_data(control_frame=True)
                self._is_unusual = False
        except TimeoutError as error:
            # Whatever part of a frame has come is kept; the next call goes on from there.
            # gevent's timer holds the exception, whose frames hold the timer: twenty objects for the collector.
            error.__traceback__ = None
            self._ask_for_life(error)
            return None
        except (websocket.WebSocketException, OSError, ssl.SSLError) as error:
            raise VendorUnavailable(self.vendor, f"the connection is gone: {error}") from error
        self._asked = False
        if text is not None:
            return _parse(text)
        if opcode in (websocket.ABNF.OPCODE_PING, websocket.ABNF.OPCODE_PONG):
            return None
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise VendorUnavailable(self.vendor, f"closed the connection: {_close_reason(data)}")
        return _parse(data)

    def _ask_for_life(self, silence: Exception) -> None:
        if self._asked:
            self.shutdown()
            raise VendorUnavailable(self.vendor, "silent for 8 s, and no answer to a ping") from silence
        self._asked = True
        try:
            self._ws.ping()
        except (websocket.WebSocketException, OSError, ssl.SSLError) as error:
            raise VendorUnavailable(self.vendor, f"cannot write: {error}") from error

    def shutdown(self) -> None:
        """Cut the connection at once, from any greenlet; its reader wakes with VendorUnavailable. Twice is no harm."""
        sock = self._ws.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._ws.shutdown()  # type: ignore[no-untyped-call]


class _Bytes:
    """What comes from the kernel, all that is there at once. It holds the socket and not the library's object, which
    holds it: that would be freed by the collector of garbage only."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # From `_at` on not handed out.
        self._data = b""
        self._at = 0

    def text(self) -> bytes | None:
        """The next message if it is a whole text, as it usually is, in a tenth of the library's time; None: it is
        another, and nothing of it was handed out. Raises as `read`."""
        self._need(2)
        size, head = self._data[self._at + 1], 2
        if self._data[self._at] != _WHOLE_TEXT or size >= _MASKED:
            return None
        if extra := _SIZE_BYTES.get(size):
            head += extra
            self._need(head)
            size = int.from_bytes(self._data[self._at + 2 : self._at + head])
        self._need(head + size)
        self._hand_out(head)
        return self._hand_out(size)

    def read(self, most: int) -> bytes:
        """At least one. Raises WebSocketConnectionClosedException at the end, TimeoutError, OSError."""
        self._need(1)
        return self._hand_out(most)

    def _need(self, size: int) -> None:
        missing = size - (len(self._data) - self._at)
        if missing <= 0:
            return
        pieces = [self._data[self._at :]]
        try:
            while missing > 0:
                piece = self._sock.recv(_READ_BYTES)
                if not piece:
                    raise websocket.WebSocketConnectionClosedException("the other side has ended it")
                pieces.append(piece)
                missing -= len(piece)
        finally:
            self._data, self._at = b"".join(pieces), 0

    def _hand_out(self, most: int) -> bytes:
        piece = self._data[self._at : self._at + most]
        self._at += len(piece)
        if self._at == len(self._data):
            # Not kept until the next comes.
            self._data, self._at = b"", 0
        return piece


def _framed(text: bytes) -> bytes:
    """A whole text message of a client's (RFC 6455, section 5.2)."""
    size, mask = len(text), os.urandom(4)
    if size < 126:
        head = struct.pack("!BB", 0x81, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x81, 0x80 | 127, size)
    return head + mask + apply_mask(text, mask)


def _parse(data: bytes) -> dict[str, Any] | None:
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, dict) else None


def _close_reason(data: bytes) -> str:
    if len(data) < 2:
        return "no code"
    return f"{int.from_bytes(data[:2], 'big')} {data[2:].decode('utf-8', 'replace')}".strip()
