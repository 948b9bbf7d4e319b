"""Playing in real time and hearing words, with the clock as an argument."""

from voice.sandbox.coded_speech import encode_speech
from voice.sandbox.heard import Hearing
from voice.sandbox.playback import Playback
from voice.sandbox.wav import lay_out


def test_audio_plays_one_byte_in_an_eighth_of_a_millisecond() -> None:
    playback = Playback(began=0.0)
    playback.add(b"a" * 800, now=0.0)
    playback.add(b"b" * 800, now=0.01)
    assert playback.take_played(0.05) == [(0, b"a" * 400)]
    assert playback.take_played(0.05) == []
    assert playback.take_played(0.15) == [(400, b"a" * 400), (800, b"b" * 400)]
    assert playback.spans == [[0, 1600]]
    assert playback.silent_ms(0.15) == 0
    assert playback.silent_ms(0.45) == 250


def test_a_pause_begins_a_new_span() -> None:
    playback = Playback(began=0.0)
    playback.add(b"a" * 80, now=0.0)
    playback.add(b"b" * 80, now=0.5)
    assert playback.spans == [[0, 80], [4000, 4080]]
    assert lay_out(playback.take_played(1.0)) == b"a" * 80 + b"\xff" * 3920 + b"b" * 80


def test_marks_are_due_when_the_audio_before_them_was_played() -> None:
    playback = Playback(began=0.0)
    playback.mark("at once")
    assert playback.due_marks(0.0) == ["at once"]
    playback.add(b"a" * 800, now=0.0)
    playback.mark("first")
    playback.add(b"a" * 800, now=0.0)
    playback.mark("second")
    playback.mark("third")
    assert playback.due_marks(0.0999) == []
    assert playback.due_marks(0.1) == ["first"]
    assert playback.due_marks(0.3) == ["second", "third"]


def test_clear_keeps_what_was_played_and_returns_all_marks() -> None:
    playback = Playback(began=0.0)
    playback.add(b"a" * 800, now=0.0)
    playback.mark("one")
    playback.add(b"b" * 800, now=0.5)
    playback.mark("two")
    assert playback.clear(0.05) == ["one", "two"]
    assert playback.take_played(9.0) == [(0, b"a" * 400)]
    assert (playback.spans, playback.end) == ([[0, 400]], 400)
    assert playback.clear(9.0) == []
    playback.add(b"c", now=9.0)
    assert playback.take_played(9.1) == [(72000, b"c")]


def test_words_are_heard_from_pieces_cut_anywhere() -> None:
    audio = encode_speech("One two", 4) + b"\xff" * 77 + encode_speech("three", 4)
    hearing, place = Hearing(), 0
    for size in (1, 159, 500, 33, 3000, 10_000):
        hearing.feed(1000 + place, audio[place : place + size])
        place += size
    first, second = hearing.utterances
    assert (first.text, first.start_ms, first.end_ms, first.complete) == ("One two", 125.0, 545.0, True)
    assert (second.text, second.start_ms, second.complete) == ("three", (1000 + 3360 + 77) / 8, True)


def test_a_cut_utterance_is_not_complete_and_the_next_one_is_another() -> None:
    audio = encode_speech("Never finished", 4)
    hearing = Hearing()
    hearing.feed(0, audio[:3000])
    hearing.feed(9000, encode_speech("New", 4))
    cut, new = hearing.utterances
    assert (cut.text, cut.complete, cut.end_ms) == ("Never ", False, 360.0)
    assert (new.text, new.complete, new.start_ms) == ("New", True, 1125.0)


def test_a_frame_missing_in_the_middle_makes_it_incomplete() -> None:
    audio = encode_speech("Missing", 4)
    hearing = Hearing()
    hearing.feed(0, audio[:960] + audio[1120:])
    (heard,) = hearing.utterances
    assert (heard.text, heard.complete) == ("Mising", False)
