"""Waiting together."""

import time

import gevent

from voice.wires import beat


def _wait(beats: int) -> None:
    beat.Pause(beats).wait()


def test_those_who_wait_for_the_same_beat_go_on_together_and_after_as_many_as_they_asked_for() -> None:
    came: list[tuple[int, float]] = []

    def listener(beats: int) -> None:
        beat.Pause(beats).wait()
        came.append((beats, time.monotonic()))

    beat.Pause(1).wait()
    began = time.monotonic()
    gevent.joinall([gevent.spawn(listener, beats) for beats in (3, 1, 7, 3)], raise_error=True)
    assert [beats for beats, _ in came] == [1, 3, 3, 7]
    for beats, at in came:
        assert (beats - 1) * beat.BEAT_S < at - began
    assert came[2][1] - came[1][1] < beat.BEAT_S / 2


def test_who_is_killed_while_waiting_keeps_nobody_from_going_on() -> None:
    killed, other = gevent.spawn(_wait, 2), gevent.spawn(_wait, 2)
    gevent.sleep(0)
    killed.kill()
    other.get(timeout=1)
    assert killed.value is None or isinstance(killed.value, gevent.GreenletExit)


def test_an_error_of_one_is_its_own() -> None:
    def fails() -> None:
        beat.Pause(1).wait()
        raise ValueError

    other = gevent.spawn(_wait, 2)
    failing = gevent.spawn(fails)
    other.get(timeout=1)
    assert isinstance(failing.exception, ValueError)


def test_it_stops_while_nobody_waits_and_goes_on_for_the_next() -> None:
    beat.Pause(1).wait()
    own = beat._beat
    assert own is not None
    with gevent.Timeout(2):
        while own._timer.active:
            gevent.sleep(beat.BEAT_S)
    gevent.spawn(_wait, 2).get(timeout=1)


def test_one_that_is_ended_ends_at_once_and_once() -> None:
    began = time.monotonic()
    pause = beat.Pause(7)
    gevent.spawn(pause.end)
    pause.wait()
    assert time.monotonic() - began < beat.BEAT_S
    pause.end()
    beat.Pause(2).wait()
    assert time.monotonic() - began > beat.BEAT_S, "the next one was ended as well"


def test_who_waits_alone_goes_on_however_long_nobody_had_waited_before() -> None:
    for beats_between in range(12):
        beat.Pause(1).wait()
        gevent.sleep(beats_between * beat.BEAT_S)
        with gevent.Timeout(1, AssertionError(f"it waits on, {beats_between} beats after the one before")):
            beat.Pause(4).wait()
