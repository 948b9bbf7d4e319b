"""A native thread that watches the hub: what keeps it from all its calls is named in the log, and then ended.

gunicorn would find out after `timeout`, and its SIGABRT is lost in the greenlet that it meets: the worker would live
on without new calls, and lose those that it has half a minute later.
"""

import faulthandler
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent import monkey

from voice import logs, registry, supervision

ALARM_S = 0.6
"""A block is told of after so long; the caller hears a stutter."""
END_S = 5.0
"""Nobody holds a dead line much longer; a call that has lost its worker goes on at another within a second."""
_BACKSTOP_S = 8.0
"""C code that keeps Python's own lock stops this thread as well; then it is a timer of C that ends the worker."""
_BEAT_S = 0.25
_LOOK_S = 0.1
_SHOWN_LINES = 12
_FAIR_SHARE = 0.2
"""Of a processor; a hub that would run and gets less is starved by the machine."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_start_thread = monkey.get_original("_thread", "start_new_thread")
_thread_id = monkey.get_original("_thread", "get_ident")
_native_id = monkey.get_original("_thread", "get_native_id")
_sleep = monkey.get_original("time", "sleep")

_log = logging.getLogger("voice.watchdog")


class Watchdog:
    """One for each worker, started in the hub's thread. `end` is asked, in another thread, to end the process."""

    def __init__(self, end: Callable[[], None] = lambda: os._exit(1)) -> None:
        self._end = end
        self._beats = 0
        self._hub_thread = 0
        self._stat = Path()

    def start(self) -> None:
        self._hub_thread = _thread_id()
        self._stat = Path(f"/proc/self/task/{_native_id()}/stat")
        supervision.supervise("watchdog", self._beat)
        _start_thread(self._watch, ())

    def _beat(self) -> None:
        while True:
            # A new timer costs a thread: not at every beat.
            if self._beats % 4 == 0:
                faulthandler.dump_traceback_later(_BACKSTOP_S, exit=True, file=2)
            self._beats += 1
            gevent.sleep(_BEAT_S)

    # In the thread

    def _watch(self) -> None:
        seen, silent_s, told = -1, 0.0, False
        while True:
            began, (ran_s, _) = time.monotonic(), self._hub()
            _sleep(_LOOK_S)
            if self._beats != seen:
                if told:
                    _log.warning("this worker goes on, after %.1f s", silent_s)
                seen, silent_s, told = self._beats, 0.0, False
                continue
            now_s, ready = self._hub()
            passed_s = min(time.monotonic() - began, 2 * _LOOK_S)
            # A process that was stopped, and a machine that slept, did not block; nor does who gets no processor.
            if not ready or now_s - ran_s >= _FAIR_SHARE * passed_s:
                silent_s += passed_s
            if silent_s >= ALARM_S and not told:
                told = True
                _log.error("%s", self._told(silent_s))
            if silent_s >= END_S:
                _log.critical("this worker ends itself after %.1f s: its calls go on at others", silent_s)
                logs.flush()
                self._end()
                return

    def _hub(self) -> tuple[float, bool]:
        """Processor seconds of the hub's thread, and whether it runs or would if it could; (0, False) where there is
        no Linux to tell (proc_pid_stat(5): state, utime, stime)."""
        try:
            fields = self._stat.read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, fields[0] == "R"
        except (OSError, IndexError, ValueError):
            return 0.0, False

    def _told(self, silent_s: float) -> str:
        frame = sys._current_frames().get(self._hub_thread)
        stack = traceback.extract_stack(frame)[-_SHOWN_LINES:] if frame else []
        places = " < ".join(f"{place.filename}:{place.lineno} {place.name}" for place in reversed(stack))
        calls = [connection.call_sid or connection.client_id for connection in registry.connections()]
        waiting = f"{len(calls)} calls wait: {', '.join(calls)}" if calls else "no call waits"
        return f"this worker has done nothing else for {silent_s:.1f} s: {_guilty()}in {places}; {waiting}"


def _guilty() -> str:
    """The greenlet of a call that runs: only that one, if any, has no frame of its own to go on from."""
    for connection in registry.connections():
        for greenlet in connection.greenlets():
            if _runs(greenlet):
                return f"{greenlet.name} "
    return ""


def _runs(greenlet: Any) -> bool:
    return bool(greenlet.started) and not greenlet.dead and greenlet.gr_frame is None
