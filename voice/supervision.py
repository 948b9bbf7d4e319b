"""Greenlets that live as long as the worker: one that fails is begun again, and one that fails again and again is told.

Five failures within a minute, and it is tried once a minute only; `failing` names it until it has held out for one.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

import gevent

_MOST = 5
_WITHIN_S = 60.0
_PAUSE_S = 0.1

_log = logging.getLogger("voice.supervision")

# Until when (monotonic) a greenlet counts as failing, by its name.
_failing: dict[str, float] = {}


def supervise(name: str, run: Callable[[], None]) -> gevent.Greenlet:
    """Run it on a greenlet of its own, and again whenever it raises; over when it returns, or is killed."""
    greenlet = gevent.spawn(_keep_running, name, run)
    greenlet.name = name
    return greenlet


def until_killed(run: Callable[..., None], *args: object) -> None:
    """Run it; to be killed is an end like any other. A greenlet keeps what it has died of, and that keeps the frames,
    with all that they had in hand."""
    try:
        run(*args)
    except gevent.GreenletExit:
        pass


def failing() -> list[str]:
    """Those that do their work no more, or may not."""
    now = time.monotonic()
    return sorted(name for name, until in _failing.items() if now < until)


def _keep_running(name: str, run: Callable[[], None]) -> None:
    failures: deque[float] = deque(maxlen=_MOST)
    while True:
        try:
            run()
            return
        except Exception:
            failures.append(time.monotonic())
            gevent.sleep(_pause(name, failures))


def _pause(name: str, failures: deque[float]) -> float:
    """How long it rests. Logs the failure that is being handled."""
    now = failures[-1]
    too_often = len(failures) == _MOST and now - failures[0] < _WITHIN_S
    if not too_often and name not in failing():
        _log.exception("%s: failed and is begun again", name)
        return _PAUSE_S
    # The rest, and as long again without a failure.
    _failing[name] = now + 2 * _WITHIN_S
    _log.exception("%s: fails again and again, and rests for %.0f s", name, _WITHIN_S)
    return _WITHIN_S
