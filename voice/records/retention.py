"""Calls are kept for a set time: the monitor of every worker looks once an hour, and the first one deletes."""

import logging
from collections.abc import Callable
from pathlib import Path

import gevent

from voice.errors import RecordsUnavailable
from voice.records.records import Records

_DAY_S = 86400.0
_EVERY_S = 3600.0

_log = logging.getLogger("voice.records")


class Retention:
    def __init__(
        self,
        records: Records,
        call_log_dir: Path,
        days: int,
        delete_recordings: Callable[[int], object] = lambda days: None,
    ) -> None:
        """`delete_recordings` is told of how many days; it raises OSError."""
        self._delete_recordings = delete_recordings
        self._records = records
        self._call_log_dir = call_log_dir
        self._days = days
        self._next_at = 0.0

    def apply(self) -> None:
        """Delete what is too old, unless that was done within the last hour."""
        now = self._records.clock()
        if now < self._next_at:
            return
        try:
            deleted = self._records.delete_older_than(self._days * _DAY_S)
            # A folder with years of files takes the disk its time: not the hub's.
            gevent.get_hub().threadpool.apply(self._delete_files, (now - self._days * _DAY_S,))
        except (RecordsUnavailable, OSError) as error:
            _log.warning("calls that are too old cannot be deleted yet: %s", error)
            return
        self._next_at = now + _EVERY_S
        if deleted:
            _log.info("%d calls are deleted, older than %d days", deleted, self._days)

    def _delete_files(self, before: float) -> None:
        """Raises OSError."""
        self._delete_recordings(self._days)
        for path in self._call_log_dir.glob("CA*.jsonl"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
