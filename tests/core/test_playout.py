"""What was handed over and what of it was heard. Times are chosen; audio is sizes, but for the order of pieces."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice.core.audio import BYTES_PER_MS, Audio
from voice.core.events import Alignment
from voice.core.playout import AHEAD_MS, MARK_GRACE_S, Playout

NO_ALIGNMENT = Alignment()


def audio(ms: float) -> Audio:
    return Audio(int(ms * BYTES_PER_MS))


def spoken(text: str, ms_per_character: int) -> tuple[Audio, Alignment]:
    starts = tuple(range(0, len(text) * ms_per_character, ms_per_character))
    return audio(len(text) * ms_per_character), Alignment(text, starts, (ms_per_character,) * len(text))


def filled(ms: float) -> Playout:
    playout = Playout()
    playout.add(audio(ms), NO_ALIGNMENT)
    return playout


# Handing over


def test_audio_is_handed_over_at_most_so_far_ahead() -> None:
    playout = filled(10_000)
    assert [position for _, position in playout.take(0.0)] == [600, 1200, 1800, 2400]
    assert playout.take(0.1) == []
    assert playout.refill_at == 1.4
    playout.mark_returned(600, 0.6)
    playout.mark_returned(1200, 1.2)
    assert [position for _, position in playout.take(1.4)] == [3000, 3600]
    assert playout.started and not playout.over


def test_a_caller_whose_marks_do_not_come_is_sent_no_more() -> None:
    playout = filled(10_000)
    playout.take(0.0)
    # The first piece may have been heard: that much more is handed over, and then nothing.
    assert playout.take(60.0) == [(audio(600), 3000)]
    assert playout.take(120.0) == []
    assert playout.heard_ms(120.0) == 600
    assert playout.overdue_at == 0.6 + MARK_GRACE_S


def test_it_is_over_when_the_last_mark_has_come() -> None:
    playout = filled(1000)
    assert not playout.started and not playout.over
    assert [position for _, position in playout.take(0.0)] == [600, 1000]
    playout.mark_returned(600, 0.6)
    assert not playout.over
    playout.mark_returned(1000, 1.0)
    assert playout.over and playout.overdue_at is None and playout.refill_at is None
    playout.add(audio(200), NO_ALIGNMENT)
    assert not playout.over
    assert playout.take(5.0) == [(audio(200), 1200)]
    assert playout.heard_ms(5.1) == pytest.approx(1100)


def test_one_late_mark_stands_for_those_before_it() -> None:
    playout = filled(1800)
    playout.take(0.0)
    playout.mark_returned(1800, 1.8)
    assert playout.over and playout.heard_ms(1.8) == 1800
    playout.mark_returned(600, 1.9)
    assert playout.heard_ms(1.9) == 1800


@pytest.mark.parametrize("position", [0, 1, 599, 601, 2400, -600, 10**12])
def test_a_mark_that_was_never_sent_counts_for_nothing(position: int) -> None:
    playout = filled(1800)
    playout.take(0.0)
    playout.mark_returned(position, 0.3)
    assert playout.heard_ms(0.3) == 300


def test_an_empty_stretch_is_nothing_to_hand_over() -> None:
    playout = Playout()
    playout.add(audio(0), Alignment("", (), ()))
    assert playout.take(0.0) == []
    assert playout.over and not playout.started and playout.heard_text(1.0, "Hello.") == ""


# Hearing


def test_between_two_marks_the_clock_counts_and_never_past_the_next_mark() -> None:
    playout = filled(1200)
    playout.take(10.0)
    assert playout.heard_ms(10.0) == 0
    assert playout.heard_ms(10.25) == pytest.approx(250)
    assert playout.heard_ms(11.0) == 600
    playout.mark_returned(600, 11.0)
    assert playout.heard_ms(11.1) == pytest.approx(700)


def test_when_the_marks_do_not_come_the_clock_alone_counts() -> None:
    playout = filled(1800)
    playout.take(0.0)
    playout.assume_heard(2.6)
    assert playout.heard_ms(2.6) == 1800
    assert playout.over


def test_a_mark_that_was_no_longer_waited_for_takes_nothing_back() -> None:
    playout = filled(4000)
    playout.take(0.0)
    playout.assume_heard(1.0)
    assert playout.heard_ms(2.0) == pytest.approx(2000)
    playout.mark_returned(1200, 2.0)
    assert playout.heard_ms(2.0) == pytest.approx(2000)
    assert playout.heard_ms(2.1) == pytest.approx(2100)


def test_what_is_handed_over_after_a_silence_is_not_heard_at_once() -> None:
    playout = filled(1200)
    playout.take(0.0)
    playout.assume_heard(0.7)
    assert playout.heard_ms(30.0) == 1200
    playout.add(audio(1000), NO_ALIGNMENT)
    playout.take(30.0)
    assert playout.heard_ms(30.0) == 1200
    assert playout.heard_ms(30.5) == pytest.approx(1700)


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 30_000)),
    st.tuples(st.just("take"), st.none()),
    st.tuples(st.just("mark"), st.integers(0, 60)),
    st.tuples(st.just("late"), st.none()),
    st.tuples(st.just("wait"), st.integers(0, 3000)),
)


@given(st.lists(STEPS, max_size=60))
@settings(max_examples=300)
def test_whatever_the_marks_do(steps: list[tuple[str, int]]) -> None:
    """Pieces come out whole and in order; what was heard never goes back and is never more than was handed over."""
    playout, now, heard, sent = Playout(), 0.0, 0.0, 0
    sound, handed, marks = b"", b"", [0]
    for step, value in steps:
        match step:
            case "add":
                stretch = bytes((len(sound) + n) % 251 for n in range(value))
                sound += stretch
                playout.add(Audio(value, base64.b64encode(stretch).decode()), NO_ALIGNMENT)
            case "take":
                for piece, position in playout.take(now):
                    assert (sent / BYTES_PER_MS) - playout.heard_ms(now) < AHEAD_MS
                    sent += piece.size
                    handed += base64.b64decode(piece.payload)
                    assert position == sent // BYTES_PER_MS
                    marks.append(position)
            case "mark":
                playout.mark_returned(marks[value % len(marks)], now)
            case "late":
                playout.assume_heard(now)
            case "wait":
                now += value / 1000
        assert heard <= playout.heard_ms(now) <= sent / BYTES_PER_MS
        heard = playout.heard_ms(now)
        assert playout.total_ms == pytest.approx(len(sound) / BYTES_PER_MS)
    assert sound.startswith(handed)
    assert len(handed) == sent


# The words


TEXT = "We open at nine on weekdays, at ten on Saturdays, and on Sundays we are closed. Can I help you with more?"


def test_the_words_heard_of_a_reply_of_ten_seconds_are_at_most_one_off() -> None:
    per_character = 10_000 // len(TEXT)
    playout = Playout()
    for piece in (TEXT[:40], TEXT[40:41], TEXT[41:]):
        playout.add(*spoken(piece, per_character))
    words = TEXT.split()
    now, pending = 0.0, playout.take(0.0)
    while now < 10.0:
        for _, position in [p for p in pending if p[1] <= now * 1000]:
            playout.mark_returned(position, now)
        pending = [p for p in pending if p[1] > now * 1000] + playout.take(now)
        heard = playout.heard_text(now, TEXT).split()
        exact = TEXT[: int(now * 1000 / per_character)].split()
        assert heard == words[: len(heard)]
        assert abs(len(heard) - len(exact)) <= 1
        now = round(now + 0.1, 3)
    assert len(words) - len(playout.heard_text(now, TEXT).split()) <= 1


def test_all_of_it_was_heard_to_the_last_letter() -> None:
    playout = Playout()
    playout.add(*spoken("Yes, of course.", 40))
    playout.take(0.0)
    playout.mark_returned(600, 0.6)
    assert playout.heard_text(0.6, "Yes, of course.") == "Yes, of course."
    assert playout.letters_spoken() == len("Yes, of course.")


@pytest.mark.parametrize(
    ("heard_ms", "words"), [(0, ""), (99, ""), (100, ""), (500, "One"), (600, "One"), (699, "One"), (800, "One two")]
)
def test_a_word_that_was_cut_in_two_was_not_heard(heard_ms: int, words: str) -> None:
    playout = Playout()
    playout.add(*spoken("One\ntwo three", 100))
    playout.take(0.0)
    for position in (600, 1200):
        if position <= heard_ms:
            playout.mark_returned(position, position / 1000)
    assert playout.heard_text(heard_ms / 1000, "") == words


def test_without_alignment_the_words_are_those_of_the_same_share_of_the_time() -> None:
    playout = filled(1200)
    playout.take(0.0)
    assert playout.heard_text(0.0, "one two three four") == ""
    assert playout.heard_text(0.6, "one two three four") == "one two"
    playout.mark_returned(600, 0.6)
    playout.mark_returned(1200, 1.2)
    assert playout.heard_text(1.2, "one two three four") == "one two three four"


def test_an_alignment_of_three_lengths_counts_as_far_as_all_go() -> None:
    playout = Playout()
    playout.add(audio(600), Alignment("Hello", (0, 100, 200), (100, 100)))
    assert playout.letters_spoken() == 2
