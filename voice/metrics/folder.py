"""The files in which the workers count, in a folder of their own; whoever is asked for the figures reads them all.

`prometheus_client` maps files of each worker into its memory: a count costs no write to a disk. The folder is of this
server alone, and new with each start. It is in the machine's memory if there is room: a disk that is full would end a
worker with SIGBUS in the middle of a count. Before it is there, nothing of `prometheus_client` may be imported.
"""

import atexit
import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Has to be set before `prometheus_client` is imported."""
_IN_MEMORY = "/dev/shm"
_PREFIX = "voice-metrics-"
_KINDS = ("counter", "histogram", "gauge_livesum", "gauge_livemax")
_SUMMED = ("counter", "histogram")
_FILE_BYTES = 131072
"""Set aside at once, so that no count can fail for want of room; what the figures need is a third of it."""
_ROOM_BYTES = 2**26
_LOCK_WAIT_S = 1.0
_LOOK_S = 0.01


def make() -> None:
    """In gunicorn's master, before any worker: a new, empty folder, which goes with this process; a second time, at a
    reload, nothing. Folders of servers that were killed are removed.

    Raises OSError; then each worker counts for itself alone.
    """
    if _is_ours(os.environ.get(VARIABLE, "")):
        return
    # Of the master that has started this process, to take its place or to look at new settings.
    os.environ.pop(VARIABLE, None)
    base = next(base for base in (_IN_MEMORY, tempfile.gettempdir()) if _has_room(base) or base != _IN_MEMORY)
    _sweep(base)
    made = tempfile.mkdtemp(prefix="." + _PREFIX, dir=base)
    # Held by the master and, as they inherit it, by its workers: as long as any of them lives. Never closed.
    held = os.open(f"{made}/held", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    # Only now may another server look whether it is held.
    folder = f"{base}/{_PREFIX}{os.getpid()}-{made.rpartition('-')[2]}"
    os.rename(made, folder)
    atexit.register(_remove, folder)
    for kind in _SUMMED:
        _set_aside(Path(folder, f"{kind}_gone.db"))
    os.environ[VARIABLE] = folder


def _is_ours(folder: str) -> bool:
    return os.path.basename(folder).startswith(f"{_PREFIX}{os.getpid()}-")


def _remove(folder: str) -> None:
    # A worker ends by way of this too.
    if _is_ours(folder):
        shutil.rmtree(folder, ignore_errors=True)


def join(pid: int) -> None:
    """In a worker, before it counts. Without room for its files it counts for itself alone."""
    if VARIABLE not in os.environ:
        return
    try:
        for kind in _KINDS:
            _set_aside(_file(kind, pid))
    except OSError:
        for kind in _KINDS:
            _file(kind, pid).unlink(missing_ok=True)
        del os.environ[VARIABLE]
        raise


def leave(pid: int) -> None:
    """In the master, when this worker has ended: what it measured goes, what it counted stays in the sum.

    Raises OSError, and RuntimeError when the file is broken off in the middle.
    """
    from prometheus_client import mmap_dict

    files: Any = mmap_dict.MmapedDict
    if VARIABLE not in os.environ:
        return
    with _alone(fcntl.LOCK_EX):
        for kind in _KINDS:
            left = _file(kind, pid)
            if kind in _SUMMED and left.exists():
                total = files(str(_file(kind, "gone")))
                for key, value, _, _ in files.read_all_values_from_file(str(left)):
                    total.write_value(key, total.read_value(key)[0] + value, 0.0)
                total.close()
            left.unlink(missing_ok=True)


@contextmanager
def read() -> Iterator[str | None]:
    """The folder with all files, as long as nothing moves in it; None where there is none."""
    if VARIABLE not in os.environ:
        yield None
        return
    with _alone(fcntl.LOCK_SH):
        yield os.environ[VARIABLE]


def _file(kind: str, of: int | str) -> Path:
    return Path(os.environ[VARIABLE], f"{kind}_{of}.db")


def _set_aside(file: Path) -> None:
    fd = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        # macOS has none.
        set_aside = getattr(os, "posix_fallocate", lambda fd, _, size: os.truncate(fd, size))
        set_aside(fd, 0, _FILE_BYTES)
    finally:
        os.close(fd)


@contextmanager
def _alone(how: int) -> Iterator[None]:
    """A sum is read before a worker's counts have moved into it, or behind. Whoever holds the lock for too long, a
    master that was stopped, is not waited for."""
    lock = os.open(Path(os.environ[VARIABLE], "moving"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while not _locked(lock, how) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(lock)


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_room(base: str) -> bool:
    try:
        space = os.statvfs(base)
    except OSError:
        return False
    return os.access(base, os.W_OK | os.X_OK) and space.f_bavail * space.f_frsize > _ROOM_BYTES


def _sweep(base: str) -> None:
    """Folders that nobody holds are left over from a server that was killed."""
    for folder in glob.glob(f"{base}/{_PREFIX}*"):
        try:
            held = os.open(f"{folder}/held", os.O_RDWR)
        except OSError:
            continue
        try:
            if _locked(held, fcntl.LOCK_EX):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(held)
