"""A worker that uses too much memory goes while it still can, calls and all, before the kernel picks its victim."""

import logging
from collections.abc import Callable

import gevent

from voice import limits, supervision

_LOOK_S = 5.0
_ROOM_MB = 128
"""A worker has at least so much beyond what it used when it was new: else it would go as soon as it has come."""

_log = logging.getLogger("voice.memory")


class Memory:
    """`leave` is asked once, when the worker uses more than `limit_mb`: it hands its calls over and takes none."""

    def __init__(
        self, limit_mb: int, leave: Callable[[], None], used_mb: Callable[[], float | None] = limits.used_mb
    ) -> None:
        self._used_mb = used_mb
        self._limit_mb = max(limit_mb, int(used_mb() or 0) + _ROOM_MB)
        self._leave = leave
        if self._limit_mb > limit_mb:
            _log.warning("%d MB are too little memory for a worker: %d MB are its limit", limit_mb, self._limit_mb)

    def start(self) -> gevent.Greenlet:
        return supervision.supervise("memory", self._watch)

    def _watch(self) -> None:
        while True:
            used = self._used_mb()
            if used is not None and used > self._limit_mb:
                break
            gevent.sleep(_LOOK_S)
        _log.error(
            "this worker uses %.0f MB, more than its %d MB, and goes: another takes its place", used, self._limit_mb
        )
        self._leave()
