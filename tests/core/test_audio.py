import base64
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice.core.audio import FRAME_BYTES, PIECE_BYTES, SILENCE, Audio, To24k, decode, encode, loudness, split
from voice.sandbox.coded_speech import at_24k_to_8k, encode_speech, text_of


@given(st.integers(0, 40_000), st.integers(0, 2**32))
def test_pieces_join_to_what_was_cut(size: int, seed: int) -> None:
    sound = random.Random(seed).randbytes(size)
    pieces = list(split(Audio(size, base64.b64encode(sound).decode())))
    assert b"".join(base64.b64decode(piece.payload, validate=True) for piece in pieces) == sound
    assert [len(base64.b64decode(piece.payload)) for piece in pieces] == [piece.size for piece in pieces]
    assert all(0 < piece.size <= PIECE_BYTES for piece in pieces)
    assert all(piece.size == PIECE_BYTES for piece in pieces[:-1])


def test_audio_of_which_only_the_size_is_known_is_cut_alike() -> None:
    assert list(split(Audio(10_000))) == [Audio(4800), Audio(4800), Audio(400)]
    assert list(split(Audio(4800))) == [Audio(4800)]
    assert list(split(Audio(0))) == []


def test_equal_by_size_and_silent_about_the_sound() -> None:
    assert Audio(3, "gICA") == Audio(3)
    assert Audio(3) != Audio(4)
    assert repr(Audio(3, "gICA")) == "Audio(size=3)"
    assert Audio(FRAME_BYTES).ms == 20
    assert Audio(1).ms == 0.125


def test_mulaw_bytes_survive_decoding_and_encoding() -> None:
    # 0x7f is the negative zero; it comes back as the positive one.
    assert encode(decode(bytes(range(256)))) == bytes(range(256)).replace(b"\x7f", b"\xff")
    assert decode(SILENCE) == b"\0\0"


def test_loudness_is_the_root_mean_square() -> None:
    assert loudness(b"") == 0
    assert loudness(SILENCE * FRAME_BYTES) == 0
    square = array("h", [8031, -8031] * 80).tobytes()
    assert loudness(encode(square)) == pytest.approx(8031, rel=0.03)


def test_24_khz_comes_in_pieces_that_join() -> None:
    speech = encode_speech("a whole sentence, cut anywhere")
    whole = To24k().convert(speech)
    converter = To24k()
    pieces = b"".join(converter.convert(speech[i : i + 77]) for i in range(0, len(speech), 77))
    assert pieces == whole
    assert len(whole) == pytest.approx(len(speech) * 6, abs=6)
    assert text_of(at_24k_to_8k(whole)) == "a whole sentence, cut anywhere"
