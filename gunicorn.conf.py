"""How gunicorn serves the application: read by `gunicorn server:app` by itself.

Nothing but gevent is imported before the patch: `ssl` patched after its import recurses without end.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

from config.start import environment, load  # noqa: E402

_environ = environment()


def _number(name: str, default: int) -> int:
    """A bad number is `on_starting`'s to report, with everything else that is wrong."""
    value = _environ.get(name, "").strip()
    return int(value) if value.isdecimal() else default


bind = f"0.0.0.0:{_number('PORT', 8000)}"
workers = _number("WEB_CONCURRENCY", os.cpu_count() or 1)
worker_class = "gevent"
# Sockets of a worker, health checks and webhooks too. A client beyond it is accepted and never answered, so calls are
# refused at MAX_CALLS, well below.
worker_connections = _number("MAX_CALLS", 200) + 100
# Longer would let slow clients hold connections; a proxy keeps its own.
keepalive = 2
# The hub's heartbeat, not the length of a call.
timeout = 30
# After DRAIN_TIMEOUT_S every call is with another worker; behind it nothing is left that could be lost.
graceful_timeout = _number("DRAIN_TIMEOUT_S", 20) + 5
# Never max_requests, preload_app or reuse_port: each of them was seen to break live calls.
control_socket_disable = True
accesslog = None
wsgi_app = "server:app"


def on_starting(server: Any) -> None:
    """In the master, before any worker: bad settings stop the start with one message instead of a boot loop."""
    from config.faults import ConfigError

    try:
        load(environment())
    except ConfigError as error:
        sys.exit(str(error))


def post_worker_init(worker: Any) -> None:
    """In each worker, once it is up."""
    import gevent

    from voice import drain, registry

    drain.when_it_goes(lambda: worker.alive, _number("DRAIN_TIMEOUT_S", 20))
    worker.wsgi.extensions["background"].start()
    # kill -USR2 <worker>: which calls are live, and where each of their greenlets stands.
    gevent.signal_handler(signal.SIGUSR2, lambda: sys.stderr.write(registry.describe()))


def worker_exit(server: Any, worker: Any) -> None:
    """In a worker that ends, when its calls have ended."""
    wsgi = getattr(worker, "wsgi", None)
    if wsgi is not None:
        wsgi.extensions["background"].stop()
