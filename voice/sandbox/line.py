"""One Media Stream as Twilio runs it: frames out at a 20 ms beat; media, marks and clear in.

Its reader greenlet reads the socket; the pacer's greenlet and whoever acts on the call write to it.
"""

import time
from array import array
from binascii import b2a_base64
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import gevent
from gevent.event import Event

from voice.core.audio import FRAME_MS
from voice.sandbox import stream_messages
from voice.sandbox.journal import Journal
from voice.sandbox.mouth import SILENT_FRAME, Mouth
from voice.sandbox.pacer import PACER
from voice.sandbox.playback import Playback
from voice.sandbox.stream_messages import Clear, Malformed, Mark, Media, StreamNames
from voice.sandbox.stream_socket import Closed, StreamSocket

_SILENT_PAYLOAD = b2a_base64(SILENT_FRAME, newline=False)


class End(StrEnum):
    SERVER_CLOSED = "server closed"
    BROKEN = "broken"
    STOPPED = "stopped"
    DROPPED = "dropped"


@dataclass(eq=False, repr=False)
class Line:
    names: StreamNames
    mouth: Mouth
    playback: Playback
    journal: Journal
    # Called once, when the stream is over, whoever ended it.
    on_end: Callable[[], None]
    # Gets every byte of caller audio that went out, when there is one.
    sent: bytearray | None
    returns_marks: bool = True
    end: End | None = None
    sent_frames: int = 0
    # `time.monotonic()` of each frame that went out.
    sent_at: "array[float]" = field(default_factory=lambda: array("d"))
    asked_at: float = 0.0
    """When its handshake began, by `time.monotonic()`."""
    late_ms: float = 0.0
    """The longest that a frame went out after its moment."""
    _socket: StreamSocket = field(default_factory=StreamSocket)
    # Set when nothing more will be read.
    _read_out: Event = field(default_factory=Event)
    _sequence: int = 0
    _chunk: int = 0
    _opened: float = 0.0
    _media: bytes = b""

    # The stream's life, in order

    def open(self, address: tuple[str, int], url: str, headers: dict[str, str], parameters: dict[str, str]) -> None:
        """Upgrade at `address` as if it were `url`; returns when `start` was sent. Raises LineFault."""
        self._media = stream_messages.media_template(self.names)
        self.asked_at = time.monotonic()
        self._socket.open(address, url, headers)
        self._send(stream_messages.CONNECTED, "connected")
        self._sequence = 1
        self._send(stream_messages.start(self.names, parameters), "start", self.names.stream_sid)
        self._opened = time.monotonic()
        PACER.join(self)
        gevent.spawn(self._read).name = f"{self.names.call_sid} phone-reader"

    def tick(self, moment: float) -> None:
        """Send the frame of this moment, and the marks whose audio has been played."""
        if self.end is not None or moment < self._opened:
            return  # a pacer that is behind makes up for moments before this stream, too
        now = time.monotonic()
        self.late_ms = max(self.late_ms, (now - moment) * 1000)
        self._socket.flush()
        self._send_frame()
        for name in self.playback.due_marks(now):
            self._echo(name)
        self.journal.nudge()

    def press(self, digit: str) -> None:
        self._sequence += 1
        self._send(stream_messages.dtmf(self.names, self._sequence, digit), "dtmf", digit)

    def stop(self) -> None:
        """End the stream as Twilio does when the call ends: `stop`, then the socket is closed."""
        if self.end is None:
            self._sequence += 1
            self._send(stream_messages.stop(self.names, self._sequence), "stop")
            self._over(End.STOPPED)

    def drop(self) -> None:
        """Reset the connection: neither `stop` nor a close."""
        self._over(End.DROPPED)

    def broke(self, error: Exception) -> None:
        if self.end is None:
            self.journal.fault(31903, f"the stream's socket broke: {error!r}")
            self._over(End.BROKEN)

    # Writing

    def _send_frame(self) -> None:
        audio = self.mouth.frame()
        self._chunk += 1
        if self._socket.unsent:
            if self._chunk % 50 == 1:
                self.journal.warn(31930, "the server reads too slowly: caller audio was dropped")
            return
        self._sequence += 1
        payload = _SILENT_PAYLOAD if audio is SILENT_FRAME else b2a_base64(audio, newline=False)
        moment_ms = (self._chunk - 1) * FRAME_MS
        self.sent_at.append(time.monotonic())
        self._socket.write_long_text(self._media % (self._sequence, self._chunk, moment_ms, payload))
        self.sent_frames += 1
        if self.sent is not None:
            self.sent += audio

    def _echo(self, name: str) -> None:
        if not self.returns_marks:
            return
        self._sequence += 1
        self._send(stream_messages.mark(self.names, self._sequence, name), "mark", name)

    def _send(self, text: bytes, kind: str, detail: object = "") -> None:
        try:
            self._socket.write_text(text)
        except OSError as error:
            self.broke(error)
        else:
            self.journal.add("sent", kind, detail)

    # Reading

    def _read(self) -> None:
        try:
            messages = self._socket.next_messages(first=True)
            while True:
                for text in messages:
                    self._message(text)
                messages = self._socket.next_messages()
        except Closed as closed:
            self._server_ended(closed)
        except Exception as error:
            # The root of this greenlet: any fault ends the stream rather than leave it silent.
            self.broke(error)
        self._socket.drain()
        self._read_out.set()

    def _message(self, text: bytes | None) -> None:
        if self.end is not None:
            return
        if text is None:
            self.journal.warn(31950, "a binary message")
            return
        try:
            self._act(stream_messages.read(text, self.names.stream_sid), time.monotonic())
        except Malformed as fault:
            self.journal.warn(31951, str(fault))

    def _act(self, message: Media | Mark | Clear, now: float) -> None:
        due: list[str] = []
        match message:
            case Media(audio):
                self.playback.add(audio, now)
                self.journal.add("received", "media", len(audio))
            case Mark(name):
                self.journal.add("received", "mark", name)
                self.playback.mark(name)
                due = self.playback.due_marks(now)
            case Clear():
                self.journal.add("received", "clear")
                due = self.playback.clear(now)
        for name in due:
            self._echo(name)

    # Ending

    def _server_ended(self, closed: Closed) -> None:
        if self.end is None:
            self.journal.fault(closed.code, str(closed))
            self._over(End.SERVER_CLOSED if closed.code == 31921 else End.BROKEN)

    def _over(self, end: End) -> None:
        if self.end is not None:
            return
        self.end = end
        PACER.leave(self)
        self.playback.clear(time.monotonic())
        if end is End.DROPPED:
            self._socket.reset()
        else:
            gevent.spawn(self._socket.close, self._read_out).name = f"{self.names.call_sid} phone-goodbye"
        self.journal.add("call", "stream-ended", end.value)
        self.on_end()
