"""The floor: the least work that a call can be, on a C event loop with a C WebSocket library. No conversation logic.

Twilio's audio goes to the transcriber as it came; what the transcriber understood is asked of the language model;
each sentence of the answer is spoken, and its audio goes to the caller in 20 ms frames. The transcriber's own speech
detection says when the caller interrupts. No history, no error is handled, no signature looked at, nothing is kept.
"""

import asyncio
import binascii
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson
import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
)

FRAME_BYTES = 160
FRAME_S = 0.02
SENTENCE = re.compile(r".+?[.!?](?=\s)", re.DOTALL)
TEXT = WSMsgType.TEXT
PAYLOAD = b'"payload":"'
APPEND = b'{"type":"input_audio_buffer.append","audio":"'
SESSION = {
    "type": "transcription",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 600},
        }
    },
}
env = os.environ


class Vendor(WSListener):
    """A vendor's socket: each message, read as JSON, goes to `take`."""

    def __init__(self, take: Callable[[dict], None]) -> None:
        self.take = take
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == TEXT:
            self.take(orjson.loads(frame.get_payload_as_memoryview()))

    def send(self, message: dict) -> None:
        self.transport.send(TEXT, orjson.dumps(message))


class Grok(asyncio.Protocol):
    """One connection to the language model, kept open. `take` gets each token of the latest answer, None at its end."""

    def __init__(self, take: Callable[[str | None], None]) -> None:
        self.take = take
        self.answering = False
        self.unread = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def ask(self, said: str) -> None:
        messages = [{"role": "system", "content": env["INSTRUCTIONS"]}, {"role": "user", "content": said}]
        body = orjson.dumps({"model": "grok-4.20-non-reasoning", "stream": True, "messages": messages})
        address = urlsplit(env["XAI_BASE_URL"])
        head = f"POST {address.path}/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\n"
        head += f"Authorization: Bearer {env['XAI_API_KEY']}\r\nContent-Type: application/json\r\n"
        self.answering, self.unread = True, b""
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def data_received(self, data: bytes) -> None:
        if not self.answering:
            return
        # Each event comes whole, in a line of its own: heads and sizes of chunks are lines, too, and passed over.
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                for choice in orjson.loads(line[6:])["choices"]:
                    self.take(choice["delta"].get("content") or "")
            elif line.startswith(b"data: [DONE]"):
                self.answering = False
                self.take(None)


@dataclass
class Call(WSListener):
    speaking: set["Call"]
    transport: WSTransport | None = None
    media: bytes = b""
    clear: bytes = b""
    audio: bytearray = field(default_factory=bytearray)
    openai: Vendor | None = None
    elevenlabs: Vendor | None = None
    grok: Grok | None = None
    early: list[bytes] = field(default_factory=list)
    """What came before the transcriber was there."""
    answer: str = ""
    turn: int = 0
    open: bool = False
    """The turn has a context at the synthesizer."""

    __hash__ = object.__hash__

    # Twilio

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        message = frame.get_payload_as_bytes()
        place = message.find(PAYLOAD)
        if place >= 0:
            start = place + len(PAYLOAD)
            append = b'%b%b"}' % (APPEND, message[start : message.index(b'"', start)])
            if self.openai is None:
                self.early.append(append)
            else:
                self.openai.transport.send(TEXT, append)
        elif message.startswith(b'{"event":"start"'):
            stream = orjson.loads(message)["streamSid"].encode()
            self.media = b'{"event":"media","streamSid":"%b","media":{"payload":"%%b"}}' % stream
            self.clear = b'{"event":"clear","streamSid":"%b"}' % stream
            asyncio.ensure_future(self.begin())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.speaking.discard(self)
        for vendor in (self.openai, self.elevenlabs):
            if vendor is not None:
                vendor.transport.disconnect()
        if self.grok is not None:
            self.grok.transport.close()

    async def begin(self) -> None:
        voice = f"{env['ELEVENLABS_BASE_URL'].replace('http', 'ws', 1)}/v1/text-to-speech/benchVoice/multi-stream-input"
        asked = "model_id=eleven_flash_v2_5&output_format=ulaw_8000&auto_mode=true&inactivity_timeout=180"
        key = {"xi-api-key": env["ELEVENLABS_API_KEY"]}
        bearer = {"Authorization": f"Bearer {env['OPENAI_API_KEY']}"}
        where = urlsplit(env["XAI_BASE_URL"])
        (_, elevenlabs), (_, openai), (_, self.grok) = await asyncio.gather(
            ws_connect(lambda: Vendor(self.spoken), f"{voice}?{asked}", extra_headers=key),
            ws_connect(
                lambda: Vendor(self.heard), f"{env['OPENAI_REALTIME_URL']}?intent=transcription", extra_headers=bearer
            ),
            asyncio.get_running_loop().create_connection(lambda: Grok(self.token), where.hostname, where.port),
        )
        self.elevenlabs, self.openai = elevenlabs, openai
        openai.send({"type": "session.update", "session": SESSION})
        for append in self.early:
            openai.transport.send(TEXT, append)
        self.say(env["GREETING"])
        self.say(None)

    # The transcriber

    def heard(self, event: dict) -> None:
        if event["type"] == "input_audio_buffer.speech_started":
            self.hush()
        elif event["type"] == "conversation.item.input_audio_transcription.completed":
            self.turn += 1
            self.answer = ""
            self.grok.ask(event["transcript"])

    def hush(self) -> None:
        if self.audio or self.open:
            self.audio.clear()
            self.speaking.discard(self)
            self.transport.send(TEXT, self.clear)
            self.say(None)
            self.turn += 1
            self.grok.answering = False

    # The language model

    def token(self, token: str | None) -> None:
        if token is None:
            if self.answer.strip():
                self.say(self.answer.strip())
            return self.say(None)
        self.answer += token
        while whole := SENTENCE.match(self.answer):
            self.answer = self.answer[whole.end() :]
            self.say(whole[0].strip())

    # The synthesizer

    def say(self, sentence: str | None) -> None:
        """None: the turn is complete."""
        context = {"context_id": str(self.turn)}
        if sentence is None:
            if self.open:
                self.elevenlabs.send({**context, "close_context": True})
            self.open = False
            return
        if not self.open:
            self.open = True
            self.elevenlabs.send({**context, "text": " "})
        self.elevenlabs.send({**context, "text": sentence + " ", "flush": True})

    def spoken(self, message: dict) -> None:
        if message.get("audio") and message["contextId"] == str(self.turn):
            begins = not self.audio
            self.audio += binascii.a2b_base64(message["audio"])
            if begins:
                self.speaking.add(self)
                self.frame()

    # The caller

    def frame(self) -> None:
        """The next 20 ms; the last of a turn are filled up with silence."""
        sound = bytes(self.audio[:FRAME_BYTES])
        del self.audio[:FRAME_BYTES]
        payload = binascii.b2a_base64(sound.ljust(FRAME_BYTES, b"\xff"), newline=False)
        self.transport.send(TEXT, self.media % payload)
        if not self.audio:
            self.speaking.discard(self)


def door(request: WSUpgradeRequest, speaking: set[Call]) -> object:
    if request.path.startswith(b"/twilio/stream"):
        return Call(speaking)
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"ok"), None)


async def main() -> None:
    speaking: set[Call] = set()
    await ws_create_server(lambda request: door(request, speaking), "127.0.0.1", int(env["PORT"]), backlog=2048)
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due += FRAME_S
        await asyncio.sleep(max(0.0, due - loop.time()))
        for call in tuple(speaking):
            call.frame()


if __name__ == "__main__":
    uvloop.run(main())
