"""A worker that is going hands its calls over: each leaves at a pause, and Twilio brings it to another worker."""

import logging
from collections.abc import Callable

import gevent

from voice import registry, supervision

LISTENERS_CLOSE_S = 1.2
"""A worker's listener closes up to a second after SIGTERM: who is told at once comes back to it. Measured:
50 of 50 calls lost; told after this time, 50 of 50 carried on."""
_LEAVING_S = 8.0
"""A call may finish what is being said for so long, when another worker is there to take it."""
_LEAVING_ALONE_S = 1.0
"""The same when the whole server goes, and perhaps there is another one."""
_LAST_S = 2.0
"""Left at the end, for closing and for the records."""
_APART_S = 0.01
_LOOK_S = 0.1
_LAST_LOOK_S = 0.02

_log = logging.getLogger("voice.drain")

_requests = 0
"""Being answered; a stream is one as long as it lasts."""
_goes_by_itself = False


def request_begins() -> None:
    global _requests
    _requests += 1


def request_ends() -> None:
    global _requests
    _requests -= 1


def goes_by_itself() -> None:
    """gunicorn has seen that it is done: from here on nobody cuts off what it still writes down."""
    global _goes_by_itself
    _goes_by_itself = True


def when_it_goes(
    is_alive: Callable[[], bool],
    is_alone: Callable[[], bool],
    is_waited_for: Callable[[], bool],
    timeout_s: float,
    leave: Callable[[], None],
) -> gevent.Greenlet:
    """Watch over `is_alive`, and drain once it is false; `timeout_s` is from then to the last call handed over.

    `is_alone`: whether the other workers of this server go, too; `is_waited_for`: and callers wait for the next server
    at a socket that is kept. `leave` ends the process, as soon as the last request is answered: gunicorn looks once a
    second, and those that wait for the next server would wait for that, too.
    """

    def watch() -> None:
        while is_alive():
            gevent.sleep(_LOOK_S)
        _log.info("draining: %d calls are handed over within %.0f s", registry.live_calls(), timeout_s)
        registry.draining.set()
        gevent.sleep(LISTENERS_CLOSE_S)
        if is_waited_for():
            # The next server begins only when the last call has left this one: who left before waits in silence.
            _hand_over(within_s=0.0, apart_s=0.0)
        else:
            longest_s = _LEAVING_ALONE_S if is_alone() else _LEAVING_S
            _hand_over(min(longest_s, max(0.0, timeout_s - LISTENERS_CLOSE_S - _LAST_S)), _APART_S)
        while _requests > 0:
            gevent.sleep(_LAST_LOOK_S)
        if not _goes_by_itself:
            leave()

    return supervision.supervise("drain", watch)


def _hand_over(within_s: float, apart_s: float) -> None:
    for connection in registry.connections():
        connection.request_drain(within_s)
        # All at once they would come to the others at once.
        gevent.sleep(apart_s)
