"""gunicorn's settings under the load test: the server's own, a look at its hub, trust in the stand-ins' certificate.

Only gunicorn loads it. The file BENCH_HUB holds one double: the longest, in seconds, that the worker's hub was busy
without a look at its sockets, since whoever reads it set it to zero. BENCH_CA is the certificate.
"""

import os
from pathlib import Path
from typing import Any

# It patches the standard library, which comes before every other import.
exec(compile(Path("gunicorn.conf.py").read_text(), "gunicorn.conf.py", "exec"), globals())

import mmap  # noqa: E402
import struct  # noqa: E402
import time  # noqa: E402

import certifi  # noqa: E402

_own_post_worker_init = globals()["post_worker_init"]
_DOUBLE = struct.Struct("d")

if "BENCH_CA" in os.environ:
    certifi.where = lambda: os.environ["BENCH_CA"]


def post_worker_init(worker: Any) -> None:
    _own_post_worker_init(worker)
    import gevent

    with open(os.environ["BENCH_HUB"], "r+b") as file:
        cell = mmap.mmap(file.fileno(), _DOUBLE.size)
    loop = gevent.get_hub().loop
    # The first to run when the loop comes back from waiting, and the last before it waits again.
    begins, ends = loop.check(ref=False, priority=loop.MAXPRI), loop.prepare(ref=False, priority=loop.MINPRI)
    woke_at = time.perf_counter()

    def wake() -> None:
        nonlocal woke_at
        woke_at = time.perf_counter()

    def wait() -> None:
        busy_s = time.perf_counter() - woke_at
        if busy_s > _DOUBLE.unpack_from(cell)[0]:
            _DOUBLE.pack_into(cell, 0, busy_s)

    begins.start(wake)
    ends.start(wait)
    worker.bench_watchers = begins, ends
