"""When Python's collector of garbage looks at everything: seldom, and rather while nobody is on the line.

All calls of the worker stand still meanwhile, 40 ms where there are 200. Nothing of a call needs it to be freed
(tests/test_call_faults.py); what it finds are a few kB a call of the libraries'.
"""

import gc
import time

from voice import registry

_SELDOM_S = 600.0
_HARDLY_EVER = 5000
"""Of collections of what is younger, before it happens by itself: if nobody comes to `sweep`."""


def begin() -> None:
    """What is there now stays, so no collection need look at it; and none looks at everything by itself. Takes no time.
    Again when more has come that stays; what calls hold by then is freed all the same when they end."""
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _HARDLY_EVER)


def sweep() -> None:
    """For the monitor: each time while there is no call, every ten minutes while there are."""
    global _collected_at
    if not registry.live_calls() or time.monotonic() - _collected_at >= _SELDOM_S:
        gc.collect()
        _collected_at = time.monotonic()


_collected_at = time.monotonic()
