"""What of the caller's audio a new session has to hear: all that was not understood, in order, and nothing twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice.core.audio import FRAME_BYTES
from voice.core.backlog import Backlog


def frame(number: int) -> bytes:
    return number.to_bytes(4, "big") * (FRAME_BYTES // 4)


def heard(backlog: Backlog, numbers: range, speech: bool = True, sent: bool = True) -> None:
    if speech:
        backlog.speech()
    for number in numbers:
        backlog.add(frame(number), sent)


def again(backlog: Backlog) -> list[int | None]:
    return [None if piece is None else int.from_bytes(piece[:4], "big") for piece in backlog.again()]


def test_silence_leaves_a_second_of_itself() -> None:
    backlog = Backlog(knows_speech=True)
    heard(backlog, range(500), speech=False)
    assert again(backlog) == list(range(450, 500)) and backlog.quiet and backlog.seconds == 1.0


def test_an_utterance_begins_with_the_second_before_it_and_is_kept_until_it_is_understood() -> None:
    backlog = Backlog(knows_speech=True)
    heard(backlog, range(100), speech=False)
    heard(backlog, range(100, 200))
    assert not backlog.quiet
    backlog.end()
    heard(backlog, range(200, 210), speech=False)
    assert again(backlog) == [*range(50, 200), None, *range(200, 210)]
    assert backlog.utterances() == 1
    backlog.named("item")
    backlog.understood("another item")
    assert backlog.utterances() == 1
    backlog.understood("item")
    assert again(backlog) == list(range(200, 210)) and backlog.quiet


def test_what_was_not_taken_is_the_oldest_that_has_no_name() -> None:
    backlog = Backlog(knows_speech=True)
    for first in (0, 100):
        heard(backlog, range(first, first + 10))
        backlog.end()
    backlog.named("one")
    backlog.understood("")
    assert again(backlog) == [*range(10), None]


def test_a_new_session_has_names_of_its_own() -> None:
    backlog = Backlog(knows_speech=True)
    for first in (0, 100):
        heard(backlog, range(first, first + 10))
        backlog.end()
    backlog.named("one")
    backlog.again()
    backlog.named("x")
    backlog.named("y")
    backlog.understood("x")
    assert again(backlog) == [*range(100, 110), None]


def test_a_transcriber_that_finds_utterances_itself_is_told_of_none() -> None:
    backlog = Backlog(knows_speech=False)
    heard(backlog, range(200), speech=False, sent=False)
    assert again(backlog) == list(range(200)), "any of it may be speech"
    backlog.speech()
    heard(backlog, range(200, 250))
    backlog.named("item")
    heard(backlog, range(250, 260), speech=False)
    assert again(backlog) == list(range(260)) and backlog.utterances() == 0
    backlog.named("item")
    backlog.understood("item")
    assert backlog.quiet


def test_more_than_fifteen_seconds_push_out_the_oldest_and_only_what_was_never_heard_is_lost() -> None:
    backlog = Backlog(knows_speech=True)
    heard(backlog, range(400), sent=True)
    backlog.end()
    heard(backlog, range(400, 900), sent=False)
    assert again(backlog) == [*range(150, 400), None, *range(400, 900)]
    assert backlog.lost_bytes == 150 * FRAME_BYTES
    heard(backlog, range(900, 1200), sent=True)
    assert again(backlog) == list(range(450, 1200)) and backlog.utterances() == 0


def test_two_names_in_a_row_leave_nothing_that_is_in_the_way() -> None:
    backlog = Backlog(knows_speech=False)
    heard(backlog, range(100), sent=True)
    backlog.named("a")
    backlog.named("b")
    heard(backlog, range(100, 1000), sent=False)
    assert again(backlog) == list(range(250, 1000))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 80)),
        st.tuples(st.sampled_from(["speech", "end", "named", "again"]), st.just(0)),
        st.tuples(st.just("understood"), st.integers(0, 5)),
    ),
    max_size=60,
)


@given(st.booleans(), steps)
def test_whatever_happens_order_is_kept_and_the_bytes_are_counted(
    knows_speech: bool, happened: list[tuple[str, int]]
) -> None:
    backlog = Backlog(knows_speech)
    added = names = 0
    for what, count in happened:
        match what:
            case "add":
                heard(backlog, range(added, added + count), speech=False, sent=count % 2 == 0)
                added += count
            case "named":
                backlog.named(f"item-{names}")
                names += 1
            case "understood":
                backlog.understood(f"item-{count}" if count else "")
            case _:
                getattr(backlog, what)()
    frames = [number for number in again(backlog) if number is not None]
    assert frames == sorted(set(frames)) and len(frames) * FRAME_BYTES == round(backlog.seconds * 8000) <= 15 * 8000


@pytest.mark.parametrize("knows_speech", [True, False])
def test_no_audio_is_nothing_to_hear(knows_speech: bool) -> None:
    backlog = Backlog(knows_speech)
    assert backlog.again() == [] and backlog.quiet and backlog.seconds == 0 and backlog.utterances() == 0
