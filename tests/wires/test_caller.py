"""The caller's wire over a real socket: what Twilio may send, what nobody should, and the bytes that go back."""

import base64
import json
import time
from typing import Any

import gevent
import pytest

from tests.wires.loopback import LIMIT_S, Line
from voice.core.audio import FRAME_BYTES, Audio
from voice.errors import CallerStreamError
from voice.wires.caller import Caller, Digit, Mark, Media, Message, Started, Stopped
from voice.wires.stream_socket import Patience, StreamClosed

CALL_SID = "CA" + "b" * 32
STREAM_SID = "MZ" + "a" * 32
SILENCE = b"\xff" * 160
STOP = '{"event":"stop","sequenceNumber":"9","stop":{"callSid":"CA"},"streamSid":"MZ"}'


def start(**changes: Any) -> dict[str, Any]:
    """Twilio's `start`; a change to None takes the key out."""
    inner: dict[str, Any] = {
        "accountSid": "AC" + "c" * 32,
        "streamSid": STREAM_SID,
        "callSid": CALL_SID,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": "t", "agent": "a"},
    }
    inner = {key: value for key, value in (inner | changes).items() if value is not None}
    return {"event": "start", "sequenceNumber": "1", "streamSid": STREAM_SID, "start": inner}


def media(payload: object = base64.b64encode(SILENCE).decode(), **changes: Any) -> str:
    inner = {"track": "inbound", "chunk": "1", "timestamp": "20", "payload": payload} | changes
    return json.dumps({"event": "media", "sequenceNumber": "2", "streamSid": STREAM_SID, "media": inner})


def mark(name: object) -> str:
    return json.dumps({"event": "mark", "sequenceNumber": "2", "streamSid": STREAM_SID, "mark": {"name": name}})


def digit(key: object) -> str:
    return json.dumps({"event": "dtmf", "streamSid": STREAM_SID, "dtmf": {"track": "inbound_track", "digit": key}})


@pytest.fixture
def caller(line: Line) -> Caller:
    return Caller(line.stream, "the call")


def started(line: Line, caller: Caller) -> Started:
    line.peer.text(json.dumps(start()))
    return caller.wait_for_start(LIMIT_S)


def one_by_one() -> Patience:
    return Patience()


def heard(line: Line, caller: Caller, *texts: str | bytes) -> list[Message]:
    """What a started stream makes of these messages and a `stop` after them."""
    started(line, caller)
    for text in (*texts, STOP):
        line.peer.protocol.send_text(text.encode() if isinstance(text, str) else text)
    sender = gevent.spawn(line.peer.flush)
    messages = list(caller.messages(one_by_one, LIMIT_S))
    sender.get(timeout=LIMIT_S)
    assert messages[-1] == Stopped()
    return messages[:-1]


# The start


def test_a_call_begins_as_twilio_begins_it(line: Line, caller: Caller) -> None:
    line.peer.text('{"event":"connected","protocol":"Call","version":"1.0.0"}')
    line.peer.text(json.dumps(start()))
    assert caller.wait_for_start() == Started(CALL_SID, STREAM_SID, {"token": "t", "agent": "a"})
    assert caller.skipped == {}


def test_connected_may_come_twice_and_parameters_not_at_all(line: Line, caller: Caller) -> None:
    for text in ('{"event":"connected"}', '{"event":"connected"}', json.dumps(start(customParameters=None))):
        line.peer.text(text)
    assert caller.wait_for_start().parameters == {}
    assert caller.skipped == {}


def test_parameters_are_text_whatever_is_in_them_and_stay_out_of_reprs(line: Line, caller: Caller) -> None:
    markup = "<script>alert(1)</script>\n\x1b[31m\u2028"
    line.peer.text(json.dumps(start(customParameters={"note": markup})))
    begun = caller.wait_for_start()
    assert begun.parameters == {"note": markup}
    assert "script" not in repr(begun)


