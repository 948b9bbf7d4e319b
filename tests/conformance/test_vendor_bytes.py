"""The vendors' streams, cut anywhere and spoiled anyhow: the same result, or an error that the wires know."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.raw import CONT, PING, TEXT, frame
from tests.conformance.vendor_bytes import READY, framed, heard, spoken, written
from voice.core import events as ev
from voice.core.audio import Audio
from voice.errors import VendorError
from voice.wires.completion import Usage
from voice.wires.language_model import Text, ToolCall

TIMES = settings().max_examples // 100
"""1, or with the profile `chaos` 200."""
_OF = "conversation.item.input_audio_transcription."


def examples(number: int, most_times: int = 40) -> settings:
    return settings(
        max_examples=number * min(TIMES, most_times), deadline=None, suppress_health_check=list(HealthCheck)
    )


# What they say when all is well

_SOUND = bytes(range(128, 256)) * 4
_PAYLOAD = base64.b64encode(_SOUND).decode()
_LONG = "Grüße aus Köln – 您好 🙂 \u2028" * 10
HEARD = [
    {"type": "input_audio_buffer.committed", "item_id": "a"},
    {"type": _OF + "delta", "item_id": "a", "delta": "Grüße – "},
    {"type": "what.is.this", "delta": 5},
    {"type": _OF + "delta", "item_id": "a", "delta": _LONG},
    {"type": _OF + "completed", "item_id": "a", "transcript": _LONG},
    {"type": "error", "error": {"type": "invalid_request_error", "code": "odd", "message": "Nothing serious."}},
    {"type": _OF + "failed", "item_id": "b", "error": {"code": "x", "message": "y"}},
]
SPOKEN = [
    {
        "audio": _PAYLOAD,
        "contextId": "turn-1",
        "alignment": {"chars": ["H", "i"], "charStartTimesMs": [0, 20], "charDurationsMs": [20, 44]},
    },
    {"audio": _PAYLOAD, "contextId": "nobody"},
    {"isFinal": True, "contextId": "turn-1"},
    {"audio": _PAYLOAD, "contextId": "turn-2.3", "alignment": None},
]
_WRITTEN: list[dict[str, Any]] = [
    {
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": "Grüße aus Köln – 您好 🙂\u2028 and\x85more. "}}
        ]
    },
    {
        "choices": [
            {
                "index": 0,
                "delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"ä"'}}]},
            }
        ]
    },
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ':"🙂"}'}}]}}]},
    {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
]

HEARD_BYTES = READY + b"".join(map(framed, HEARD[:3])) + frame(PING, b"alive?", mask=None)
HEARD_BYTES += frame(TEXT, orjson.dumps(HEARD[3])[:100], fin=False, mask=None)
HEARD_BYTES += frame(CONT, orjson.dumps(HEARD[3])[100:], mask=None) + b"".join(map(framed, HEARD[4:]))
SPOKEN_BYTES = b"".join(map(framed, SPOKEN))
WRITTEN_BYTES = b": hello\r\n\r\n" + b"".join(b"data: " + orjson.dumps(chunk) + b"\r\n\n" for chunk in _WRITTEN)
WRITTEN_BYTES += b"data: [DONE]\n\n"

HEARD_EVENTS = [
    ev.TranscriberReady(),
    ev.UtteranceCommitted("a"),
    ev.TranscriptExtended("a", "Grüße – "),
    ev.TranscriptExtended("a", _LONG),
    ev.TranscriptFinished("a", _LONG),
    ev.TranscriptFailed("b", "'x: y'"),
]
SPOKEN_EVENTS = [
    ev.SynthesizerReady(),
    ev.SpeechArrived(1, Audio(512, _PAYLOAD), ev.Alignment("Hi", (0, 20), (20, 44))),
    ev.SpeechFinished(1),
    ev.SpeechArrived(2, Audio(512, _PAYLOAD), ev.Alignment()),
]
WRITTEN_PARTS = [
    Text("Grüße aus Köln – 您好 🙂\u2028 and\x85more. "),
    ToolCall("c", "f", '{"ä":"🙂"}'),
    Usage(7, 0, 3, 0),
]


def cuts(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """The same bytes in pieces."""
    places = st.lists(st.integers(1, len(data) - 1), max_size=30, unique=True).map(sorted)
    return places.map(lambda at: [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)])


@examples(100)
@given(cuts(HEARD_BYTES))
def test_the_transcriber_hears_the_same_however_its_bytes_are_cut(pieces: list[bytes]) -> None:
    assert heard(pieces)[0] == HEARD_EVENTS


@examples(100)
@given(cuts(SPOKEN_BYTES))
def test_the_synthesizer_says_the_same_however_its_bytes_are_cut(pieces: list[bytes]) -> None:
    events = spoken(pieces)[0]
    assert events == SPOKEN_EVENTS
    assert [event.audio.payload for event in events if isinstance(event, ev.SpeechArrived)] == [_PAYLOAD] * 2


@examples(100)
@given(cuts(WRITTEN_BYTES), st.booleans())
def test_the_language_model_writes_the_same_however_its_bytes_are_cut(pieces: list[bytes], chunked: bool) -> None:
    assert written(pieces, chunked) == (WRITTEN_PARTS, None)


def test_every_byte_may_come_alone() -> None:
    for read, data, expected in (
        (heard, HEARD_BYTES, HEARD_EVENTS),
        (spoken, SPOKEN_BYTES, SPOKEN_EVENTS),
        (written, WRITTEN_BYTES, WRITTEN_PARTS),
    ):
        assert read([data[at : at + 1] for at in range(len(data))])[0] == expected  # type: ignore[operator]


# What becomes of them on the way

Change = Callable[[bytes], bytes]


def _flip(at: int, bit: int) -> Change:
    return lambda data: data[: at % len(data)] + bytes([data[at % len(data)] ^ 1 << bit]) + data[at % len(data) + 1 :]


def _drop(at: int, size: int) -> Change:
    return lambda data: data[: at % len(data)] + data[at % len(data) + size :]


def _double(at: int, size: int) -> Change:
    return lambda data: data[: at % len(data) + size] + data[at % len(data) :]


def _swap(at: int, size: int) -> Change:
    def change(data: bytes) -> bytes:
        place = at % len(data)
        return (
            data[:place] + data[place + size : place + 2 * size] + data[place : place + size] + data[place + 2 * size :]
        )

    return change


def _insert(at: int, what: bytes) -> Change:
    return lambda data: data[: at % len(data)] + what + data[at % len(data) :]


_MORE = (b"\r\n", b"\n\ndata:", b"null", b"\0")
_at, _size = st.integers(0, 1 << 16), st.integers(1, 200)
_changes = st.one_of(
    st.builds(_flip, _at, st.integers(0, 7)),
    st.builds(_drop, _at, _size),
    st.builds(_double, _at, _size),
    st.builds(_swap, _at, _size),
    st.builds(
        _insert, _at, st.binary(min_size=1, max_size=20) | st.sampled_from([b"\r\n", b"\n\ndata:", b"null", b"\0"])
    ),
)


def spoiled(data: bytes) -> st.SearchStrategy[bytes]:
    def change(changes: Sequence[Change]) -> bytes:
        changed = data
        for each in changes:
            changed = each(changed) or b"x"
        return changed

    return st.lists(_changes, min_size=1, max_size=6).map(change)


@examples(250)
@given(spoiled(HEARD_BYTES), st.sampled_from(["gpt-live-transcribe", "gpt-4o-transcribe"]))
def test_spoiled_bytes_of_the_transcriber_end_in_an_error_that_is_known(data: bytes, model: str) -> None:
    _, error = heard([data], model)
    assert isinstance(error, VendorError) and str(error)


@pytest.mark.matrix(29)
@pytest.mark.threat(25)
@examples(250)
@given(spoiled(SPOKEN_BYTES))
def test_spoiled_bytes_of_the_synthesizer_end_in_an_error_that_is_known(data: bytes) -> None:
    events, error = spoken([data])
    assert isinstance(error, VendorError) and str(error)
    for event in events:
        if isinstance(event, ev.SpeechArrived):
            assert len(base64.b64decode(event.audio.payload, validate=True)) == event.audio.size > 0


@pytest.mark.matrix(20)
def test_spoiled_bytes_of_the_language_model_end_well_or_in_an_error_that_is_known(
    record_property: Callable[[str, object], None],
) -> None:
    streams = 0

    @examples(500, most_times=200)
    @given(spoiled(WRITTEN_BYTES), st.booleans())
    def reads(data: bytes, chunked: bool) -> None:
        nonlocal streams
        streams += 1
        parts, error = written([data], chunked)
        assert error is None or (isinstance(error, VendorError) and str(error))
        assert all(isinstance(part, Text | ToolCall | Usage) for part in parts)

    reads()
    record_property("streams_number", streams)


# Whole messages, in another order, twice or not at all

_SOME = st.lists(st.sampled_from(range(len(HEARD))), max_size=12)


@examples(100)
@given(_SOME)
def test_the_transcribers_messages_in_any_order(order: list[int]) -> None:
    events, error = heard([READY + b"".join(framed(HEARD[n]) for n in order)])
    assert len(events) == 1 + sum(n not in (2, 5) for n in order)
    assert "the connection is gone" in str(error)


@examples(100)
@given(st.lists(st.sampled_from(range(len(SPOKEN))), max_size=12))
def test_the_synthesizers_messages_in_any_order(order: list[int]) -> None:
    events, error = spoken([b"".join(framed(SPOKEN[n]) for n in order)])
    assert len(events) == 1 + sum(n != 1 for n in order)
    assert "the connection is gone" in str(error)
