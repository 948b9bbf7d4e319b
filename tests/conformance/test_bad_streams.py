"""Bad frames and bad messages on a live server's stream, with a healthy call beside them."""

import base64
import json
import socket
import time
import zlib
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from tests.conformance.inputs import each
from tests.conformance.live import PATH, STREAM_SID, WSS, LiveStream, over, skipped
from tests.conformance.raw import BINARY, CONT, LIMIT_S, PING, TEXT, Refused, frame
from tests.web.served import Served, new_call_sid
from voice.web.tokens import LIFETIME_S

pytestmark = pytest.mark.usefixtures("healthy")
MB = 1 << 20

# Frames. A number is the code of the close, or the status that answers the upgrade; 0: nothing comes of it.
#
# Different from the words of the input: a length of 2^63 is too great (1009) before it is malformed (1002); a length
# that is written longer than it has to be is read all the same; 20,000 frames are read and skipped one by one, so that
# there is no queue that could be full.
FRAMES: dict[str, int] = {
    "unmasked text": 1002,
    "truncated utf-8 at message end": 1007,
    "reserved opcode 3": 1002,
    "ping with 126 bytes": 1002,
    "continuation without start": 1002,
    "close code 1005 on the wire": 1002,
    "length 2^63": 1009,
    "non-minimal length": 0,
    "1 MB text message": 1009,
    "endless fragments, fin never set": 1009,
    "deflate bomb 199 kB -> 200 MB": 1002,
    "20,000 frames at once, reader deaf": 0,
    "upgrade with Sec-WebSocket-Version 12": 400,
    "upgrade by POST": 405,
    "upgrade from a browser Origin": 403,
}


