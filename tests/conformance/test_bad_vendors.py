"""Bad answers of the vendors and of the operator's own web services, read by the real wires."""

import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import orjson
import pytest

from tests.conformance.inputs import each, payloads, surfaces
from tests.conformance.raw import BINARY, CLOSE, frame
from tests.conformance.vendor_bytes import EVENT_STREAM, READY, asked, framed, heard, spoken, written
from tests.core.stories import Story
from tests.tools.desk import CALL, CALLER, DESK, Host, answer, serving
from tests.wires.peers import read_request, tcp_server
from voice.core import events as ev
from voice.core.speakable import speakable
from voice.errors import VendorError, VendorRefused, VendorUnavailable
from voice.tools import Toolbox, webhook
from voice.wires import language_model
from voice.wires.clips import Clips, Voice
from voice.wires.language_model import Text, ToolCall
from voice.wires.synthesizer import Synthesizer

Check = Callable[[Any], None]
SERVER_VAD = "gpt-4o-transcribe"
_OF = "conversation.item.input_audio_transcription."
LATER = framed({"type": "input_audio_buffer.committed", "item_id": "later"})


def _all(payload: Any) -> bytes:
    """The frames of a payload: JSON, raw bytes as a binary message, `close <code>`."""
    match payload:
        case str() if payload.startswith("close "):
            return frame(CLOSE, int(payload[6:]).to_bytes(2, "big"), mask=None)
        case str():
            return framed(payload.encode())
        case {"_hex": str(digits)}:
            return frame(BINARY, bytes.fromhex(digits), mask=None)
        case list():
            return b"".join(map(_all, payload))
    return framed(payload)


# The transcriber


def _refused(payload: Any) -> None:
    events, error = heard([_all(payload)])
    assert events == [] and isinstance(error, VendorRefused)
    assert error.account == ("invalid_api_key" in str(payload))


def _passed_over(payload: Any) -> None:
    events, _ = heard([READY + _all(payload) + LATER])
    assert events[1:] == [ev.UtteranceCommitted("later")]


def _answered_to(payload: Any) -> list[str]:
    """The caller speaks once, and the transcriber says this of it: what the model is asked then."""
    story = Story()
    story.starts(3)
    story.stops(4)
    events, _ = heard([READY + _all(payload)])
    told = [action for event in events[1:] for action in story.at(4.5, event)]
    while (deadline := story.conversation.deadline) is not None and deadline < 20:
        told += story.passes()
    asked_of = {action.turn for action in told if isinstance(action, ev.StartReply)}
    words = [str(m["content"]) for m in story.conversation.transcript.messages() if m["role"] == "user"]
    assert len(words) == len(asked_of)
    return words


def _one_turn(payload: Any) -> None:
    assert _answered_to(payload) == ["hi"]


def _no_turn(payload: Any) -> None:
    assert _answered_to(payload) == []


def _cut_short(payload: Any) -> None:
    events, _ = heard([READY + _all(payload)])
    (finished,) = events[1:]
    assert isinstance(finished, ev.TranscriptFinished) and finished.text == "x" * 4000


def _lost(code: int) -> Check:
    def check(payload: Any) -> None:
        events, error = heard([READY + _all(payload)])
        assert len(events) == 1 and type(error) is VendorUnavailable and str(code) in str(error)

    return check


# How the call goes on after a lost session is shown by whole calls.
TRANSCRIBER: dict[str, Check] = {
    "101 then error invalid_api_key and close 3000": _refused,
    "session.update answered by error": _refused,
    "type missing": _passed_over,
    "binary frame": _passed_over,
    "completed twice for one item": _one_turn,
    "completed with empty transcript": _no_turn,
    "transcript 1 MB": _cut_short,
    "close 1011 mid-utterance": _lost(1011),
}


@each("openai_ws", TRANSCRIBER, elsewhere=("speech_started without speech_stopped",))
def test_a_bad_word_of_the_transcriber(payload: Any, expect: Check) -> None:
    expect(payload)


def test_speech_whose_end_is_never_told_is_answered_all_the_same() -> None:
    events, _ = heard([READY + _all(payloads("openai_ws")["speech_started without speech_stopped"])], SERVER_VAD)
    story = Story()
    for event in (*events[1:], ev.TranscriptFinished("i", "When do you open?")):
        story.at(3, event)
    story.passes_until(ev.StartReply)


# The language model