REFUSED = {
    "no start": {"event": "start"},
    "start is null": {"event": "start", "start": None},
    "start is a list": {"event": "start", "start": [CALL_SID]},
    "start is text": {"event": "start", "start": CALL_SID},
    "no callSid": start(callSid=None),
    "callSid is a number": start(callSid=5),
    "callSid is a path": start(callSid="../../etc/passwd"),
    "callSid with a line end": start(callSid=CALL_SID + "\n"),
    "callSid in capitals": start(callSid="CA" + "B" * 32),
    "callSid with other digits": start(callSid="CA" + "٣" * 32),
    "callSid too long": start(callSid=CALL_SID + "b"),
    "no streamSid": start(streamSid=None),
    "streamSid with a quote": start(streamSid='MZ"' + "a" * 31),
    "streamSid is a call's": start(streamSid=CALL_SID),
    "no mediaFormat": start(mediaFormat=None),
    "mediaFormat is text": start(mediaFormat="audio/x-mulaw"),
    "linear audio": start(mediaFormat={"encoding": "audio/l16", "sampleRate": 16000, "channels": 1}),
    "16 kHz": start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}),
    "two channels": start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2}),
    "rate as text": start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": "8000", "channels": 1}),
    "parameters are a list": start(customParameters=["token"]),
    "a parameter is a number": start(customParameters={"token": 5}),
    "a parameter is an object": start(customParameters={"token": {"a": "b"}}),
    "stop before start": {"event": "stop"},
}


@pytest.mark.parametrize("message", REFUSED.values(), ids=REFUSED)
def test_a_start_that_makes_no_sense_is_refused(line: Line, caller: Caller, message: dict[str, Any]) -> None:
    line.peer.text(json.dumps(message))
    with pytest.raises(CallerStreamError) as caught:
        caller.wait_for_start(LIMIT_S)
    assert str(caught.value).isascii() and "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_start_nested_too_deeply_to_be_written_out_is_refused(line: Line, caller: Caller) -> None:
    line.peer.text('{"event":"start","start":{"callSid":' + "[" * 1000 + "]" * 1000 + "}}")
    with pytest.raises(CallerStreamError, match="malformed start"):
        caller.wait_for_start(LIMIT_S)


def test_a_start_with_a_lone_surrogate_is_no_json_and_is_not_the_start(line: Line, caller: Caller) -> None:
    line.peer.text('{"event":"start","start":{"callSid":"\\ud800"}}')
    with pytest.raises(CallerStreamError, match="no start within"):
        caller.wait_for_start(0.05)
    assert caller.skipped == {"not JSON": 1}


def test_a_start_that_does_not_come_is_not_waited_for_whatever_else_comes(line: Line, caller: Caller) -> None:
    chatter = gevent.spawn(chatter_forever, line)
    begun = time.monotonic()
    with pytest.raises(CallerStreamError, match="no start within 0.2 s"):
        caller.wait_for_start(0.2)
    assert time.monotonic() - begun < 1
    assert caller.skipped["before start"] > 1
    chatter.kill()


def chatter_forever(line: Line) -> None:
    while True:
        line.peer.text(media())
        gevent.sleep(0.01)


def test_a_stream_that_ends_before_its_start(line: Line, caller: Caller) -> None:
    line.peer.sock.close()
    with pytest.raises(StreamClosed):
        caller.wait_for_start(LIMIT_S)


# What comes after it


def test_what_twilio_sends_is_understood(line: Line, caller: Caller) -> None:
    texts = (media(), mark("3:1200"), digit("1"), digit("*"), digit("#"), digit("D"), media("gIGC"))
    assert heard(line, caller, *texts) == [
        Media(SILENCE),
        Mark("3:1200"),
        Digit("1"),
        Digit("*"),
        Digit("#"),
        Digit("D"),
        Media(b"\x80\x81\x82"),
    ]
    assert caller.skipped == {}


def test_the_stream_is_over_at_its_stop(line: Line, caller: Caller) -> None:
    started(line, caller)
    for text in (media(), STOP, media(), "not read any more"):
        line.peer.text(text)
    assert list(caller.messages(one_by_one, LIMIT_S)) == [Media(SILENCE), Stopped()]
    assert caller.skipped == {}


