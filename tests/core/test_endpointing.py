"""Speech or not: every sound here is made from a seed, every time is counted in audio."""

import audioop
import math
import random
from array import array
from collections.abc import Callable
from functools import cache

import pytest

from tests.detectors import sounds
from voice.core.audio import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, SAMPLE_RATE, SILENCE, decode, encode
from voice.core.endpointing import Endpointing, Speech
from voice.sandbox.coded_speech import encode_speech

SILENCE_MS = 500
ONSET_MS = 40
"""Of the coded voice: it is a clear one from its first frame on."""
Change = tuple[int, Speech]
"""The milliseconds of audio that had been fed, and what changed then."""


def silence(ms: int) -> bytes:
    return SILENCE * (ms * BYTES_PER_MS)


def noise(ms: int, rms: int, seed: int = 1) -> bytes:
    return (some_noise(rms, seed) * (ms // 2000 + 1))[: ms * BYTES_PER_MS]


@cache
def some_noise(rms: int, seed: int) -> bytes:
    """Two seconds of it."""
    source = random.Random(seed)
    samples = (max(-32768, min(32767, round(source.gauss(0, rms)))) for _ in range(2000 * BYTES_PER_MS))
    return encode(array("h", samples).tobytes())


def speech(ms: int) -> bytes:
    return encode_speech("x" * (ms // FRAME_MS), ms_per_character=FRAME_MS)


def tone(ms: int, hz: float, harmonics: int, strength: Callable[[float], float]) -> bytes:
    """Ten seconds of it, again and again; `strength` by time in seconds."""
    turns = [2 * math.pi * hz * n / SAMPLE_RATE for n in range(10_000 * BYTES_PER_MS)]
    wave = [sum(math.sin(k * turn) for k in range(1, harmonics + 1)) for turn in turns]
    samples = array("h", (int(1500 * strength(n / SAMPLE_RATE) * value) for n, value in enumerate(wave)))
    return encode(samples.tobytes()) * (ms // 10_000)


def mixed(one: bytes, other: bytes) -> bytes:
    return encode(audioop.add(decode(one), decode(other), 2))


def changes(audio: bytes, silence_ms: int = SILENCE_MS, size: int = FRAME_BYTES) -> list[Change]:
    endpointing = Endpointing(silence_ms)
    found = []
    for end in range(size, len(audio) + size, size):
        for change in endpointing.feed(audio[end - size : end]):
            found.append((min(end, len(audio)) // BYTES_PER_MS, change))
    return found


def test_silence_is_no_speech() -> None:
    assert changes(silence(60_000)) == []
    assert changes(b"\x7f" * 80_000) == []


@pytest.mark.parametrize("rms", [5, 20, 40, 80, 120, 200, 400, 800])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_noise_of_a_line_is_no_speech(rms: int, seed: int) -> None:
    assert changes(noise(20_000, rms, seed)) == []


@pytest.mark.parametrize("rms", [200, 800, 3000])
def test_noise_that_begins_in_the_middle_of_a_call_is_no_speech(rms: int) -> None:
    assert changes(noise(5000, 10) + noise(20_000, rms)) == []


@pytest.mark.parametrize("mains_hz", [50, 60])
@pytest.mark.parametrize("dbfs", [-50.0, -30.0])
def test_the_hum_of_the_mains_is_no_speech_whenever_it_begins(mains_hz: int, dbfs: float) -> None:
    hum = encode(sounds.hum(10_000, dbfs, mains_hz, seed=1))
    assert changes(hum) == []
    assert changes(silence(3000) + hum) == []


def test_a_slammed_door_is_no_speech() -> None:
    slams = [encode(sounds.door(-12.0, seed)) for seed in range(30)]
    started = [seed for seed, slam in enumerate(slams) if changes(silence(1000) + slam + silence(1000))]
    # The one that rings at a voice's pitch, and longest.
    assert len(started) <= 1


@pytest.mark.parametrize("every_ms", [40, 100, 170, 500])
def test_a_train_of_clicks_is_no_speech(every_ms: int) -> None:
    clicks = [(at, sounds.click(-10.0, seed=at)) for at in range(1000, 9000, every_ms)]
    assert changes(encode(sounds.laid(10_000, clicks))) == []


def test_noise_that_swells_and_never_pauses_does_not_keep_a_caller_speaking() -> None:
    gains = [12.0 * (i // 10 % 2) for i in range(1000)]
    swelling = sounds.shaped(sounds.pink(20_000, -40.0, seed=1), gains, 20)
    audio = mixed(speech(2000) + silence(18_000), encode(swelling))
    (_, started), (end, stopped) = changes(audio)
    assert (started, stopped) == (Speech.STARTED, Speech.STOPPED)
    assert 2000 + SILENCE_MS <= end <= 2200 + SILENCE_MS


@pytest.mark.parametrize("hz", [150.0, 440.0])
@pytest.mark.parametrize("harmonics", [1, 5])
def test_a_tone_or_a_buzz_is_taken_for_speech_for_two_seconds_at_most(hz: float, harmonics: int) -> None:
    found = changes(silence(3000) + tone(20_000, hz, harmonics, lambda t: 1.0))
    assert [change for _, change in found] in ([], [Speech.STARTED, Speech.STOPPED])
    assert all(at <= 5000 + SILENCE_MS for at, _ in found)


def test_an_organ_that_swells_and_never_pauses_is_the_line_in_the_end() -> None:
    organ = tone(120_000, 150.0, 5, lambda t: 1 + 0.5 * math.sin(2 * math.pi * 3 * t))
    (_, started), (end, stopped) = changes(mixed(noise(120_000, 200), organ))
    assert (started, stopped) == (Speech.STARTED, Speech.STOPPED)
    assert 20_000 < end < 100_000, "not before a long breath of speech would be over"


def test_a_click_is_no_speech() -> None:
    click = noise(40, 12_000)
    assert changes((silence(500) + click) * 20) == []
    assert changes(mixed(noise(10_000, 50), (silence(460) + click) * 20)) == []


@pytest.mark.parametrize("ms", [100, 500, 3000])
@pytest.mark.parametrize("silence_ms", [200, 500, 700])
def test_speech_starts_at_its_second_frame_and_stops_after_the_silence_asked_for(ms: int, silence_ms: int) -> None:
    audio = silence(1000) + speech(ms) + silence(2000)
    assert changes(audio, silence_ms) == [(1000 + ONSET_MS, Speech.STARTED), (1000 + ms + silence_ms, Speech.STOPPED)]


def test_a_silence_between_two_frames_is_rounded_up_to_the_second() -> None:
    assert changes(silence(1000) + speech(500) + silence(2000), 310) == [
        (1000 + ONSET_MS, Speech.STARTED),
        (1820, Speech.STOPPED),
    ]


def test_a_pause_shorter_than_the_silence_asked_for_is_part_of_the_speech() -> None:
    audio = silence(500) + speech(1000) + silence(SILENCE_MS - 20) + speech(1000) + silence(1000)
    assert changes(audio) == [(500 + ONSET_MS, Speech.STARTED), (2980 + SILENCE_MS, Speech.STOPPED)]


def test_one_utterance_after_another() -> None:
    audio = (silence(1000) + speech(1000)) * 5 + silence(1000)
    starts = [(at + ONSET_MS, Speech.STARTED) for at in range(1000, 11_000, 2000)]
    stops = [(at + SILENCE_MS, Speech.STOPPED) for at in range(2000, 12_000, 2000)]
    assert changes(audio) == sorted(starts + stops, key=lambda change: change[0])


def test_a_caller_who_speaks_from_the_first_frame_is_heard() -> None:
    assert changes(speech(1000) + silence(1000)) == [(60, Speech.STARTED), (1000 + SILENCE_MS, Speech.STOPPED)]


@pytest.mark.parametrize("rms", [5, 20, 50, 100, 200, 400])
def test_speech_over_noise(rms: int) -> None:
    voice = silence(5000) + speech(2000) + silence(5000)
    assert changes(mixed(noise(12_000, rms), voice)) == [
        (5000 + ONSET_MS, Speech.STARTED),
        (7000 + SILENCE_MS, Speech.STOPPED),
    ]


def test_a_minute_of_speech_stays_speech() -> None:
    found = changes(silence(1000) + speech(60_000) + silence(1000))
    assert found == [(1000 + ONSET_MS, Speech.STARTED), (61_000 + SILENCE_MS, Speech.STOPPED)]


def test_minutes_of_words_with_short_pauses_stay_speech_on_a_quiet_line_and_on_a_noisy_one() -> None:
    words = (speech(360) + silence(80)) * 400
    expected = [(1000 + ONSET_MS, Speech.STARTED), (1000 + 400 * 440 - 80 + SILENCE_MS, Speech.STOPPED)]
    audio = silence(1000) + words + silence(1000)
    assert changes(audio) == expected
    assert changes(mixed(noise(len(audio) // BYTES_PER_MS, 100), audio)) == expected


def test_quiet_speech_after_loud_speech_is_heard() -> None:
    quiet = encode(audioop.mul(decode(speech(1000)), 2, 0.1))
    audio = silence(500) + speech(3000) + silence(1000) + quiet + silence(1000)
    assert [change for _, change in changes(audio)] == [Speech.STARTED, Speech.STOPPED] * 2


@pytest.mark.parametrize("size", [1, 7, 40, 159, 161, 240, 320, 333, 1600])
def test_frames_of_any_size_give_the_same_result(size: int) -> None:
    audio = mixed(silence(1000) + speech(1000) + silence(2000), noise(4000, 50))
    expected = changes(audio)
    found = changes(audio, size=size)
    assert [change for _, change in found] == [change for _, change in expected] == [Speech.STARTED, Speech.STOPPED]
    for (at, _), (whole_at, _) in zip(found, expected, strict=True):
        assert whole_at <= at <= whole_at + size // BYTES_PER_MS + 1


def test_all_changes_in_one_piece_are_told_in_their_order() -> None:
    assert Endpointing(200).feed(silence(100) + speech(500) + silence(300)) == [Speech.STARTED, Speech.STOPPED]
    assert Endpointing(200).feed(b"") == []
