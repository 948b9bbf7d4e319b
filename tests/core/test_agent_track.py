"""The agent's side of a recording: what was heard, and when."""

import binascii

from voice.core import events as ev
from voice.core.agent_track import AgentTrack
from voice.core.audio import SILENCE, Audio

RATE = 8000


def piece(turn: int, position_ms: int, byte: bytes, ms: int = 600) -> list[ev.Action]:
    """So long of one byte, and its mark."""
    payload = binascii.b2a_base64(byte * (ms * 8), newline=False).decode()
    return [ev.PlayAudio(turn, Audio(ms * 8, payload)), ev.SendMark(turn, position_ms)]


def spans(sound: bytes) -> list[tuple[float, float, str]]:
    """Beginning, end (in seconds) and letter of each stretch that is not silence."""
    found: list[tuple[float, float, str]] = []
    for place, byte in enumerate(sound):
        if bytes([byte]) == SILENCE:
            continue
        if found and found[-1][2] == chr(byte) and found[-1][1] == place / RATE:
            found[-1] = (found[-1][0], (place + 1) / RATE, chr(byte))
        else:
            found.append((place / RATE, (place + 1) / RATE, chr(byte)))
    return found


def test_pieces_follow_each_other_from_when_the_first_was_sent() -> None:
    track = AgentTrack()
    track.happened(ev.ReplyFinished(1), piece(1, 600, b"a") + piece(1, 1200, b"b"), 1.0)
    assert spans(track.take(3 * RATE)) == [(1.0, 1.6, "a"), (1.6, 2.2, "b")]


def test_the_first_mark_says_how_much_later_it_began() -> None:
    track = AgentTrack()
    track.happened(ev.ReplyFinished(1), piece(1, 600, b"a") + piece(1, 1200, b"b"), 1.0)
    track.happened(ev.MarkReturned(1, 600), [], 1.75)
    track.happened(ev.MarkReturned(1, 1200), piece(1, 1800, b"c"), 2.4)
    assert spans(track.take(4 * RATE)) == [(1.15, 1.75, "a"), (1.75, 2.35, "b"), (2.4, 3.0, "c")]


def test_while_a_mark_is_awaited_it_still_plays() -> None:
    track = AgentTrack()
    track.happened(ev.ReplyFinished(1), piece(1, 600, b"a"), 1.0)
    track.happened(ev.ReplyFinished(1), piece(1, 1200, b"b"), 1.62)
    track.happened(ev.MarkReturned(1, 600), [], 1.65)
    track.happened(ev.MarkReturned(1, 1200), [], 2.25)
    assert [(round(start, 2), round(end, 2), letter) for start, end, letter in spans(track.take(4 * RATE))] == [
        (1.05, 1.65, "a"),
        (1.65, 2.25, "b"),
    ]
    track.happened(ev.ReplyFinished(2), piece(2, 600, b"c"), 4.5)
    assert spans(track.take(6 * RATE)) == [(0.5, 1.1, "c")]


def test_what_was_cleared_is_not_in_it() -> None:
    track = AgentTrack()
    track.happened(ev.ReplyFinished(1), piece(1, 600, b"a") + piece(1, 1200, b"b"), 1.0)
    track.happened(ev.CallerStartedSpeaking(), [ev.ClearPlayout()], 1.3)
    # The marks that come back because of it say nothing.
    track.happened(ev.MarkReturned(1, 600), [], 1.31)
    track.happened(ev.MarkReturned(1, 1200), [], 1.31)
    track.happened(ev.ReplyFinished(2), piece(2, 600, b"c"), 1.5)
    assert spans(track.take(3 * RATE)) == [(1.0, 1.3, "a"), (1.5, 2.1, "c")]


def test_it_can_be_taken_piece_by_piece() -> None:
    whole, parts = AgentTrack(), AgentTrack()
    for track in (whole, parts):
        track.happened(ev.ReplyFinished(1), piece(1, 600, b"a") + piece(1, 1200, b"b"), 0.5)
    taken = b"".join(parts.take(until) for until in (100, 4000, 4001, 3000, 9999, 16000))
    assert taken == whole.take(16000) and len(taken) == 16000
    assert parts.take(16000) == b""


def test_audio_without_sound_is_none() -> None:
    track = AgentTrack()
    track.happened(ev.ReplyFinished(1), [ev.PlayAudio(1, Audio(4800))], 0.0)
    assert spans(track.take(RATE)) == []
