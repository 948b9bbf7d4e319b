"""How gunicorn serves the application: read by `gunicorn server:app` by itself.

Nothing but gevent is imported before the patch: `ssl` patched after its import recurses without end.
"""

import os

# Before gevent is: with its other resolver a few names that nobody answers for stop every look-up of the worker.
os.environ.setdefault("GEVENT_RESOLVER", "ares")
# Who has spawned whom, with ten frames for each greenlet: a third of what a call leaves for the garbage collector.
os.environ.setdefault("GEVENT_TRACK_GREENLET_TREE", "0")

from gevent import events, monkey  # noqa: E402

# gevent asks all installed packages 25 times for plug-ins, 0.1 s of a start. There are none.
events.notify_and_call_entry_points = events.notify
monkey.patch_all()

import logging  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

from gunicorn import glogging  # noqa: E402

from config.start import environment, load  # noqa: E402
from voice import limits, logs  # noqa: E402
from voice.metrics import folder  # noqa: E402

_environ = environment()


def _number(name: str, default: int) -> int:
    """A bad number is `on_starting`'s to report, with everything else that is wrong."""
    value = _environ.get(name, "").strip()
    return int(value) if value.isdecimal() else default


def _word(name: str, default: str, *others: str) -> str:
    """As `_number`."""
    value = _environ.get(name, "").strip().lower()
    return value if value in others else default


class _Lines(glogging.Logger):  # type: ignore[misc]
    """gunicorn's own lines go the way of all others: nobody waits for a pipe, and one form holds for all."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log, output in ((self.error_log, cfg.errorlog), (self.access_log, cfg.accesslog)):
            # Into a file, if somebody has asked for one.
            if output == "-":
                log.handlers = []
                log.propagate = True


loglevel = _word("LOG_LEVEL", "info", "debug", "warning", "error", "critical")
logs.configure(loglevel, _word("LOG_FORMAT", "text", "json"), [])
try:
    # Here and in no hook: an application may be loaded in the master before any.
    folder.make()
except OSError as error:
    logging.getLogger("voice").warning("Each worker has figures of its own only: %s", error)
logger_class = _Lines
bind = f"0.0.0.0:{_number('PORT', 8000)}"
workers = _number("WEB_CONCURRENCY", os.cpu_count() or 1)
worker_class = "gevent"
_descriptors = limits.raise_descriptors()
# Sockets of a worker, health checks and webhooks too. A client beyond it is accepted and never answered, so calls are
# refused at MAX_CALLS, well below.
worker_connections = min(_number("MAX_CALLS", 200), limits.calls_within(_descriptors)) + limits.OTHER_CONNECTIONS
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

    if server.cfg.worker_class_str != worker_class:
        sys.exit("The server needs gevent's worker: start it without -k, --worker-class and --threads.")
    try:
        settings, _, _ = load(environment())
    except ConfigError as error:
        sys.exit(str(error))
    if limits.calls_within(_descriptors) < settings.max_calls:
        calls = limits.calls_within(_descriptors)
        server.log.warning("%d open files are enough for %d calls a worker: more are refused", _descriptors, calls)


def when_ready(server: Any) -> None:
    """In the master, before any worker."""
    from voice import master

    master.take_charge(server)


def post_fork(server: Any, worker: Any) -> None:
    """In each worker, before the application is loaded."""
    try:
        folder.join(worker.pid)
    except OSError as error:
        server.log.error("This worker's figures are its own: %s", error)


def post_worker_init(worker: Any) -> None:
    """In each worker, once it is up."""
    import gevent

    from voice import drain, master, registry
    from voice.memory import Memory
    from voice.names import Names
    from voice.watchdog import Watchdog

    hub = gevent.get_hub()
    hub.print_exception, hub.resolver = logs.greenlet_failed, Names(hub.resolver)
    Watchdog().start()
    limit_mb = _number("MAX_MEMORY_MB", 0) or limits.memory_mb(worker.cfg.workers)
    if limit_mb is not None:
        Memory(limit_mb, leave=lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    drain.when_it_goes(
        lambda: worker.alive,
        master.goes,
        master.is_waited_for,
        _number("DRAIN_TIMEOUT_S", 20),
        leave=lambda: sys.exit(0),
    )
    worker.wsgi.extensions["background"].start()
    # kill -USR2 <worker>: which calls are live, and where each of their greenlets stands.
    gevent.signal_handler(signal.SIGUSR2, lambda: logs.write(registry.describe()))


def pre_request(worker: Any, req: Any) -> None:
    """Before each request is answered."""
    from voice import drain
    from voice.web import bodies

    drain.request_begins()
    if bodies.is_too_long(req.headers):
        req.force_close()


def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    """When it is, or has failed."""
    from voice import drain
    from voice.web import bodies

    try:
        if resp is not None and resp.headers_sent and bodies.is_too_long(req.headers):
            bodies.part(environ["gunicorn.socket"])
    finally:
        drain.request_ends()


def worker_exit(server: Any, worker: Any) -> None:
    """In a worker that ends, when its calls have ended."""
    from voice import drain

    drain.goes_by_itself()
    wsgi = getattr(worker, "wsgi", None)
    if wsgi is not None:
        wsgi.extensions["background"].stop()


def child_exit(server: Any, worker: Any) -> None:
    """In the master, when a worker has ended. An exception would end the master as well."""
    try:
        folder.leave(worker.pid)
    except Exception as error:
        server.log.error("What the worker %d has counted is lost: %r", worker.pid, error)
