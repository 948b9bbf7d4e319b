"""The server's end of one WebSocket: whole text messages in, text messages out. The frames are `websockets`' work.

flask-sock has answered the handshake; from there on we read the socket ourselves, on the greenlet that wants the
message: its own reader would cost a second greenlet and twice the time per frame, and its `send` ignores a short
write. One greenlet reads; any greenlet may write (pongs come from the reader), under one lock, within 5 s.
"""

import codecs
import socket
import threading
import time
from dataclasses import dataclass

from websockets.frames import CloseCode, Frame, Opcode, apply_mask  # type: ignore[attr-defined]
from websockets.protocol import Protocol, Side, State

from voice.wires import beat

MAX_MESSAGE_BYTES = 65536
WRITE_TIMEOUT_S = 5.0
_GOODBYE_S = 0.5
"""Until the other side, which was told of the end, has ended its side too."""
_UNANSWERED_MS = 8000
"""The kernel gives a connection up on which what was sent is not acknowledged for so long; by itself after minutes."""
_READ_BYTES = 8192
"""At once: twenty messages of Twilio's, 400 ms; and of a stranger's pings no more than 20 ms of work."""
_LONGEST_TURN_S = 0.005
"""A reader whose socket always has something never blocks: so long at most until the others have a turn."""
_CONTROLS_AT_ONCE = 200
_CONTROLS_PER_S = 10
"""Nobody needs more pings; each costs an answer."""
# RFC 6455, section 5.2. Twilio's frames are all of one kind; what is of another is `websockets`' from there on.
_WHOLE_TEXT = 0x81
_CONTROL = (0x88, 0x89, 0x8A)
_MASKED = 0x80
_TWO_BYTES_MORE = 126
_REASON_BYTES = 123
"""A close frame holds 125 bytes (RFC 6455, section 5.5), two of them the code."""


@dataclass(frozen=True)
class Patience:
    """How long a reader may wait for more than one message."""

    beats: int = 0
    """So many 20 ms, with all others that wait so: the cheapest way."""
    messages: int = 1
    """Without beats: until so many of the usual size are there, for 20 ms each and 20 ms."""


class StreamClosed(Exception):
    """The socket is over; `said` tells whether the other side closed it in words (a close frame)."""

    def __init__(self, said: bool, detail: str) -> None:
        super().__init__(detail)
        self.said = said


