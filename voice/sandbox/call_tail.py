"""Follows the log of a call while the server writes it: how somebody outside the server's process sees the call."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import gevent

Line = dict[str, Any]


class CallTail:
    def __init__(self, path: Path, on_line: Callable[[Line], None]) -> None:
        """`on_line` gets each line once, in order, from within `wait_until` and `read`."""
        self._path = path
        self._on_line = on_line
        self._file: IO[str] | None = None
        self._part = ""
        self.lines: list[Line] = []

    def wait_until(self, happened: Callable[[], bool], timeout: float, what: str) -> None:
        """Until the `lines` show it; `what` says it in the past tense. Raises TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        seen = -1
        while True:
            self.read()
            if len(self.lines) > seen and happened():
                return
            seen = len(self.lines)
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout:.0f} s in vain until {what}")
            gevent.sleep(0.02)  # the writer is another process: nothing wakes us

    def read(self) -> None:
        """Take in what has been written since the last time."""
        if self._file is None:
            if not self._path.exists():
                return
            self._file = self._path.open(encoding="utf-8")
        self._part += self._file.read()
        *whole, self._part = self._part.split("\n")
        for text in whole:
            line = json.loads(text)
            self.lines.append(line)
            self._on_line(line)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
