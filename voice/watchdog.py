"""A native thread that watches the hub: what keeps it from all its calls is named in the log, and then ended.

gunicorn would find out after `timeout`, and its SIGABRT is lost in the greenlet that it meets: the worker would live
on without new calls, and lose those that it has half a minute later.
"""

import faulthandler
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import gevent
from gevent import monkey
from gevent.hub import Hub

from voice import logs, registry, supervision
from voice.pressure import LATE_S

ALARM_S = 0.6
"""A block is an error after so long, and told while it lasts; one of `LATE_S` is told when it is over."""
END_S = 5.0
"""Nobody holds a dead line much longer; a call that has lost its worker goes on at another within a second."""
_BACKSTOP_S = 8.0
"""C code that keeps Python's own lock stops this thread as well; then it is a timer of the system that ends the worker.
Of processor time: a process that was stopped for so long is as good as before."""
_BEAT_S = 1.0
_LOOK_S = 0.04
"""A look costs 100 us, nearly all of it for waking up."""
_SUSPECT_S = LATE_S - _LOOK_S
"""Whatever blocks for `LATE_S` is seen at it after so long or longer, and asked about: the next look may be late."""
_PAUSE_S = 1.0
"""One line in so long tells of short blocks."""
_SHOWN_LINES = 12
_FAIR_SHARE = 0.2
"""Of a processor; a hub that would run and gets less is starved by the machine."""
_WHOLE_SHARE = 0.9
"""Who gets less is looked at: whether it would run, or waits for something else."""
_AT_REST = Hub.run.__code__
_COLLECTED_ALL = 2
"""The generation of garbage collections that take long."""

_start_thread = monkey.get_original("_thread", "start_new_thread")
_thread_id = monkey.get_original("_thread", "get_ident")
_native_id = monkey.get_original("_thread", "get_native_id")
_sleep = monkey.get_original("time", "sleep")

_log = logging.getLogger("voice.watchdog")


@dataclass
class _Block:
    """A turn of the hub that is not over."""

    began: float
    silent_s: float = 0.0
    seen_s: float = 0.0
    held_s: float = 0.0
    """Of `seen_s`, what the hub itself needed: without the time in which others had its processor."""
    where: str = ""
    told: bool = False


