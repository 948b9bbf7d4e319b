"""A WebSocket client that sends exact bytes and tells exactly what comes back. No library: it judges one.

RFC 6455: the opening handshake is section 4.1, a frame is section 5.2.
"""

import base64
import socket
from dataclasses import dataclass, field

LIMIT_S = 10.0
"""Whatever is waited for comes within milliseconds; after this it has failed."""
MASK = b"\x37\xfa\x21\x3d"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK) -> bytes:
    """One frame as a client sends it; `rsv` are the three reserved bits, without a `mask` it is a server's."""
    length = len(payload)
    if length < 126:
        size = bytes([length])
    elif length <= 0xFFFF:
        size = b"\x7e" + length.to_bytes(2, "big")
    else:
        size = b"\x7f" + length.to_bytes(8, "big")
    if mask is not None:
        size = bytes([size[0] | 0x80]) + size[1:] + mask
        payload = _masked(payload, mask)
    return bytes([fin << 7 | rsv << 4 | opcode]) + size + payload


def _masked(payload: bytes, mask: bytes) -> bytes:
    # As one number: byte by byte a megabyte would take a second.
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")


def message(payload: bytes, fragment: int, opcode: int = TEXT) -> bytes:
    """One message in frames of `fragment` bytes."""
    pieces = [payload[at : at + fragment] for at in range(0, len(payload), fragment)] or [b""]
    last = len(pieces) - 1
    return b"".join(frame(CONT if n else opcode, piece, fin=n == last) for n, piece in enumerate(pieces))


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, reason if code is None else code.to_bytes(2, "big") + reason)


@dataclass(frozen=True)
class Came:
    """A frame of the server's."""

    opcode: int
    payload: bytes
    fin: bool = True

    @property
    def code(self) -> int | None:
        """Of a close frame; None when it has none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


@dataclass
class Raw:
    sock: socket.socket
    headers: dict[str, str] = field(default_factory=dict)
    """Of the answer to the handshake, in lower case."""
    _data: bytes = b""

    def send(self, data: bytes, chop: int = 0) -> None:
        """All at once, or in pieces of `chop` bytes, each a packet of its own. Raises OSError."""
        for at in range(0, len(data), chop or len(data) or 1):
            self.sock.sendall(data[at : at + chop] if chop else data)

    def offer(self, data: bytes, chop: int = 0) -> None:
        """The same to a server that may have had enough before the end; we may have ended our side then, too."""
        try:
            self.send(data, chop)
        except OSError:
            pass

    def next(self) -> Came | None:
        """The next frame; None when the server has shut the connection in an orderly way (FIN, no RST).

        Raises OSError for a reset, TimeoutError when nothing comes.
        """
        head = self._take(2)
        if head is None:
            return None
        assert not head[0] & 0x70, "the server set a reserved bit"
        assert not head[1] & 0x80, "the server masked a frame"
        length = head[1]
        if length >= 126:
            size = self._take(2 if length == 126 else 8)
            assert size is not None
            length = int.from_bytes(size, "big")
        payload = self._take(length)
        assert payload is not None
        return Came(head[0] & 15, payload, bool(head[0] & 0x80))

    def rest(self, orderly: bool = True) -> list[Came]:
        """Every frame until the server shuts the connection. A reset is an end only when it need not be `orderly`: who
        closes before having read all that was sent resets."""
        frames = []
        try:
            while (came := self.next()) is not None:
                frames.append(came)
        except ConnectionResetError:
            if orderly:
                raise
        return frames

    def _take(self, size: int) -> bytes | None:
        while len(self._data) < size:
            more = self.sock.recv(1 << 20)
            if not more:
                assert not self._data, "the connection ended within a frame"
                return None
            self._data += more
        taken, self._data = self._data[:size], self._data[size:]
        return taken


def upgrade(address: tuple[str, int], path: str = "/", headers: dict[str, str] | None = None) -> Raw:
    """Open a WebSocket. Raises Refused when the answer is not 101."""
    return handshake(socket.create_connection(address, timeout=LIMIT_S), path, headers)


def handshake(sock: socket.socket, path: str = "/", headers: dict[str, str] | None = None) -> Raw:
    """The same on a connection that is there."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(b"a nonce, 16 byte").decode(),
        "Sec-WebSocket-Version": "13",
    } | (headers or {})
    fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    sock.sendall(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise Refused(0)
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    status, *answered = head.decode("latin-1").split("\r\n")
    if status.split()[1] != "101":
        sock.close()
        raise Refused(int(status.split()[1]))
    named = (line.partition(":") for line in answered)
    return Raw(sock, {name.lower(): value.strip() for name, _, value in named}, rest)


class Refused(Exception):
    """The handshake was answered with this status; 0 when the connection was just closed."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answered with {status}")
        self.status = status
