"""Clients of the stand-ins, as thin as a client can be: the tests see every message."""

import base64
import time
from collections.abc import Callable
from typing import Any

import gevent
import orjson
import websocket

from voice.sandbox.coded_speech import encode_speech
from voice.sandbox.stand_ins import Sandbox

Message = dict[str, Any]
PCMU: Message = {"type": "audio/pcmu"}
SILENCE_500_MS = b"\xff" * 4000


def until(true: Callable[[], object], seconds: float = 2.0) -> None:
    """Return as soon as `true()` is; fail after `seconds`."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not come to pass"
        gevent.sleep(0.002)


class Client:
    """JSON over one WebSocket."""

    def __init__(self, url: str, headers: list[str]) -> None:
        self.socket = websocket.create_connection(url, timeout=20, header=headers, suppress_origin=True)
        self.received: list[Message] = []
        self.closed_with: tuple[int, str] | None = None

    def send(self, **message: object) -> None:
        self.socket.send(orjson.dumps(message).decode())

    def receive(self) -> Message:
        """The next message. Raises EOFError when the server closed; `closed_with` then has its code and reason."""
        opcode, data = self.socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.closed_with = int.from_bytes(data[:2], "big"), data[2:].decode()
            raise EOFError
        message: Message = orjson.loads(data)
        self.received.append(message)
        return message

    def receive_until(self, matches: Callable[[Message], object]) -> Message:
        while not matches(message := self.receive()):
            pass
        return message

    def vanish(self) -> None:
        """End the TCP connection without a close frame."""
        self.socket.shutdown()  # type: ignore[no-untyped-call]

    def to_the_end(self) -> tuple[int, str]:
        try:
            while True:
                self.receive()
        except EOFError:
            assert self.closed_with is not None
            return self.closed_with


class Transcription(Client):
    """A client of the transcriber."""

    def __init__(self, sandbox: Sandbox, query: str = "?intent=transcription", key: str = "", *more: str) -> None:
        environment = sandbox.environment()
        headers = [f"Authorization: Bearer {key or environment['OPENAI_API_KEY']}", *more]
        super().__init__(environment["OPENAI_REALTIME_URL"] + query, headers)

    def until_type(self, type_: str) -> Message:
        return self.receive_until(lambda message: message["type"] == type_)

    def update(self, type_: str = "transcription", **audio_input: object) -> None:
        self.send(type="session.update", event_id="mine", session={"type": type_, "audio": {"input": audio_input}})

    def configure(self, model: str, turn_detection: Message | None = None, format_: Message | None = None) -> Message:
        self.update(format=format_ or PCMU, transcription={"model": model}, turn_detection=turn_detection)
        return self.until_type("session.updated")

    def append(self, audio: bytes, step: int = 160) -> None:
        for place in range(0, len(audio), step):
            piece = base64.b64encode(audio[place : place + step]).decode()
            self.send(type="input_audio_buffer.append", audio=piece)

    def say(self, text: str, step: int = 160) -> None:
        self.append(encode_speech(text), step)

    def commit(self) -> None:
        self.send(type="input_audio_buffer.commit")

    def completed(self) -> Message:
        return self.until_type("conversation.item.input_audio_transcription.completed")

    def told(self, item_id: str) -> str:
        """All deltas of an item so far."""
        return "".join(m["delta"] for m in self.received if m["type"].endswith(".delta") and m["item_id"] == item_id)


class Synthesis(Client):
    """A client of the synthesizer."""

    QUERY = "model_id=eleven_flash_v2_5&output_format=ulaw_8000&auto_mode=true&sync_alignment=true"

    def __init__(self, sandbox: Sandbox, query: str = QUERY, key: str = "") -> None:
        environment = sandbox.environment()
        base = environment["ELEVENLABS_BASE_URL"].replace("http", "ws", 1)
        url = f"{base}/v1/text-to-speech/ada/multi-stream-input?{query}"
        super().__init__(url, [f"xi-api-key: {key or environment['ELEVENLABS_API_KEY']}"])

    def until_final(self, context_id: str) -> list[Message]:
        """The messages of this context, up to and with its final one."""
        self.receive_until(lambda message: message.get("isFinal") and message["contextId"] == context_id)
        return [message for message in self.received if message.get("contextId") == context_id]


def audio_of(messages: list[Message]) -> bytes:
    return b"".join(base64.b64decode(message["audio"]) for message in messages if message.get("audio"))
