"""The file of one call: every event and action as it happens, written by the call greenlet, flushed line by line.

`python -m voice replay FILE` feeds it to the pure core again; a bad call becomes a test by copying its file.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from io import BufferedWriter
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
        self._file: BufferedWriter | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self.path.open("ab")
            self.path.chmod(0o600)
        except OSError as error:
            self._broken(error)
        self._write([{"call": call, "rules": asdict(rules), "past": past.plain()}])

    def write(self, event: Event, actions: Sequence[Action], now: float) -> None:
        self._write([call_log.event_line(event, now), *(call_log.action_line(action, now) for action in actions)])

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _write(self, lines: list[dict[str, object]]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))
            self._file.flush()
        # TypeError: a value that JSON has no place for, such as a number of more than 64 bits.
        except (OSError, TypeError) as error:
            self._broken(error)

    def _broken(self, error: OSError | TypeError) -> None:
        _log.warning("the call log %s cannot be written: %s", self.path, error)
        self._file = None
