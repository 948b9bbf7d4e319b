"""Recordings: files that can be played, whatever has become of the worker that wrote them."""

import logging
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gevent.threadpool import ThreadPool

from tests.core.test_agent_track import piece, spans
from tests.running import wait_until
from voice.core import events as ev
from voice.core.audio import SILENCE
from voice.recorder import LAG_S, Recorder, Recordings, header

SID = "CA" + "1" * 32
ROOT = Path(__file__).parents[1]


def read(path: Path) -> tuple[bytes, bytes]:
    """Left and right, by the file's own account: its chunks, read independently."""
    data = path.read_bytes()
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE"
    chunks, place = {}, 12
    while place < 8 + struct.unpack("<I", data[4:8])[0]:
        name, size = struct.unpack("<4sI", data[place : place + 8])
        chunks[name] = data[place + 8 : place + 8 + size]
        place += 8 + size
    # Mu-law, two channels, 8000 a second.
    assert struct.unpack("<HHIIHHH", chunks[b"fmt "]) == (7, 2, 8000, 16000, 2, 8, 0)
    sound = chunks[b"data"]
    assert struct.unpack("<I", chunks[b"fact"]) == (len(sound) // 2,)
    return sound[0::2], sound[1::2]


def _speak(recorder: Recorder, seconds: int) -> None:
    """As if so long had passed."""
    for frame in range(1, seconds * 50 + 1):
        recorder._began = time.monotonic() - frame / 50
        recorder.hear(b"c" * 160)


def test_the_caller_is_left_and_the_agent_right(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path / "sound")
    recorder = recordings.of(SID, 7)
    recorder.happened(ev.StreamStarted(), piece(1, 600, b"a"), 0.0)
    _speak(recorder, 3)
    recorder.close()
    wait_until(lambda: recorder.path.exists() and recorder._file is not None and recorder._file.closed, 5, "written")
    left, right = read(recorder.path)
    assert abs(len(left) - 3 * 8000) < 800 and left[: 3 * 8000] == b"c" * len(left[: 3 * 8000])
    assert spans(right) == [(0.0, 0.6, "a")]
    assert recorder.path == tmp_path / "sound" / "7" / f"{SID}.wav" == recordings.find(SID)
    assert recorder.path.stat().st_mode & 0o777 == 0o600 and recorder.path.parent.stat().st_mode & 0o777 == 0o700


def test_keys_that_are_nobodys_business_are_not_heard(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "x.wav", ThreadPool(1))
    recorder.hear(b"c" * 160)
    for action, sound in (
        (ev.CollectDigits("pin", True, 4), SILENCE),
        (ev.CollectDigits("", False, 0), b"c"),
        (ev.CollectDigits("day", False, 0), b"c"),
    ):
        recorder.happened(ev.DeadlinePassed(), [action], 1.0)
        recorder.hear(b"c" * 160)
        assert recorder._caller[-160:] == sound * 160


_KILLED = """
import sys, time
from gevent import monkey
monkey.patch_all()
from pathlib import Path
from voice.recorder import Recordings
recorder = Recordings(Path(sys.argv[1])).of(sys.argv[2], 7)
recorder._began -= 10
while True:
    recorder.hear(b"c" * 160)
    time.sleep(0.002)
"""


def test_what_a_killed_worker_has_left_can_be_played(tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-W", "ignore", "-c", _KILLED, str(tmp_path), SID], cwd=ROOT)
    path = tmp_path / "7" / f"{SID}.wav"
    wait_until(lambda: path.exists() and path.stat().st_size > 100_000, 10, "it writes")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    left, right = read(path)
    assert len(left) > 40_000 and left[:100] == b"c" * 100 and set(right) == {0xFF}

    # The kill may fall between the sound and the header.
    before = path.stat().st_mtime
    with path.open("r+b") as file:
        file.write(header(1000))
    os.utime(path, (before, before))
    assert Recordings(tmp_path).find(SID) == path
    assert read(path) == (left, right) and path.stat().st_mtime == before


def test_the_next_stream_goes_on_in_the_file_at_its_time(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    for earlier in (2.0, 0.0):
        recorder = recordings.of(SID, 7)
        _speak(recorder, 4)
        recorder.close()
        wait_until(lambda r=recorder: r._file is not None and r._file.closed, 5, "written")  # type: ignore[misc]
        path = recorder.path
        # As if that had been some time ago.
        at = path.stat().st_mtime - earlier - LAG_S
        os.utime(path, (at, at))
    left, _ = read(path)
    assert abs(len(left) / 8000 - 10) < 0.3
    assert [(round(start), round(end)) for start, end, _ in spans(left)] == [(0, 4), (6, 10)]


def test_recordings_are_kept_as_long_as_was_said_when_they_were_made(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    for days, age in ((7, 6), (7, 8), (30, 8), (30, 31)):
        path = tmp_path / str(days) / f"CA{age:032x}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(header(0))
        at = time.time() - age * 86400
        os.utime(path, (at, at))
    other = tmp_path / "notes.txt"
    other.write_text("not ours")
    recordings.sweep()
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))
    assert left == [f"30/CA{8:032x}.wav", f"7/CA{6:032x}.wav"] and other.exists()
    assert recordings.delete_older(7) == 1
    recordings.delete(f"CA{6:032x}")
    assert list(tmp_path.glob("*/*")) == []


def test_a_disk_that_takes_nothing_costs_a_warning_and_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "7").write_text("in the way")
    recorder = Recordings(tmp_path).of(SID, 7)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            _speak(recorder, 4)
            recorder._written = 0
            wait_until(lambda: all(each.ready() for each in recorder._waiting), 5, "tried")
    recorder.close()
    assert [r.message for r in caplog.records if "not recorded any more" in r.message][1:] == []
    assert "not recorded any more" in caplog.text


def test_a_recording_that_is_closed_is_whole_and_stays_as_it_is(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    recorder = recordings.of(SID, 7)
    recorder._began -= 2
    for _ in range(100):
        recorder.hear(b"c" * 160)
    recorder.close()
    path = tmp_path / "7" / f"{SID}.wav"
    written = path.read_bytes()
    assert read(path)[0].count(b"c") == 16000
    recorder._began -= 10
    for _ in range(100):
        recorder.hear(b"d" * 160)
    recordings._thread.join()
    assert path.read_bytes() == written and not recorder._is_broken()
