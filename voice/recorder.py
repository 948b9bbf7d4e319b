"""Recordings: both sides of a call as a stereo WAV file of mu-law, written while the call goes on.

A native thread writes, about once a second, and brings the file's header up to date each time: what a killed worker has
left behind can be played.
"""

import logging
import os
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from voice.core import events as ev
from voice.core.agent_track import AgentTrack
from voice.core.audio import SAMPLE_RATE, SILENCE

LAG_S = 2.5
"""So long after it sounded is it written: until then a mark may say when it did, and a clear that it did not."""
_FRAMES = 50
_MOST_WAITING = 30
"""Seconds of one call: a disk that takes no more is not waited for."""
_LONGEST_GAP_S = 600
_CLOSED_WITHIN_S = 1.0
_DAY_S = 86400.0
# Sampling WAVE_FORMAT_MULAW, with the `fact` chunk that every format but PCM has (Microsoft, "New Multimedia Data
# Types and Data Techniques", 1994).
_HEADER = struct.Struct("<4sI4s4sIHHIIHHH4sII4sI")

_log = logging.getLogger("voice.recorder")


def header(data: int) -> bytes:
    """Of a file with so many bytes of sound."""
    return _HEADER.pack(
        b"RIFF", _HEADER.size - 8 + data, b"WAVE", b"fmt ", 18, 7, 2, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 8, 0,
        b"fact", 4, data // 2, b"data", data,
    )  # fmt: skip


class Recordings:
    """Of one worker, below `directory`: a folder for each number of days that recordings are kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._thread = ThreadPool(1)

    def of(self, call_sid: str, keep_days: int) -> "Recorder":
        """A new stream of that call; it goes on in the same file."""
        return Recorder(self._directory / str(keep_days) / f"{call_sid}.wav", self._thread)

    def find(self, call_sid: str) -> Path | None:
        """Its file, on this machine, fit to be played."""
        found: Path | None = self._thread.spawn(self._found, call_sid).get()
        return found

    def _found(self, call_sid: str) -> Path | None:
        path = next(self._directory.glob(f"*/{call_sid}.wav"), None)
        if path:
            _repaired(path)
        return path

    def delete(self, call_sid: str) -> None:
        for path in self._directory.glob(f"*/{call_sid}.wav"):
            path.unlink(missing_ok=True)

    def delete_older(self, days: int | None = None) -> int:
        """What is older than it is to be kept, or than `days`; how many those were. Raises OSError."""
        deleted = 0
        for path in list(self._files()):
            kept = int(path.parent.name) if days is None else days
            if path.stat().st_mtime < time.time() - kept * _DAY_S:
                path.unlink(missing_ok=True)
                deleted += 1
        return deleted

    def sweep(self) -> None:
        """A chore of the monitor's."""
        try:
            deleted = self._thread.spawn(self._swept).get()
        except OSError as error:
            _log.warning("recordings that are too old cannot be deleted yet: %s", error)
            return
        if deleted:
            _log.info("%d recordings are deleted, too old", deleted)

    def _swept(self) -> int:
        return self.delete_older()

    def _files(self) -> Iterator[Path]:
        return (path for path in self._directory.glob("*/CA*.wav") if path.parent.name.isdecimal())


class Recorder:
    """One stream of a call: told what the caller says and what happens, from the call's greenlets."""

    def __init__(self, path: Path, thread: ThreadPool) -> None:
        self.path = path
        self._thread = thread
        self._began = time.monotonic()
        self._caller = bytearray()
        self._agent = AgentTrack()
        self._frames = self._written = 0
        self._muted = self._closed = False
        self._waiting: list[AsyncResult] = []
        self._broken = False
        # In the thread only.
        self._file: BinaryIO | None = None
        self._size = 0

    def hear(self, mulaw: bytes) -> None:
        """Some frames of the caller's; none after `close`."""
        if self._closed:
            return
        self._caller += SILENCE * len(mulaw) if self._muted else mulaw
        self._frames += 1
        if self._frames % _FRAMES == 0:
            self._write_until(time.monotonic() - self._began - LAG_S)

    def happened(self, event: ev.Event, actions: Sequence[ev.Action], now: float) -> None:
        """`now` is in seconds since the stream's start."""
        if isinstance(event, ev.StreamStarted):
            self._began = time.monotonic() - now
        self._agent.happened(event, actions, now)
        for action in actions:
            if isinstance(action, ev.CollectDigits):
                # Keys sound on the line too, and these are nobody's business.
                self._muted = bool(action.name) and action.sensitive

    def close(self) -> None:
        """Write what is left, and the file is done; waits for that a second at most."""
        self._write_until(time.monotonic() - self._began)
        self._closed = True
        self._thread.spawn(self._close).wait(_CLOSED_WITHIN_S)

    def _write_until(self, now: float) -> None:
        until = int(now * SAMPLE_RATE)
        count = until - self._written
        if count <= 0 or self._is_broken():
            return
        sound = bytearray(2 * count)
        sound[0::2] = bytes(self._caller[:count]).ljust(count, SILENCE)
        sound[1::2] = self._agent.take(until)
        del self._caller[:count]
        self._written = until
        self._waiting.append(self._thread.spawn(self._append, bytes(sound)))

    def _is_broken(self) -> bool:
        """Told once; the call goes on without."""
        while self._waiting and self._waiting[0].ready():
            wrong = self._waiting.pop(0).get()
            if wrong and not self._broken:
                self._broken = True
                _log.warning("%s: not recorded any more: %s", self.path.stem, wrong)
        if len(self._waiting) > _MOST_WAITING and not self._broken:
            self._broken = True
            _log.warning("%s: not recorded any more: the disk is too slow", self.path.stem)
        return self._broken

    # In the thread: errors come back as values, the pool would print the traceback of what it sees raised.

    def _append(self, sound: bytes) -> str:
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(sound)
            self._size += len(sound)
            _bring_up_to_date(self._file, self._size)
        except OSError as error:
            return str(error)
        return ""

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        stat = os.fstat(file.fileno())
        if stat.st_size < _HEADER.size:
            file.write(header(0))
            return file
        # An earlier stream of the call: what was between the two was silence.
        self._size = (stat.st_size - _HEADER.size) // 2 * 2
        gap = min(max(0.0, time.time() - stat.st_mtime - LAG_S), _LONGEST_GAP_S)
        file.seek(_HEADER.size + self._size)
        self._size += file.write(SILENCE * (int(gap * SAMPLE_RATE) * 2))
        return file

    def _close(self) -> None:
        if self._file:
            self._file.close()


def _bring_up_to_date(file: BinaryIO, data: int) -> None:
    file.seek(0)
    file.write(header(data))
    file.seek(_HEADER.size + data)


def _repaired(path: Path) -> None:
    """A worker that was killed may have left a header that is older than the sound."""
    try:
        with path.open("r+b", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            told = file.read(_HEADER.size)
            data = max(0, size - _HEADER.size) // 2 * 2
            if told != header(data):
                stat = path.stat()
                file.seek(0)
                file.write(header(data))
                # When it was written last says how long it is kept, and where the next stream begins.
                os.utime(path, (stat.st_atime, stat.st_mtime))
    except OSError as error:
        _log.warning("%s: its recording cannot be read: %s", path.stem, error)
