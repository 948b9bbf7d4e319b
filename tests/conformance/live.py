"""Twilio's end of a live server's stream, byte by byte, and what the server says of itself meanwhile."""

import base64
import json
import re
import secrets
import socket
from typing import Any

import gevent

from tests.conformance.raw import CLOSE, LIMIT_S, PING, PONG, TEXT, Came, Raw, frame, handshake
from tests.running import Running, wait_until
from tests.web.served import PUBLIC, Served

PATH = "/twilio/stream"
WSS = PUBLIC.replace("https", "wss") + PATH
STREAM_SID = "MZ" + "a" * 32
MEDIA_FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}


class LiveStream:
    """A signed stream, opened."""

    def __init__(
        self, served: Served, headers: dict[str, str] | None = None, sock: socket.socket | None = None
    ) -> None:
        """On a connection that is there, or on one of its own."""
        self._served = served
        sock = sock or socket.create_connection(("127.0.0.1", served.running.server.port), timeout=LIMIT_S)
        self.raw: Raw = handshake(sock, PATH, served.sign(WSS) | (headers or {}))
        self.call_sid = ""
        self.seen: list[Came] = []
        """All frames that have come."""

    def send(self, *messages: object) -> None:
        """Objects as JSON, text as it is."""
        texts = (message if isinstance(message, str) else json.dumps(message) for message in messages)
        self.raw.send(b"".join(frame(TEXT, text.encode()) for text in texts))

    def start(self, call_sid: str, parameters: dict[str, str] | None = None, **changes: object) -> None:
        """`start` with a token of the voice webhook's, unless other parameters are given."""
        self.call_sid = call_sid
        given = self._served.parameters(call_sid) if parameters is None else parameters
        self.send(start(call_sid, given, **changes))

    def next(self) -> Came | None:
        came = self.raw.next()
        if came is not None:
            self.seen.append(came)
        return came

    def messages(self) -> list[dict[str, Any]]:
        """The JSON messages among what has come."""
        return [json.loads(came.payload) for came in self.seen if came.opcode == TEXT]

    def greeted(self) -> "LiveStream":
        """Once the agent speaks. Fails when the stream is closed instead."""
        assert self.speaks(), f"closed instead of greeted: {self.seen[-1:]}"
        return self

    def speaks(self) -> bool:
        """True once the agent has a word on it, False when it is closed instead."""
        try:
            while not any(message["event"] == "media" for message in self.messages()):
                came = self.next()
                if came is None or came.opcode == CLOSE:
                    return False
        except ConnectionError:
            return False
        return True

    def is_open(self) -> bool:
        """Everything sent so far has been read, and the server has not closed."""
        asked = secrets.token_bytes(8)
        try:
            self.raw.send(frame(PING, asked))
            while (came := self.next()) is not None:
                if came.opcode == CLOSE:
                    return False
                if came.opcode == PONG and came.payload == asked:
                    return True
        except ConnectionError:
            pass
        return False

    def code(self) -> int | None:
        """Of the close frame that comes, whatever comes before it; None when the connection ends without one."""
        try:
            while (came := self.next()) is not None:
                if came.opcode == CLOSE:
                    self.end()
                    return came.code
        except ConnectionError:
            pass
        return None

    def feed(self) -> None:
        """Silence at its beat, until the greenlet is killed or the connection is gone."""
        payload = base64.b64encode(b"\xff" * 160).decode()
        message = {"event": "media", "streamSid": STREAM_SID, "media": {"track": "inbound", "payload": payload}}
        try:
            while True:
                self.send(message)
                gevent.sleep(0.02)
        except OSError:
            pass

    def stop(self) -> None:
        """As Twilio ends a stream; nothing can be sent behind it."""
        self.send({"event": "stop", "streamSid": STREAM_SID})
        self.end()

    def end(self) -> None:
        """Our side of the connection, which the server waits for when it has closed its own."""
        try:
            self.raw.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone altogether

    def leave(self) -> None:
        self.raw.sock.close()


def start(call_sid: str, parameters: dict[str, str], **changes: object) -> dict[str, Any]:
    inner = {
        "accountSid": "AC" + "c" * 32,
        "streamSid": STREAM_SID,
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": MEDIA_FORMAT,
        "customParameters": parameters,
        **changes,
    }
    return {"event": "start", "sequenceNumber": "1", "streamSid": STREAM_SID, "start": inner}


def over(running: Running, call_sid: str) -> str:
    """The line that tells the call's end, once it has come."""
    found: list[str] = []

    def told() -> bool:
        found[:] = [line for line in running.lines_of(call_sid) if ": over, " in line]
        return bool(found)

    wait_until(told, 15, f"{call_sid} is over")
    return found[-1]


def skipped(running: Running, call_sid: str) -> int:
    """How many messages of the call's stream made no sense to the server, once the call is over."""
    (number,) = re.findall(r"; (\d+) messages skipped", over(running, call_sid))
    return int(number)