def _frames(payload: Any) -> list[bytes]:
    """The bytes that a payload stands for, in pieces."""
    match payload:
        case {"_hex": str(digits)}:
            return [bytes.fromhex(digits)]
        case {"_frames": ["ping", str(text)]}:
            return [frame(PING, text.encode())]
        case {"_frames": ["text fin=0", str(text)]}:
            piece = text[: 1 << 20].encode()
            return [frame(TEXT, piece, fin=False), *[frame(CONT, piece, fin=False)] * (len(text) // len(piece) - 1)]
        case {"_frames": ["binary rsv1", _]}:
            # As much as one message may hold: what is greater is refused for its size.
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            bomb = b"".join(packer.compress(bytes(MB)) for _ in range(60)) + packer.flush(zlib.Z_SYNC_FLUSH)
            return [frame(BINARY, bomb[:-4], rsv=4)]
        case {"_frames": ["text 1000 bytes x20000"]}:
            return [frame(TEXT, b"x" * 1000) * 100] * 200
    return [frame(TEXT, payload.encode())]


def _offer_all(stream: LiveStream, pieces: list[bytes]) -> None:
    for piece in pieces:
        stream.raw.offer(piece)


@pytest.mark.threat(15, 18)
@each("ws_frame", FRAMES, elsewhere=("half a frame then silence",))
def test_a_bad_frame(served: Served, payload: Any, expect: int) -> None:
    memory = served.running.memory_mb()
    if 0 < expect < 1000:
        _refuses_to_upgrade(served, payload, expect)
        return
    stream = LiveStream(served)
    sender = gevent.spawn(_offer_all, stream, _frames(payload))
    if expect:
        assert stream.code() == expect
    sender.get(timeout=LIMIT_S)
    if not expect:
        assert stream.is_open()
    stream.leave()
    assert served.running.memory_mb() - memory < 4


def _refuses_to_upgrade(served: Served, payload: Any, status: int) -> None:
    before = served.vendors_connected()
    with pytest.raises(Refused) as caught:
        if "_method" in payload:
            raise Refused(_post_upgrade(served))
        LiveStream(served, payload["_headers"])
    assert caught.value.status == status
    assert served.vendors_connected() == before


def _post_upgrade(served: Served) -> int:
    lines = served.sign(WSS) | {
        "Host": "x",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", served.running.server.port), timeout=LIMIT_S) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode())
        return int(connection.recv(65536).split()[1])


# Messages. What comes of one is a number: how often a message is skipped, or, from 1000 on, the code of the close.
#
# Different from the words of the input: a callSid that no text can hold is no JSON and thus skipped, not refused; a
# start in another format is refused like any other (1008, not 1003); a live stream that breaks the protocol is lost,
# and Twilio asks how the call goes on (1000, not 1008).

Check = Callable[[Served, Any], None]


def _once(before: int, after: int) -> Check:
    """One message, before `start` and on a live stream."""

    def check(served: Served, payload: str) -> None:
        stream = LiveStream(served)
        stream.send(payload)
        if before >= 1000:
            assert stream.code() == before
            return
        stream.start(new_call_sid())
        assert stream.greeted().is_open()
        stream.stop()
        assert skipped(served.running, stream.call_sid) == before

    def check_live(served: Served, payload: str) -> None:
        stream = LiveStream(served)
        stream.start(new_call_sid())
        stream.greeted().send(payload)
        if after >= 1000:
            assert stream.code() == after
            over(served.running, stream.call_sid)
            return
        assert stream.is_open()
        stream.stop()
        assert skipped(served.running, stream.call_sid) == after

    def both(served: Served, payload: str) -> None:
        check(served, payload)
        check_live(served, payload)

    return both


def _whole(expected: int, result: str = "completed") -> Check:
    """A stream from its `start` on, with a call and a token of its own in it."""

    def check(served: Served, payload: Any) -> None:
        stream = LiveStream(served)
        stream.call_sid = new_call_sid()
        token = served.parameters(stream.call_sid)["token"]
        text = json.dumps(payload if isinstance(payload, list) else [payload])
        stream.send(*json.loads(text.replace("CA" + "b" * 32, stream.call_sid).replace("TOKEN", token)))
        if expected == 1008:
            assert stream.code() == 1008
            assert "started as" not in served.log()
            return
        if expected < 1000:
            assert stream.greeted().is_open()
            stream.stop()
            assert skipped(served.running, stream.call_sid) == expected
        assert f": over, {result}, " in over(served.running, stream.call_sid)
        assert stream.code() == 1000

    return check


def _expired(served: Served, payload: Any) -> None:
    class Aged(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time()) - LIFETIME_S - 1

    secret = served.sandbox.twilio.auth_token
    call_sid = new_call_sid()
    given = served.parameters(call_sid)
    salt = "twilio-stream"
    content = URLSafeTimedSerializer(secret, salt=salt).loads(given["token"])
    aged = str(URLSafeTimedSerializer(secret, salt=salt, signer=Aged).dumps(content))
    stream = LiveStream(served)
    stream.start(call_sid, given | {"token": aged})
    assert stream.code() == 1008
    assert "missing, wrong or too old" in served.wait_for_log("refused: ")


def _flood_of_audio(served: Served, payload: Any) -> None:
    """Ten seconds' worth ten times as fast, and then as fast as can be."""
    stream = LiveStream(served)
    stream.start(new_call_sid())
    stream.greeted()
    began = time.monotonic()
    frame_ = base64.b64encode(b"\xff" * 160).decode()
    message = {"event": "media", "streamSid": STREAM_SID, "media": {"track": "inbound", "payload": frame_}}
    stream.send(*[message] * 5000)
    assert stream.is_open()
    stream.stop()
    kept = 5000 - skipped(served.running, stream.call_sid)
    assert 100 <= kept <= 100 + (time.monotonic() - began) * 50 + 1
    session = max(served.sandbox.openai.sessions, key=lambda session: session.connected_at)
    assert len(session.audio) <= kept * 160


def _flood_of_digits(served: Served, payload: Any) -> None:
    stream = LiveStream(served)
    stream.start(new_call_sid())
    stream.greeted()
    began = time.monotonic()
    stream.send(*[{"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": "5"}}] * 1000)
    assert stream.is_open()
    stream.stop()
    kept = 1000 - skipped(served.running, stream.call_sid)
    assert 32 <= kept <= 32 + (time.monotonic() - began) * 10 + 1


MESSAGES: dict[str, Check] = {
    "empty text": _once(1, 1),
    "JSON null": _once(1, 1),
    "JSON string": _once(1, 1),
    "no event key": _once(1, 1),
    "event unknown": _once(1, 1),
    "duplicate JSON keys": _once(1008, 1000),
    "NaN and Infinity": _once(1, 1),
    "lone surrogate in callSid": _once(1, 1),
    "UTF-8 BOM before JSON": _once(1, 1),
    "mark before start": _once(1, 0),
    "stop before start": _once(1008, 1000),
    "start twice, other callSid": _whole(1000, "lost"),
    "media after stop": _whole(1000),
    "connected twice": _whole(0),
    "start with start=null": _once(1008, 1000),
    "start with a wrong token": _whole(1008),
    "start with an expired token": _expired,
    "callSid is a path": _whole(1008),
    "mediaFormat audio/l16 16000": _whole(1008),
    "customParameters value is markup": _whole(0),
    "media payload not base64": _once(1, 1),
    "media payload number": _once(1, 1),
    "media payload empty": _once(1, 1),
    "media payload 48 kB (6 s)": _once(1, 1),
    "media track outbound": _once(1, 1),
    "media 500 messages a second": _flood_of_audio,
    "sequence is not a number": _once(1, 0),
    "timestamp negative": _once(1, 0),
    "mark without name": _whole(1),
    "dtmf digit 12": _whole(1),
    "dtmf 1,000 a second": _flood_of_digits,
}


@each("twilio_ws", MESSAGES, elsewhere=("start, then no media for 10 s",))
def test_a_bad_message(served: Served, payload: Any, expect: Check) -> None:
    expect(served, payload)