KEPT = {
    "audio of any length": (media("gA=="), Media(b"\x80")),
    "no track": (json.dumps({"event": "media", "media": {"payload": "gIA="}}), Media(b"\x80\x80")),
    "the sequence is no number": (media().replace('"2"', '"abc"'), Media(SILENCE)),
    "a negative timestamp": (media(timestamp="-1"), Media(SILENCE)),
    "keys nobody knows": (media(codec={"a": [1, 2]}), Media(SILENCE)),
    "the last of two keys counts": ('{"event":"stop","event":"mark","mark":{"name":"a"}}', Mark("a")),
    "a mark of any name": (mark("\u2028 \x00 ünï"), Mark("\u2028 \x00 ünï")),
    "white space": ('\n {"event" : "mark",\t"mark":{"name":""}} \r\n', Mark("")),
}


@pytest.mark.parametrize(("text", "meant"), KEPT.values(), ids=KEPT)
def test_what_is_odd_and_makes_sense_is_kept(line: Line, caller: Caller, text: str, meant: Message) -> None:
    assert heard(line, caller, text) == [meant]
    assert caller.skipped == {}


SKIPPED: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "not JSON"),
    "no JSON": ("hello", "not JSON"),
    "half a message": (media()[:-1], "not JSON"),
    "two messages in one": (media() * 2, "not JSON"),
    "a lone surrogate, escaped": ('{"event":"mark","mark":{"name":"\\ud800"}}', "not JSON"),
    "a byte order mark": ("\ufeff" + mark("a"), "not JSON"),
    "NaN and Infinity": ('{"event":"media","media":{"timestamp":NaN,"payload":Infinity}}', "not JSON"),
    "a number of 5,000 digits": ('{"event":"mark","mark":{"name":' + "9" * 5000 + "}}", "not JSON"),
    "60,000 brackets": ("[" * 60_000, "not JSON"),
    "30,000 brackets in pairs": ("[" * 30_000 + "]" * 30_000, "not JSON"),
    "brackets within an event": ('{"event":"mark","mark":' + "[" * 1000 + "]" * 1000 + "}", "malformed mark"),
    "brackets in an unknown event": ('{"event":' + "[" * 1000 + "]" * 1000 + "}", "unknown event"),
    "null": ("null", "not an object"),
    "text": ('"media"', "not an object"),
    "a number": ("5", "not an object"),
    "a list": ("[" + media() + "]", "not an object"),
    "an empty object": ("{}", "unknown event"),
    "no event": ('{"streamSid":"MZ"}', "unknown event"),
    "event is null": ('{"event":null}', "unknown event"),
    "event is a list": ('{"event":["media"]}', "unknown event"),
    "an event nobody knows": ('{"event":"teleport"}', "unknown event"),
    "connected in the middle": ('{"event":"connected"}', "unknown event"),
    "media without media": ('{"event":"media"}', "malformed media"),
    "media is null": ('{"event":"media","media":null}', "malformed media"),
    "media is text": ('{"event":"media","media":"gIA="}', "malformed media"),
    "no payload": ('{"event":"media","media":{"track":"inbound"}}', "malformed media"),
    "payload is a number": (media(5), "malformed media"),
    "payload is a list": (media(["gIA="]), "malformed media"),
    "payload is no base64": (media("!!!!"), "bad base64"),
    "payload of another alphabet": (media("-_-_"), "bad base64"),
    "payload without padding": (media("gIA"), "bad base64"),
    "payload with a line end": (media("gIA=\n"), "bad base64"),
    "payload that is not ASCII": (media("ünï="), "bad base64"),
    "payload with something behind it": (media("gIA=gIA="), "bad base64"),
    "no audio in the payload": (media(""), "no audio"),
    "six seconds at once": (media("/" * 64_000), "audio faster than time"),
    "the agent's own track": (media(track="outbound"), "another track"),
    "a track that is no text": (media(track=None), "another track"),
    "mark without mark": ('{"event":"mark"}', "malformed mark"),
    "mark without a name": ('{"event":"mark","mark":{}}', "malformed mark"),
    "mark whose name is a number": (mark(5), "malformed mark"),
    "dtmf without dtmf": ('{"event":"dtmf"}', "malformed dtmf"),
    "two digits": (digit("12"), "malformed dtmf"),
    "no digit": (digit(""), "malformed dtmf"),
    "a digit with a line end": (digit("1\n"), "malformed dtmf"),
    "a digit that is a number": (digit(1), "malformed dtmf"),
    "a digit of another script": (digit("٣"), "malformed dtmf"),
    "a letter that is no key": (digit("E"), "malformed dtmf"),
}


