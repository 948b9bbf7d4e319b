"""Vendors that send any bytes in any pieces, read by the real wires over a connection of 127.0.0.1."""

import functools
import socket
from collections.abc import Callable, Sequence

import gevent
import orjson
from gevent.server import StreamServer
from websockets.utils import accept_key

from tests.conformance.raw import TEXT, frame
from tests.wires.peers import read_request
from voice.core import events as ev
from voice.errors import VendorError
from voice.wires.completion import Usage
from voice.wires.language_model import LanguageModel, Request, Text, ToolCall
from voice.wires.synthesizer import Synthesizer
from voice.wires.transcriber import Transcriber
from voice.wires.transcription_session import Hearing

_ASKED = Request("CA1", "grok-4.20-non-reasoning", [{"role": "user", "content": "Hello"}])
EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_SSE_TO_THE_END = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
_LIMIT_S = 20.0


def framed(message: object) -> bytes:
    """A server's frame; bytes as they are, anything else as JSON."""
    return frame(TEXT, message if isinstance(message, bytes) else orjson.dumps(message), mask=None)


READY = framed({"type": "session.created", "session": {}}) + framed({"type": "session.updated"})
"""What a session of the transcriber's begins with."""


class _Host:
    """One listener for all examples: a hundred thousand of them would use up the ports of the machine."""

    def __init__(self) -> None:
        self._serve: Callable[[socket.socket], object] = lambda connection: None
        self._server = StreamServer(("127.0.0.1", 0), lambda connection, _: self._serve(connection))
        self._server.start()

    def serving(self, serve: Callable[[socket.socket], object]) -> int:
        """Its port; from now on this is done with every connection."""
        self._serve = serve
        return int(self._server.server_port)


@functools.cache
def _host() -> _Host:
    return _Host()


def _pieces_to(connection: socket.socket, pieces: Sequence[bytes]) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for piece in pieces:
            connection.sendall(piece)
            gevent.sleep(0)  # the reader takes what is there, so that each piece is seen alone
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # what the wire still has to say must not become a reset
            pass
    except OSError:
        pass


def _websocket(pieces: Sequence[bytes]) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        head = read_request(connection).decode("latin-1").split("\r\n")
        (key,) = (line.partition(": ")[2] for line in head if line.lower().startswith("sec-websocket-key:"))
        lines = "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"
        connection.sendall("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept_key(key)}", "", ""]).encode())
        _pieces_to(connection, pieces)

    return serve


def heard(pieces: Sequence[bytes], model: str = "gpt-live-transcribe") -> tuple[list[ev.Event], VendorError]:
    """What the transcriber makes of these bytes, and with which error they end."""
    events: list[ev.Event] = []
    port = _host().serving(_websocket(pieces))
    with gevent.Timeout(_LIMIT_S):
        transcriber = Transcriber(f"ws://127.0.0.1:{port}", "key", model, "pcmu", "a-call")
        try:
            transcriber.connect()
            events.append(transcriber.begin(Hearing("en", (), 500)))
            while True:
                if event := transcriber.next():
                    events.append(event)
        except VendorError as error:
            return events, error
        finally:
            transcriber.shutdown()


def spoken(pieces: Sequence[bytes]) -> tuple[list[ev.Event], VendorError]:
    """The same of the synthesizer."""
    events: list[ev.Event] = []
    port = _host().serving(_websocket(pieces))
    with gevent.Timeout(_LIMIT_S):
        synthesizer = Synthesizer(f"ws://127.0.0.1:{port}", "key", "eleven_flash_v2_5", "a-voice", "en", {})
        try:
            synthesizer.connect()
            for event in synthesizer.events():
                events.append(event)
        except VendorError as error:
            return events, error
        finally:
            synthesizer.shutdown()
    raise AssertionError("the events ended without an error")


def written(pieces: Sequence[bytes], chunked: bool = True) -> tuple[list[Text | ToolCall | Usage], VendorError | None]:
    """The same of the language model, whose answers may end well; `chunked` by HTTP, each piece a chunk."""
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece] + [b"0\r\n\r\n"]
    whole = [EVENT_STREAM, *chunks] if chunked else [_SSE_TO_THE_END, *pieces]
    return asked(lambda connection: _pieces_to(connection, whole))


def asked(serve: Callable[[socket.socket], object]) -> tuple[list[Text | ToolCall | Usage], VendorError | None]:
    """The language model's answer by a server that does this once it has got the request."""

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        serve(connection)

    parts: list[Text | ToolCall | Usage] = []
    port = _host().serving(answer)
    with gevent.Timeout(_LIMIT_S):
        model = LanguageModel(f"http://127.0.0.1:{port}/v1", "key", 1)
        try:
            for part in model.stream(_ASKED):
                parts.append(part)
        except VendorError as error:
            return parts, error
        finally:
            model.close()
    return parts, None