def _answered(kind: type[VendorError], words: str) -> Check:
    """A whole HTTP response in the place of the stream."""

    def check(payload: dict[str, Any]) -> None:
        body = payload["_body"].encode()
        headers = {"Content-Type": "application/json"} | payload.get("_headers", {})
        lines = [f"HTTP/1.1 {payload['_status']} X", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        parts, error = asked(lambda connection: connection.sendall("\r\n".join([*lines, "", ""]).encode() + body))
        assert parts == [] and type(error) is kind and words in str(error)

    return check


def _chunks(*texts: str) -> bytes:
    return b"".join(b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % text.encode() for text in texts)


def _skipped(payload: str) -> None:
    parts, error = written([_chunks("a") + payload.encode() + _chunks("b")])
    assert (parts, error) == ([Text("a"), Text("b")], None)


def _skipped_twice(payload: str) -> None:
    _skipped(payload)
    _skipped(payload * 2)
    _, error = written([payload.encode() * 3])
    assert "three lines in a row that are not JSON" in str(error)


def _stalls(payload: Any) -> None:
    def serve(connection: socket.socket) -> None:
        text = _chunks("One")
        connection.sendall(EVENT_STREAM + b"%x\r\n%s\r\n" % (len(text), text))
        connection.recv(1)

    began = time.monotonic()
    parts, error = asked(serve)
    assert parts == [Text("One")] and type(error) is VendorUnavailable
    assert language_model.READ_TIMEOUT_S - 0.1 <= time.monotonic() - began <= 4.5


def _endless_line(payload: str) -> None:
    began = time.monotonic()
    parts, error = written([payload[at : at + 65536].encode() for at in range(0, len(payload), 65536)])
    assert parts == [] and "a line without end" in str(error)
    assert time.monotonic() - began < 1


def _parsed(payload: str) -> None:
    assert written([payload.encode()]) == ([Text("a")], None)
    assert written([payload.replace("\n", "\r\n").encode()]) == ([Text("a")], None)


def _no_such_tool(payload: str) -> None:
    (call,), error = written([payload.encode()])
    assert isinstance(call, ToolCall) and error is None
    outcome = Toolbox(DESK, CALL, CALLER, None, {}).run(call.call_id, call.name, call.arguments)
    assert "there is no tool 'rm_rf'" in outcome.result


def _endless_answer(payload: Any) -> None:
    def serve(connection: socket.socket) -> None:
        text = _chunks("more ")
        try:
            connection.sendall(EVENT_STREAM)
            while True:
                connection.sendall(b"%x\r\n%s\r\n" % (len(text), text))
                gevent.sleep(0)
        except OSError:
            pass

    parts, error = asked(serve)
    # 300 tokens were allowed.
    assert (len(parts), error) == (600, None)


def _not_read_out(payload: str) -> None:
    (text,), _ = written([payload.encode()])
    assert isinstance(text, Text) and "sk-abcdef" in text.text
    assert "sk-" not in speakable(f"It is {text.text}.", {})


LANGUAGE_MODEL: dict[str, Check] = {
    "429 no Retry-After": _answered(VendorUnavailable, "rate"),
    "403 out of credit": _answered(VendorRefused, "used all available credits"),
    "200 with HTML": _answered(VendorUnavailable, "no text/event-stream but text/html"),
    "data: not JSON": _skipped_twice,
    "choices empty list": _skipped,
    "content is a list": _skipped,
    "stall after first token": _stalls,
    "line of 10 MB without newline": _endless_line,
    "CRLF and comment lines": _parsed,
    "tool call to an unknown tool": _no_such_tool,
    "answer 50,000 tokens": _endless_answer,
    "answer contains the system prompt / key pattern": _not_read_out,
}


@each("grok_sse", LANGUAGE_MODEL)
def test_a_bad_answer_of_the_language_model(payload: Any, expect: Check) -> None:
    expect(payload)


# The synthesizer


def _over(payload: Any) -> None:
    events, error = spoken([_all(payload)])
    assert events == [ev.SynthesizerReady()] and type(error) is VendorUnavailable and "1008" in str(error)


def _never_played(payload: Any) -> None:
    text = payload if isinstance(payload, str) else orjson.dumps(payload).decode()
    for context in ("t1", "turn-1", "old"):
        events, _ = spoken([framed(text.replace('"t1"', f'"{context}"').encode())])
        assert not any(isinstance(event, ev.SpeechArrived) for event in events)


def _only_the_end(payload: Any) -> None:
    text = payload if isinstance(payload, str) else orjson.dumps(payload).decode()
    events, _ = spoken([framed(text.replace('"t1"', '"turn-1"').encode())])
    assert events[1:] == [ev.SpeechFinished(1)]


def _says_nothing(payload: Any) -> None:
    assert spoken([_all(payload)])[0] == [ev.SynthesizerReady()]


def _not_let_in(payload: Any) -> None:
    body = b'{"detail":{"status":"quota_exceeded"}}'

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(body, f"{payload['_status']} X"))

    with tcp_server(serve) as port, pytest.raises(VendorRefused, match="quota_exceeded") as caught:
        Synthesizer(f"ws://127.0.0.1:{port}", "key", "eleven_flash_v2_5", "a-voice", "en", {}).connect()
    assert caught.value.account


