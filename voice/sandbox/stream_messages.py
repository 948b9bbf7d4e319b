"""The messages of a Media Stream. Pure. Shapes: Twilio's docs, Media Streams - WebSocket Messages.

Twilio writes numbers as strings, except those of `mediaFormat`.
"""

import binascii
from dataclasses import dataclass
from typing import Any

import orjson


class Malformed(ValueError):
    """A message that Twilio passes over with warning 31951."""


@dataclass(frozen=True)
class Media:
    audio: bytes


@dataclass(frozen=True)
class Mark:
    name: str


@dataclass(frozen=True)
class Clear:
    pass


@dataclass(frozen=True)
class StreamNames:
    account_sid: str
    call_sid: str
    stream_sid: str


CONNECTED = b'{"event":"connected","protocol":"Call","version":"1.0.0"}'


def read(text: bytes, stream_sid: str) -> Media | Mark | Clear:
    """One message of the server. Raises Malformed for a missing or extra field, another stream, an unknown event."""
    message = _object(text)
    match message.get("event"):
        case "media":
            _check(message, {"event", "streamSid", "media"}, stream_sid)
            return Media(_audio(_inner(message, "media", "payload")))
        case "mark":
            _check(message, {"event", "streamSid", "mark"}, stream_sid)
            return Mark(_inner(message, "mark", "name"))
        case "clear":
            _check(message, {"event", "streamSid"}, stream_sid)
            return Clear()
    raise Malformed(f"unknown event {str(message.get('event'))[:40]!r}")


def start(names: StreamNames, parameters: dict[str, str]) -> bytes:
    body = {
        "accountSid": names.account_sid,
        "streamSid": names.stream_sid,
        "callSid": names.call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": parameters,
    }
    return orjson.dumps({"event": "start", "sequenceNumber": "1", "start": body, "streamSid": names.stream_sid})


def media_template(names: StreamNames) -> bytes:
    """To be filled with sequence number, chunk, timestamp in ms, payload in base64: a phone's hot path."""
    return (
        b'{"event":"media","sequenceNumber":"%%d","media":{"track":"inbound","chunk":"%%d","timestamp":"%%d",'
        b'"payload":"%%s"},"streamSid":"%s"}' % names.stream_sid.encode()
    )


def mark(names: StreamNames, sequence: int, name: str) -> bytes:
    return _dump("mark", names, sequence, {"name": name})


def dtmf(names: StreamNames, sequence: int, digit: str) -> bytes:
    return _dump("dtmf", names, sequence, {"track": "inbound_track", "digit": digit})


def stop(names: StreamNames, sequence: int) -> bytes:
    return _dump("stop", names, sequence, {"accountSid": names.account_sid, "callSid": names.call_sid})


def _dump(event: str, names: StreamNames, sequence: int, body: dict[str, str]) -> bytes:
    head = {"event": event, "sequenceNumber": str(sequence), "streamSid": names.stream_sid}
    return orjson.dumps(head | {event: body})


def _object(text: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"not JSON: {text[:40]!r}") from error
    if not isinstance(message, dict):
        raise Malformed(f"not an object: {text[:40]!r}")
    return message


def _check(message: dict[str, Any], fields: set[str], stream_sid: str) -> None:
    if message.keys() != fields:
        raise Malformed(f"{message['event']} with fields {sorted(message)}, not {sorted(fields)}")
    if message["streamSid"] != stream_sid:
        raise Malformed(f"{message['event']} for stream {str(message['streamSid'])[:40]!r}, not {stream_sid}")


def _inner(message: dict[str, Any], kind: str, field: str) -> str:
    inner = message[kind]
    if not isinstance(inner, dict) or inner.keys() != {field} or not isinstance(inner[field], str) or not inner[field]:
        raise Malformed(f"{kind} needs exactly one field, a text: {field}")
    return str(inner[field])


def _audio(payload: str) -> bytes:
    try:
        return binascii.a2b_base64(payload, strict_mode=True)
    except ValueError as error:
        raise Malformed(f"media payload is not base64: {payload[:40]!r}") from error
