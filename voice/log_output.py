"""Standard error behind a native thread: whoever logs never waits, not even when nobody reads the other end.

A full pipe stops the thread that writes to it. Were that a worker's, all of its calls would stop; and the master, which
could have replaced the worker, would stop as well.
"""

import logging
import os
from typing import Any

from gevent import monkey

MOST_BYTES = 4 * 2**20
"""So much waits to be written; what comes then is thrown away and counted."""
_PIPE_IS_FULL_S = 0.05

_start_thread = monkey.get_original("_thread", "start_new_thread")
_new_lock = monkey.get_original("_thread", "allocate_lock")
_sleep = monkey.get_original("time", "sleep")
_Queue = monkey.get_original("queue", "SimpleQueue")

_log = logging.getLogger("voice.logs")


class Output:
    """Writes to `fd` in the order of `write`. After a fork each process has its own thread and its own queue."""

    def __init__(self, fd: int, most_bytes: int = MOST_BYTES) -> None:
        self._fd = fd
        self._most_bytes = most_bytes
        self._queue: Any = None
        self._given = self._taken = self._dropped = 0
        # Of the process whose thread it is.
        self._pid = -1

    def write(self, data: bytes) -> None:
        """From any thread, greenlet or signal handler; returns at once."""
        if self._pid != os.getpid():
            self._begin()
        if self._given - self._taken + len(data) > self._most_bytes:
            self._dropped += 1
            return
        self._given += len(data)
        self._queue.put(data)

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was given before is written within that time; stops the whole thread, greenlets and all."""
        if self._pid != os.getpid():
            return True
        written = _new_lock()
        written.acquire()
        self._queue.put(written)
        return bool(written.acquire(timeout=timeout_s))

    def _begin(self) -> None:
        # The parent's thread does not outlive a fork, and what it had not written is the parent's to write. No lock
        # anywhere here: a signal handler that logs in the middle of `write` would wait for itself.
        self._queue = _Queue()
        self._given = self._taken = self._dropped = 0
        self._pid = os.getpid()
        _start_thread(self._run, (self._queue,))

    # In the thread

    def _run(self, queue: Any) -> None:
        was_written = True
        while True:
            item = queue.get()
            if isinstance(item, bytes):
                was_written = self._put_out(item)
                self._taken += len(item)
            else:
                item.release()
            if was_written and self._dropped and queue.empty():
                dropped, self._dropped = self._dropped, 0
                _log.warning("%d lines of this log are missing here: nobody took them", dropped)

    def _put_out(self, data: bytes) -> bool:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                # Somebody else who has the pipe made it so.
                _sleep(_PIPE_IS_FULL_S)
            except OSError:
                self._dropped += 1
                return False
        return True
