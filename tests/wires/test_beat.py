"""Waiting together."""

import time

import gevent

from tests.wires.loopback import tcp_pair
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


def test_who_begins_between_two_beats_waits_no_shorter() -> None:
    """All who wait would go on at the same moment, and everything else behind them."""
    gevent.spawn(_wait, 7)
    beat.Pause(1).wait()
    gevent.sleep(beat.BEAT_S / 2)
    began = time.monotonic()
    beat.Pause(2).wait()
    assert time.monotonic() - began > 1.6 * beat.BEAT_S


def test_who_waits_for_a_socket_goes_on_when_it_is_readable_and_after_so_many_beats_at_the_latest() -> None:
    ours, theirs = tcp_pair()
    watcher = beat.readable(ours)
    with gevent.Timeout(1, AssertionError("nothing ends it")):
        beat.Pause(2).wait_for(watcher)
        theirs.sendall(b"now")
        pause, began = beat.Pause(7), time.monotonic()
        pause.wait_for(watcher)
    assert time.monotonic() - began < 6 * beat.BEAT_S and not watcher.active
    beat.Pause(7).wait()
    ours.close()
    theirs.close()


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
