"""What gunicorn's master does of ours: a reload that cannot lose a call, and word to the workers that it goes itself.

gunicorn by itself sends its workers away before it knows whether others can take their place, and ends as a whole when
one of those cannot start.
"""

import mmap
import signal
import subprocess
import sys
import time
from typing import Any

from gunicorn.errors import HaltServer

_CHECK_S = 60.0
_START_S = 30.0
_LOOK_S = 0.1
_LAST_LOOK_S = 0.01

# One byte that the master shares with all its workers: 0, or 1 when it goes, or 2 when its socket is kept meanwhile.
_goes = mmap.mmap(-1, 1)


def take_charge(arbiter: Any) -> None:
    """Change gunicorn's Arbiter, before it has any worker."""
    reload, manage_workers, end = arbiter.handle_hup, arbiter.manage_workers, arbiter.handle_term

    def look_and_reload() -> None:
        if faults := _faults():
            arbiter.log.error("Not reloaded, the workers go on as they are. %s", faults)
            return
        _forget_our_modules()
        reload()

    def wait_and_manage_workers() -> None:
        if len(arbiter.WORKERS) > arbiter.num_workers:
            _wait_for_the_new(arbiter)
        manage_workers()

    def tell_and_end() -> None:
        _goes[0] = 2 if arbiter.systemd else 1
        if arbiter.systemd:
            _wait_for_the_last(arbiter)
        end()

    arbiter.handle_hup, arbiter.manage_workers, arbiter.handle_term = (
        look_and_reload,
        wait_and_manage_workers,
        tell_and_end,
    )


def goes() -> bool:
    """In a worker: whether the whole server ends, so that no other worker of it can take a call."""
    return bool(_goes[0])


def is_waited_for() -> bool:
    """In a worker: whether the whole server ends, and callers wait for the next one at a socket that systemd keeps."""
    return bool(_goes[0] == 2)


def _wait_for_the_last(arbiter: Any) -> None:
    """gunicorn itself looks at its workers ten times a second, and waits once more when none is left: so do callers."""
    arbiter.kill_workers(signal.SIGTERM)
    deadline = time.monotonic() + arbiter.cfg.graceful_timeout
    while arbiter.WORKERS and time.monotonic() < deadline:
        arbiter.reap_workers()
        time.sleep(_LAST_LOOK_S)
    # As it would; otherwise it begins to wait anew.
    arbiter.kill_workers(signal.SIGKILL)


def _faults() -> str:
    """What another gunicorn says that only loads the application, as a worker does; empty when it can be served."""
    command = [sys.executable, "-m", "gunicorn", *sys.argv[1:], "--check-config"]
    try:
        looked = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if looked.returncode == 0:
        return ""
    return looked.stderr.strip() or f"The look at it ended with {looked.returncode}."


def _forget_our_modules() -> None:
    """What the master has imported it would pass on to every worker, as it was when the master began."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("config", "voice") and name not in ("voice", __name__):
            del sys.modules[name]


def _wait_for_the_new(arbiter: Any) -> None:
    """Calls that are sent away before anybody takes them wait in silence."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and not all(map(_is_up, arbiter.WORKERS.values())):
        time.sleep(_LOOK_S)
        try:
            arbiter.reap_workers()
        except HaltServer as halt:
            # Raised for one that could not start: those that are there serve on.
            arbiter.log.error("A new worker could not start: %s", halt.reason)


def _is_up(worker: Any) -> bool:
    # With its first beat the worker sets its file's time by the monotonic clock; until then it is the wall clock's.
    return bool(worker.tmp.last_update() <= time.monotonic())
