"""The file of one call: every event and action as it happens, written by the call greenlet, flushed line by line.

`python -m voice replay FILE` feeds it to the pure core again; a bad call becomes a test by copying its file.
"""

import errno
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from io import FileIO
from pathlib import Path

import orjson

from voice.core import call_log
from voice.core.events import Action, Event
from voice.core.rules import Rules
from voice.core.transcript import Past

_log = logging.getLogger("voice.call_log")


class CallLog:
    """Opened when the call is known. A file that cannot be written costs one warning, never the call."""

    def __init__(self, directory: Path, call: dict[str, str], rules: Rules, past: Past) -> None:
        self.path = directory / f"{call['call_sid']}.jsonl"
        self._file: FileIO | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Without a buffer: what could not be written would be tried again at the end, behind what was cut off.
            self._file = self.path.open("ab", buffering=0)
            self.path.chmod(0o600)
        except OSError as error:
            self._broken(error)
        self._write([{"call": call, "rules": asdict(rules), "past": past.plain()}])

    def write(self, event: Event, actions: Sequence[Action], now: float) -> None:
        self._write([call_log.event_line(event, now), *(call_log.action_line(action, now) for action in actions)])

    def close(self) -> None:
        file, self._file = self._file, None
        if file:
            # A file on another machine may tell only now that it has lost something.
            with suppress(OSError):
                file.close()

    def _write(self, lines: list[dict[str, object]]) -> None:
        if self._file is None:
            return
        try:
            text = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
            written = self._file.write(text)
            if written < len(text):
                self._cut(written)
                raise OSError(errno.ENOSPC, "only a part of a line has found room")
        # TypeError: a value that JSON has no place for, such as a number of more than 64 bits.
        except (OSError, TypeError) as error:
            self._broken(error)

    def _cut(self, written: int) -> None:
        """Take half a line away: the file shall end where it can be replayed."""
        if self._file and written:
            with suppress(OSError):
                self._file.truncate(self._file.tell() - written)

    def _broken(self, error: OSError | TypeError) -> None:
        _log.warning("the call log %s cannot be written and ends here: %s", self.path, error)
        self.close()