SYNTHESIZER: dict[str, Check] = {
    "close 1008 input_timeout_exceeded": _over,
    "audio for a dead context": _never_played,
    "audio odd length / not mu-law (JSON bytes)": _never_played,
    "isFinal with no audio at all": _only_the_end,
    "binary frame": _says_nothing,
    "401 quota_exceeded on upgrade": _not_let_in,
}


@pytest.mark.threat(25)
@each("elevenlabs", SYNTHESIZER)
def test_a_bad_message_of_the_synthesizer(payload: Any, expect: Check) -> None:
    expect(payload)


@pytest.mark.threat(25)
@pytest.mark.parametrize("body", [b'{"detail": "quota_exceeded"}', "<p>Zu viele Anfragen – später</p>".encode()])
def test_a_text_in_the_place_of_a_clip_is_neither_played_nor_kept(tmp_path: Path, body: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(body, "200 OK", "Content-Type: application/json"))

    with tcp_server(serve) as port:
        clips = Clips(f"http://127.0.0.1:{port}", "key", "eleven_flash_v2_5", tmp_path)
        voice = Voice("a-voice", "en")
        clips.fetch(voice, "Hello.")
        assert clips.get(voice, "Hello.") is None and list(tmp_path.iterdir()) == []
        with pytest.raises(VendorUnavailable):
            clips.synthesize(voice, "Hello.")


# The operator's web services


def _told(serve: Callable[[socket.socket], object], timeout_s: float = 5.0) -> dict[str, Any]:
    with tcp_server(serve) as port:
        tool = Host(port=port).tool(timeout_s=timeout_s)
        told: dict[str, Any] = orjson.loads(webhook.run("find", tool, {"id": "7"}, CALL, "call_1"))
    return told


def _read_in_part(payload: str) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        try:
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(payload)}\r\n\r\n".encode())
            connection.sendall(payload.encode())
        except OSError:
            pass

    told = _told(serve)
    assert told["note"] == "only the first 4000 characters of more than 65536 bytes"
    assert len(told["body"]) == 4000


def _cut_off(payload: Any) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                connection.sendall(b"x")
                gevent.sleep(0.1)
        except OSError:
            pass

    began = time.monotonic()
    assert "error" in _told(serve, timeout_s=1.0)
    assert 0.9 <= time.monotonic() - began <= 1.5


def _not_followed(payload: dict[str, Any]) -> None:
    host = Host(answer(b"", "302 Found", f"Location: {payload['_headers']['Location']}"))
    with serving(host):
        told = orjson.loads(webhook.run("find", host.tool(), {"id": "7"}, CALL, "call_1"))
    assert told == {"status": 302, "error": "it points to another address, which is not followed"}
    assert len(host.seen) == 1


def _not_unpacked(payload: dict[str, Any]) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(50)) + packer.flush()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(bomb, "200 OK", "Content-Encoding: gzip"))

    assert _told(serve) == {"status": 200, "error": "its answer is compressed, which was not asked for"}


WEB_SERVICES: dict[str, Check] = {
    "answer 50 MB": _read_in_part,
    "drip 1 byte/s": _cut_off,
    "redirect to loopback": _not_followed,
    "gzip bomb": _not_unpacked,
}


@pytest.mark.threat(8)
@each("tool_webhook", WEB_SERVICES)
def test_a_bad_answer_of_a_web_service(payload: Any, expect: Check) -> None:
    expect(payload)


def test_every_surface_is_tested() -> None:
    ours = {"ws_frame", "twilio_ws", "webhook_voice", "webhook_status", "rest_api", "config"}
    vendors = {"openai_ws", "grok_sse", "elevenlabs", "tool_webhook", "dashboard"}
    assert surfaces() == ours | vendors