@pytest.mark.parametrize(("text", "kind"), SKIPPED.values(), ids=SKIPPED)
def test_what_makes_no_sense_is_skipped(
    line: Line, caller: Caller, caplog: pytest.LogCaptureFixture, text: str | bytes, kind: str
) -> None:
    assert heard(line, caller, text, mark("still here"), text) == [Mark("still here")]
    assert caller.skipped == {kind: 2}
    (warning,) = caplog.messages
    assert warning.startswith(f"the call: skipped a message of the caller's stream: {kind}: ")
    assert warning.isascii() and "\n" not in warning and len(warning) < 500


@pytest.mark.parametrize(("text", "kind"), SKIPPED.values(), ids=SKIPPED)
def test_it_does_not_begin_a_call_either(line: Line, caller: Caller, text: str | bytes, kind: str) -> None:
    line.peer.text(text)
    line.peer.text(json.dumps(start()))
    assert caller.wait_for_start(LIMIT_S).call_sid == CALL_SID
    assert sum(caller.skipped.values()) == (0 if "connected" in str(text) else 1)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\xed\xa0\x80"])
def test_text_that_is_no_utf8_ends_the_stream(line: Line, caller: Caller, name: bytes) -> None:
    started(line, caller)
    line.peer.text(b'{"event":"mark","mark":{"name":"%s"}}' % name)
    with pytest.raises(StreamClosed, match="a rule of WebSocket was broken"):
        list(caller.messages(one_by_one, LIMIT_S))
    assert line.peer.close_code() == 1007