class _Frames(Protocol):
    def recv_frame(self, frame: Frame) -> None:
        # RFC 6455, section 5.4: control frames may stand between the fragments of a message. The library takes a close
        # frame there for a broken rule.
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class StreamSocket:
    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MS)
        self._sock = sock
        # A duplicate has time-outs of its own: a bounded write must not bound a reader that waits for good reason.
        self._writer = sock.dup()
        self._writer.settimeout(WRITE_TIMEOUT_S)
        self._lock = threading.Lock()
        self._protocol = _Frames(Side.SERVER, state=State.OPEN, max_size=MAX_MESSAGE_BYTES)
        self._messages: list[bytes] = []
        # Payloads of a message that is not complete, whether it is text, and what checks that.
        self._fragments: list[bytes] = []
        self._binary = False
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._no_text: UnicodeDecodeError | None = None
        self.binary_messages = 0
        # Nothing but whole texts and control frames so far, and the beginning of a frame that is not all there.
        self._usual = True
        self._begun = b""
        self._usual_bytes = 0
        self._wakes_at = 1
        self._pause: beat.Pause | None = None
        self._readable = beat.readable(sock)
        self._born = self._turn_began = time.monotonic()
        self._controls = 0

    def keep_unsent(self, size: int) -> None:
        """At most about so many bytes, and as many for the kernel's own needs (socket(7), SO_SNDBUF); without this the
        kernel decides as it goes along. A write waits for room."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def receive(self, timeout: float | None = None) -> bytes:
        """The next text message, as good UTF-8. Binary messages are counted and skipped.

        Raises StreamClosed at the end of the stream, TimeoutError after `timeout` seconds without a whole message.
        """
        self._await(timeout)
        return self._messages.pop(0)

    def receive_all(self, timeout: float, patience: Patience) -> list[bytes]:
        """As `receive`, all that has come; with `patience` more comes together."""
        if not self._messages:
            if patience.beats:
                self._pause = beat.Pause(patience.beats)
                self._pause.wait()
                self._turn_began = time.monotonic()
                self._take_what_is_there()
            elif patience.messages > 1:
                self._wake_at(patience.messages * self._usual_bytes - self._usual_bytes // 2)
                self._pause = beat.Pause(patience.messages + 1)
                self._pause.wait_for(self._readable)
                self._turn_began = time.monotonic()
                self._take_what_is_there()
        self._await(timeout)
        messages, self._messages = self._messages, []
        return messages

    def send(self, text: bytes) -> None:
        """Raises StreamClosed when the socket is over or has not taken the whole message within 5 s."""
        with self._lock:
            if self._protocol.state is not State.OPEN:
                raise StreamClosed(False, "the stream is closed")
            self._protocol.send_text(text)
            self._flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye if that is still possible, wait half a second at most for the other side's end, then shut the
        socket; wakes the reader. May be called twice. A `reason` that is too long for a close frame is cut.
        """
        reason = reason.encode("utf-8", "replace")[:_REASON_BYTES].decode("utf-8", "ignore")
        try:
            with self._lock:
                if self._protocol.state is not State.OPEN:
                    return
                self._protocol.send_close(code, reason)
                self._flush()
            self._see_off()
        except StreamClosed:
            pass
        finally:
            self.abort()

    def _see_off(self) -> None:
        """RFC 6455, section 7.1.1. A socket that is shut at once answers what is still on its way with a reset, and
        whoever is writing then sees that in place of our goodbye."""
        deadline = time.monotonic() + _GOODBYE_S
        try:
            self._writer.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                self._writer.settimeout(left)
                if not self._writer.recv(_READ_BYTES):
                    return
        except OSError:
            pass

    def abort(self) -> None:
        """Shut the socket without a word; wakes the reader and a blocked writer. May be called twice."""
        for sock in (self._writer, self._sock):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._writer.close()
        if self._pause:
            self._pause.end()

    def _await(self, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._messages:
            self._wake_at(1)
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                raise TimeoutError
            self._read_some(remaining)

    def _take_what_is_there(self) -> None:
        """Perhaps nothing, a ping, or half a message."""
        try:
            self._read_some(0.0)
        except BlockingIOError:
            pass

    def _wake_at(self, size: int) -> None:
        """The kernel calls the socket readable from so many bytes on, and at its end (socket(7), SO_RCVLOWAT)."""
        if size != self._wakes_at:
            self._wakes_at = size
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
            except OSError:
                pass  # shut by the other side or by us: the read that follows says so

    def _read_some(self, timeout: float | None) -> None:
        """What came before the end of a stream counts, also when the end could not be answered."""
        try:
            self._read(timeout)
        except StreamClosed:
            if not self._messages:
                raise

    def _read(self, timeout: float | None) -> None:
        """Raises TimeoutError when nothing comes within `timeout`, BlockingIOError when that is 0."""
        # After a close frame or a broken rule nothing more is read, even if the other side keeps its socket open.
        if self._protocol.state is not State.OPEN:
            raise self._closed()
        self._sock.settimeout(timeout)
        try:
            asked = time.monotonic()
            data = self._sock.recv(_READ_BYTES)
        except (TimeoutError, BlockingIOError):
            raise
        except OSError as error:
            raise StreamClosed(False, str(error)) from error
        now = time.monotonic()
        if now - asked > _LONGEST_TURN_S:
            self._turn_began = now
        elif now - self._turn_began > _LONGEST_TURN_S:
            # 0 would not do: the hub looks at sockets and timers only when no greenlet is ready to go on.
            time.sleep(0.001)
            self._turn_began = time.monotonic()
        before = len(self._messages)
        try:
            self._take(data)
        except UnicodeDecodeError as error:
            self._fail(error)
        if came := len(self._messages) - before:
            self._usual_bytes = len(data) // came
        if not self._messages and self._protocol.state is not State.OPEN:
            raise self._closed()

    def _take(self, data: bytes) -> None:
        """What has come, to its last whole frame; nothing is the end. Raises UnicodeDecodeError as `_frame` does."""
        if not (self._usual and data):
            self._parse(data)
            return
        data = self._begun + data
        at, size = 0, len(data)
        while size - at >= 2:
            head, length = data[at], data[at + 1] - _MASKED
            if length == _TWO_BYTES_MORE and size - at >= 4:
                mask_at, length = at + 4, int.from_bytes(data[at + 2 : at + 4])
            elif 0 <= length < _TWO_BYTES_MORE:
                mask_at = at + 2
            elif length == _TWO_BYTES_MORE:
                break
            else:
                self._usual = False
                break
            end = mask_at + 4 + length
            if head == _WHOLE_TEXT and self._protocol.state is State.OPEN:
                if end > size:
                    break
                text = apply_mask(data[mask_at + 4 : end], data[mask_at : mask_at + 4])
                if not text.isascii():
                    text.decode()
                self._messages.append(text)
            elif head in _CONTROL and length < _TWO_BYTES_MORE:
                if end > size:
                    break
                self._parse(data[at:end])
            else:
                self._usual = False
                break
            at = end
        self._begun = data[at:]
        if not self._usual:
            rest, self._begun = self._begun, b""
            self._parse(rest)

    def _parse(self, data: bytes) -> None:
        with self._lock:
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._flush()
            events = self._protocol.events_received()
        for frame in events:
            assert isinstance(frame, Frame)
            if frame.opcode >= Opcode.CLOSE:
                self._count_control()
            self._frame(frame)

    def _count_control(self) -> None:
        self._controls += 1
        if self._controls > _CONTROLS_AT_ONCE + _CONTROLS_PER_S * (time.monotonic() - self._born):
            self._sock_dead()
            raise StreamClosed(False, "more pings than anybody needs")

    def _frame(self, frame: Frame) -> None:
        """Raises UnicodeDecodeError for a text message that is none, as soon as it can be none any more."""
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._binary = frame.opcode is Opcode.BINARY
        elif frame.opcode is not Opcode.CONT:
            return
        data = bytes(frame.data)
        if not self._binary:
            if frame.fin and frame.opcode is Opcode.TEXT:
                data.decode()  # the usual message, whole: a fifth of the time
            else:
                self._utf8.decode(data, frame.fin)
        # Fragments without a byte count for nothing in a message's size, so that there may be any number of them.
        if data:
            self._fragments.append(data)
        if frame.fin:
            message, self._fragments = b"".join(self._fragments), []
            self._whole(message, self._binary)

    def _whole(self, message: bytes, binary: bool) -> None:
        if binary:
            self.binary_messages += 1
        else:
            self._messages.append(message)

    def _fail(self, error: UnicodeDecodeError) -> None:
        """RFC 6455, section 8.1: text that is none ends the connection."""
        self._no_text = error
        with self._lock:
            if self._protocol.state is State.OPEN:
                self._protocol.fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
                self._flush()

    def _flush(self) -> None:
        """With the lock held: what the protocol has to say goes out whole, or the socket is of no use any more."""
        data = b"".join(self._protocol.data_to_send())
        if not data:
            return
        try:
            self._writer.sendall(data)
        except OSError as error:
            self._sock_dead()
            raise StreamClosed(False, f"cannot write: {error}") from error
        except BaseException:
            # Killed half-way through a frame: whatever followed would be taken for the rest of it.
            self._sock_dead()
            raise

    def _sock_dead(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _closed(self) -> StreamClosed:
        rcvd, error = self._protocol.close_rcvd, self._no_text or self._protocol.parser_exc
        if rcvd is not None:
            return StreamClosed(True, f"closed with {rcvd.code}")
        if error is None or isinstance(error, EOFError):
            return StreamClosed(False, "the connection is gone")
        return StreamClosed(False, f"a rule of WebSocket was broken: {error}")
