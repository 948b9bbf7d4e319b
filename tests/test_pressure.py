"""When a worker has no time for another call."""

import logging
import time

import gevent
import pytest

from voice.pressure import BEAT_S, Pressure


class Life:
    """A worker's beats, each with its lag and its share of a processor."""

    def __init__(self) -> None:
        self.pressure = Pressure()
        self.now = self.cpu_s = 0.0

    def beats(self, count: int, lag_s: float = 0.0, busy: float = 0.3) -> bool:
        for _ in range(count):
            self.now += BEAT_S + lag_s
            self.cpu_s += busy * (BEAT_S + lag_s)
            self.pressure.felt(self.now, lag_s, self.cpu_s)
        return self.pressure.is_high


def test_a_worker_that_is_half_busy_takes_calls() -> None:
    assert not Life().beats(40, lag_s=0.01, busy=0.7)


def test_one_long_task_is_no_reason_and_two_seconds_of_lateness_are() -> None:
    life = Life()
    assert not life.beats(8) and not life.beats(1, lag_s=0.4) and not life.beats(8)
    assert life.pressure.longest_lag_s == 0.4
    assert life.beats(3, lag_s=0.06)
    assert not life.beats(8)


def test_a_worker_that_others_keep_waiting_takes_calls() -> None:
    assert not Life().beats(40, lag_s=0.2, busy=0.2)


def test_a_worker_without_a_rest_is_full_before_it_is_late_and_stays_so_until_it_has_rested() -> None:
    life = Life()
    assert life.beats(10, lag_s=0.01, busy=0.9)
    assert life.beats(10, busy=0.8)
    assert not life.beats(10, busy=0.7)
    assert not life.beats(10, busy=0.8)


def test_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    life = Life()
    with caplog.at_level(logging.INFO, "voice.pressure"):
        life.beats(20, lag_s=0.1)
        life.beats(20)
    full, free = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert full == "this worker has no time for new calls, they are refused"
    assert free == "this worker takes new calls again"


def test_a_long_line_of_greenlets_is_seen_though_timers_come_in_time() -> None:
    def busy() -> None:
        while True:
            until = time.perf_counter() + 0.003
            while time.perf_counter() < until:
                pass
            gevent.sleep(0)

    pressure = Pressure()
    # A turn of all takes 120 ms, and what a timer says of it was 80.
    line = [gevent.spawn(busy) for _ in range(40)]
    watching = pressure.start()
    try:
        with gevent.Timeout(5, AssertionError("it looks free")):
            while pressure.longest_lag_s < 0.15:
                gevent.sleep(0.1)
    finally:
        gevent.killall([*line, watching])