def test_each_kind_is_logged_once_and_all_are_counted(
    line: Line, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    assert heard(line, caller, *["null", "hello", '{"event":"teleport"}', media("!!!!")] * 25) == []
    assert caller.skipped == {"not an object": 25, "not JSON": 25, "unknown event": 25, "bad base64": 25}
    assert len(caplog.messages) == 4


def test_binary_messages_are_passed_over(line: Line, caller: Caller) -> None:
    started(line, caller)
    line.peer.protocol.send_binary(media().encode())
    line.peer.text(STOP)
    assert list(caller.messages(one_by_one, LIMIT_S)) == [Stopped()]
    assert line.stream.binary_messages == 1


def test_the_same_start_again_is_passed_over(line: Line, caller: Caller) -> None:
    started(line, caller)
    line.peer.text(json.dumps(start()))
    line.peer.text(STOP)
    assert list(caller.messages(one_by_one, LIMIT_S)) == [Stopped()]
    assert caller.skipped == {"a second start": 1}


def test_the_start_of_another_stream_ends_this_one(line: Line, caller: Caller) -> None:
    started(line, caller)
    line.peer.text(json.dumps(start(callSid="CA" + "d" * 32, streamSid="MZ" + "d" * 32)))
    with pytest.raises(CallerStreamError, match="the start of another stream"):
        list(caller.messages(one_by_one, LIMIT_S))


def test_a_line_on_which_nothing_comes_is_dead(line: Line, caller: Caller) -> None:
    started(line, caller)
    with pytest.raises(CallerStreamError, match="no audio for 0.05 s"):
        list(caller.messages(one_by_one, 0.05))


def test_a_stream_that_ends_without_stop(line: Line, caller: Caller) -> None:
    started(line, caller)
    line.peer.text(media())
    line.peer.sock.close()
    messages = caller.messages(one_by_one, LIMIT_S)
    assert next(messages) == Media(SILENCE)
    with pytest.raises(StreamClosed):
        next(messages)


@pytest.mark.matrix(41)
def test_audio_is_taken_in_the_order_in_which_it_comes_whatever_its_numbers(line: Line, caller: Caller) -> None:
    def frame(sequence: str, byte: bytes) -> str:
        return json.dumps(json.loads(media(base64.b64encode(byte).decode())) | {"sequenceNumber": sequence})

    numbers = ("2", "3", "7", "6", "6", "5", "8", "9", "abc", "-1", "9" * 5000, "13", "14")
    sounds = [bytes([n]) for n in range(len(numbers))]
    sent = [frame(number, sound) for number, sound in zip(numbers, sounds, strict=True)]
    assert b"".join(media.mulaw for media in heard(line, caller, *sent)) == b"".join(sounds)
    # 7 for 4, 6 for 8, 6 for 7, 5 for 7, 8 for 6, three that are none, and the stop, whose number is 9 for 15.
    assert caller.out_of_order == 9
    assert caller.skipped == {}


@pytest.mark.parametrize("sequence", [None, 2, "", "2.0", "２", "\n2"])
def test_a_number_of_a_message_may_be_anything(line: Line, caller: Caller, sequence: object) -> None:
    message = json.dumps(json.loads(media()) | {"sequenceNumber": sequence})
    assert heard(line, caller, message) == [Media(SILENCE)]


# More than a caller can send


@pytest.mark.threat(18)
def test_audio_faster_than_real_time_is_dropped_beyond_two_seconds(line: Line, caller: Caller) -> None:
    begun = time.monotonic()
    kept = sum(len(media.mulaw) for media in heard(line, caller, *[media()] * 500)) // FRAME_BYTES
    in_time = (time.monotonic() - begun) * 50
    assert 100 <= kept <= 100 + in_time + 1
    assert caller.skipped == {"audio faster than time": 500 - kept}


def test_what_was_dropped_does_not_count_against_what_comes_in_time(line: Line, caller: Caller) -> None:
    started(line, caller)
    messages = caller.messages(one_by_one, LIMIT_S)
    line.peer.text(media("/" * 64_000))
    line.peer.text(media())
    assert next(messages) == Media(SILENCE)


@pytest.mark.threat(18)
def test_digits_faster_than_fingers_are_dropped(line: Line, caller: Caller) -> None:
    begun = time.monotonic()
    kept = heard(line, caller, *[digit("5")] * 1000)
    in_time = (time.monotonic() - begun) * 10
    assert 32 <= len(kept) <= 32 + in_time + 1
    assert caller.skipped == {"digits faster than fingers": 1000 - len(kept)}


# Writing


def test_the_bytes_that_go_to_twilio_are_exactly_its_own(line: Line, caller: Caller) -> None:
    started(line, caller)
    caller.play(Audio(160, base64.b64encode(SILENCE).decode()))
    caller.mark("7:4800")
    caller.clear()
    payload = base64.b64encode(SILENCE)
    sid = STREAM_SID.encode()
    assert line.peer.message() == b'{"event":"media","streamSid":"' + sid + b'","media":{"payload":"' + payload + b'"}}'
    assert line.peer.message() == b'{"event":"mark","streamSid":"' + sid + b'","mark":{"name":"7:4800"}}'
    assert line.peer.message() == b'{"event":"clear","streamSid":"' + sid + b'"}'


def test_close_carries_its_code(line: Line, caller: Caller) -> None:
    started(line, caller)
    caller.close(1008, "the stream's token is spent")
    assert line.peer.close_code() == 1008
    for write in (caller.clear, lambda: caller.mark("1:2"), lambda: caller.play(Audio(3, "gICA"))):
        with pytest.raises(StreamClosed):
            write()