class Watchdog:
    """One for each worker, started in the hub's thread. `end` is asked, in another thread, to end the process."""

    def __init__(self, end: Callable[[], None] = lambda: os._exit(1)) -> None:
        self._end = end
        self._hub_thread = 0
        self._clock: int | None = None
        self._stat = Path()
        self._loop: Any = None
        self._question: Any = None
        # When the hub came round to the latest question, and when it had last collected all garbage, for how long.
        self._answered_at = 0.0
        self._collecting_since = self._collected_at = self._collected_s = 0.0
        # Short blocks: when one was told last, and how many have not been since.
        self._told_at = 0.0
        self._left_out = 0

    def start(self) -> None:
        self._hub_thread = _thread_id()
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(self._hub_thread)
        self._stat = Path(f"/proc/self/task/{_native_id()}/stat")
        self._loop = gevent.get_hub().loop
        self._question = self._loop.async_(ref=False)
        self._question.start(self._answer)
        gc.callbacks.append(self._collects)
        faulthandler.register(signal.SIGPROF, file=2, chain=True)
        supervision.supervise("watchdog", self._beat)
        _start_thread(self._watch, ())

    # In the hub's thread

    def _beat(self) -> None:
        while True:
            # Nobody handles its signal: after the stacks are written it ends the process.
            signal.setitimer(signal.ITIMER_PROF, _BACKSTOP_S)
            gevent.sleep(_BEAT_S)

    def _answer(self) -> None:
        self._answered_at = time.monotonic()

    def _collects(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] == _COLLECTED_ALL:
            now = time.monotonic()
            if phase == "start":
                self._collecting_since = now
            else:
                self._collected_at, self._collected_s = now, now - self._collecting_since

    # In the thread

    def _watch(self) -> None:
        block: _Block | None = None
        turn = 0.0
        while True:
            began, ran_s = time.monotonic(), self._cpu_s()
            _sleep(_LOOK_S)
            passed_s, ran_s = time.monotonic() - began, self._cpu_s() - ran_s
            if block and block.where and self._answered_at > block.began:
                self._is_over(block)
                block = None
            asked = block is not None and bool(block.where)
            rests, before, turn = self._rests(), turn, self._loop.now()
            if rests and not asked:
                block = None
            elif block is None or (turn != before and not asked):
                # The hub's own note of when its turn began is by the clock on the wall, which may jump.
                age_s = min(max(0.0, time.time() - turn), passed_s)
                block = _Block(time.monotonic() - age_s)
                self._goes_on(block, age_s, self._share(ran_s, age_s))
            else:
                self._goes_on(block, passed_s, self._share(ran_s, passed_s))
            if block and block.silent_s >= _SUSPECT_S and not rests:
                if not block.where:
                    self._question.send()
                block.where = self._where()
            if block and block.silent_s >= END_S:
                _log.critical("this worker ends itself after %.1f s: its calls go on at others", block.silent_s)
                logs.flush()
                self._end()
                return

    def _goes_on(self, block: _Block, passed_s: float, share: float) -> None:
        block.seen_s += passed_s
        block.held_s += min(share, 1.0) * passed_s
        # A process that was stopped, and a machine that slept, did not block; nor does who gets no processor.
        if share >= _FAIR_SHARE:
            block.silent_s += min(passed_s, 2 * _LOOK_S)
        if block.silent_s >= ALARM_S and not block.told:
            block.told = True
            _log.error("this worker has done nothing else for %.1f s: %s", block.silent_s, self._where())

    def _is_over(self, block: _Block) -> None:
        lasted_s = self._answered_at - block.began
        if block.told:
            _log.warning("this worker goes on, after %.1f s", block.silent_s)
        elif lasted_s * block.held_s / block.seen_s >= LATE_S:
            # On a machine of its own it had been as late.
            self._tell(block, lasted_s)

    def _tell(self, block: _Block, lasted_s: float) -> None:
        if not registry.connections():
            return  # nobody has heard it
        if block.began < self._told_at + _PAUSE_S:
            self._left_out += 1
            return
        collects = self._collected_at > block.began and self._collected_s > lasted_s / 2
        garbage = "garbage collection, " if collects else ""
        more = f"; {self._left_out} more since the last line" if self._left_out else ""
        self._told_at, self._left_out = time.monotonic(), 0
        _log.warning("this worker did nothing else for %.0f ms: %s%s%s", lasted_s * 1000, garbage, block.where, more)

    def _rests(self) -> bool:
        """The hub waits for something to happen."""
        frame = sys._current_frames().get(self._hub_thread)
        return frame is None or frame.f_code is _AT_REST

    def _share(self, ran_s: float, passed_s: float) -> float:
        """Of a processor that the hub had; all of it if it did not want any, because it waits for something else."""
        share = ran_s / passed_s if passed_s > 0 else 1.0
        return share if share >= _WHOLE_SHARE or self._would_run() else 1.0

    def _cpu_s(self) -> float:
        """Processor seconds of the hub's thread."""
        return time.clock_gettime(self._clock) if self._clock is not None else 0.0

    def _would_run(self) -> bool:
        """False where there is no Linux to tell (proc_pid_stat(5): state)."""
        try:
            return self._stat.read_text().rpartition(")")[2].split()[0] == "R"
        except (OSError, IndexError):
            return False

    def _where(self) -> str:
        """The greenlet and its innermost lines, and the calls that wait."""
        frame: FrameType | None = sys._current_frames().get(self._hub_thread)
        if frame and frame.f_code is Watchdog._collects.__code__:
            # It is where a collection lets go of Python's lock.
            frame = frame.f_back
        places: list[str] = []
        while frame and len(places) < _SHOWN_LINES:
            places.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
            frame = frame.f_back
        calls = [connection.call_sid or connection.client_id for connection in registry.connections()]
        waiting = f"{len(calls)} calls wait: {', '.join(calls)}" if calls else "no call waits"
        return f"{_guilty()}in {' < '.join(places)}; {waiting}"


def _guilty() -> str:
    """The greenlet of a call that runs: only that one, if any, has no frame of its own to go on from."""
    for connection in registry.connections():
        for greenlet in connection.greenlets():
            if _runs(greenlet):
                return f"{greenlet.name} "
    return ""


def _runs(greenlet: Any) -> bool:
    return bool(greenlet.started) and not greenlet.dead and greenlet.gr_frame is None
