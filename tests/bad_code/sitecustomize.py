"""What bad code, a leak and a wrong clock do to a worker: in every Python with this folder in PYTHONPATH.

A signal sets it off. Nothing of it knows the server, and nothing of the server knows it.
"""

import os
import signal
import time

BLOCK, LEAK, LATER, EARLIER = range(signal.SIGRTMIN, signal.SIGRTMIN + 4)
_BLOCKED_S = 35.0
_LEAKED = 300 * 2**20
_HOUR_S = 3600.0

_sleep, _time = time.sleep, time.time
_leaked: list[bytearray] = []
_shift_s = 0.0


def _block(*_: object) -> None:
    _sleep(_BLOCKED_S)


def _leak(*_: object) -> None:
    _leaked.append(bytearray(os.urandom(1) * _LEAKED))


def _set_clock(number: int, _: object) -> None:
    global _shift_s
    _shift_s += _HOUR_S if number == LATER else -_HOUR_S


time.time = lambda: _time() + _shift_s
for _number, _act in ((BLOCK, _block), (LEAK, _leak), (LATER, _set_clock), (EARLIER, _set_clock)):
    signal.signal(_number, _act)
