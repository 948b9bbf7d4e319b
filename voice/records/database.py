"""The database behind one native thread: whoever asks waits on its own greenlet, and the hub goes on.

Called on a greenlet, SQLite and libpq would stop every call of the worker, for seconds when a lock is held. One thread
and one connection keep what is written in order, and cost the database one connection for each worker.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gevent import Timeout
from gevent.threadpool import ThreadPool
from sqlalchemy import Connection, Engine, create_engine, exc, make_url
from sqlalchemy.pool import NullPool

from voice.errors import RecordsUnavailable

T = TypeVar("T")
Work = Callable[[Connection], T]

# How long SQLite waits for another process, and PostgreSQL for a lock: then others of this worker have their turn.
_LOCK_S = 2
_STATEMENT_S = 5
# A database that did not answer is left alone for so long: else everybody who asks would wait for his time.
_SPARED_S = 10.0
# After so long without use a server may have gone unnoticed.
_STALE_S = 1.0

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # Nothing committed is lost by kill -9; a power cut may take the last commits, and never damages the file. FULL
    # would have every commit of every worker wait for the disk.
    "PRAGMA synchronous=NORMAL",
    # What is deleted is overwritten, not only forgotten.
    "PRAGMA secure_delete=ON",
)
_POSTGRESQL_SETTINGS = (
    f"SET statement_timeout = '{_STATEMENT_S}s'",
    f"SET lock_timeout = '{_LOCK_S}s'",
    f"SET idle_in_transaction_session_timeout = '{2 * _STATEMENT_S}s'",
)
_POSTGRESQL_ARGUMENTS = {
    "connect_timeout": 3,
    # A server that vanished without a word is found out in about ten seconds.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    # A pooler between us and the server gives each transaction another session.
    "prepare_threshold": None,
}


class Database:
    """Made in the process that uses it, after any fork. Connects when first asked, and again after every failure.

    `url` is `sqlite:///file`, `postgresql://…` or `postgres://…`. `prepare` runs on the first connection, in a
    transaction of its own and before all work, again and again until it has succeeded once.
    """

    def __init__(self, url: str, prepare: Callable[[Connection], None] | None = None) -> None:
        self._engine = _engine(url)
        self._prepare = prepare
        self._thread = ThreadPool(1)
        # Only the thread touches these two.
        self._connection: Connection | None = None
        self._used_at = 0.0
        # Monotonic: until then nobody asks.
        self._spared_until = 0.0

    def read(self, work: Work[T], timeout_s: float | None) -> T:
        """As `write`, for work that writes nothing: in SQLite nobody else waits for it."""
        return self._run("BEGIN", work, timeout_s)

    def write(self, work: Work[T], timeout_s: float | None) -> T:
        """What `work` returns, run in one transaction in the thread. Blocks the calling greenlet only.

        Raises RecordsUnavailable when the database fails or `timeout_s` is over (None: no limit); work that has begun
        by then goes on and may be committed. Then also at once, for ten seconds, or until any work has succeeded; not
        with None. Whatever else `work` raises is raised here, and rolled back.
        """
        return self._run("BEGIN IMMEDIATE", work, timeout_s)

    def refuse_while_spared(self) -> None:
        """Raises RecordsUnavailable while the database is left alone."""
        left_s = self._spared_until - time.monotonic()
        if left_s > 0:
            raise RecordsUnavailable(f"the database has not answered, and is asked again in {left_s:.1f} s")

    def spare(self) -> None:
        """Somebody has waited for it in vain."""
        self._spared_until = time.monotonic() + _SPARED_S

    def close(self, timeout_s: float) -> None:
        """Close the connection and end the thread. One that hangs for longer ends with the process."""
        with Timeout(timeout_s, False):
            self._thread.spawn(self._disconnect).get()
            self._thread.kill()

    def _run(self, begin: str, work: Work[T], timeout_s: float | None) -> T:
        if timeout_s is not None:
            self.refuse_while_spared()
        given_up: list[Timeout] = []
        limit = Timeout.start_new(timeout_s)
        try:
            # Errors come back as values: the pool would print the traceback of what it sees raised.
            value, error = self._thread.spawn(self._attempt, begin, work, given_up).get()
        except Timeout as late:
            if late is not limit:
                raise
            given_up.append(late)
            self.spare()
            raise RecordsUnavailable(f"the database did not answer within {timeout_s:.1f} s") from None
        finally:
            limit.close()
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]

    # In the thread

    def _attempt(self, begin: str, work: Work[T], given_up: list[Timeout]) -> tuple[T | None, Exception | None]:
        if given_up:
            return None, None
        try:
            connection = self._connected()
        except Exception as error:
            self._disconnect()
            return None, _unavailable(error)
        try:
            value = _transaction(connection, begin, work)
            self._spared_until = 0.0
            return value, None
        except Exception as error:
            # Its next use would make a new one without our settings, if it was lost.
            self._disconnect()
            return None, _unavailable(error) if _is_trouble(error) else error

    def _connected(self) -> Connection:
        if self._connection is not None and time.monotonic() - self._used_at > _STALE_S:
            try:
                _transaction(self._connection, "BEGIN", _ask)
            except exc.DBAPIError:
                self._disconnect()
        if self._connection is None:
            self._connection = _connect(self._engine)
        if self._prepare is not None:
            _transaction(self._connection, "BEGIN IMMEDIATE", self._prepare)
            self._prepare = None
        self._used_at = time.monotonic()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except exc.DBAPIError:
                connection.invalidate()


def _engine(url: str) -> Engine:
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        # Its own handling of transactions begins them too late: see _transaction.
        return create_engine(
            parts, poolclass=NullPool, connect_args={"timeout": _LOCK_S, "isolation_level": None}, hide_parameters=True
        )
    parts = parts.set(drivername="postgresql+psycopg")
    return create_engine(parts, poolclass=NullPool, connect_args=_POSTGRESQL_ARGUMENTS, hide_parameters=True)


def _connect(engine: Engine) -> Connection:
    is_sqlite = engine.dialect.name == "sqlite"
    if is_sqlite:
        _make_private(Path(str(engine.url.database)))
    connection = engine.connect()
    try:
        for statement in _SQLITE_PRAGMAS if is_sqlite else _POSTGRESQL_SETTINGS:
            connection.exec_driver_sql(statement)
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    """Only we may read it. SQLite gives its -wal and -shm files the mode of the database.

    A file that is there is never opened here: closing it would drop the locks that SQLite has on it in this process.
    """
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            if file.exists() and file.stat().st_mode & 0o077:
                file.chmod(0o600)


def _transaction(connection: Connection, begin: str, work: Work[T]) -> T:
    with connection.begin():
        if connection.dialect.name == "sqlite":
            # IMMEDIATE takes the writer's lock at once, and waits for it. A transaction that reads first and wants to
            # write later is refused without waiting when somebody else has written in between.
            connection.exec_driver_sql(begin)
        return work(connection)


def _ask(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT 1")


def _unavailable(error: Exception) -> RecordsUnavailable:
    reason = str(error.orig if isinstance(error, exc.DBAPIError) else error).strip()
    unavailable = RecordsUnavailable(f"{type(error).__name__}: {' '.join(reason.split())}")
    unavailable.__cause__ = error
    return unavailable


def _is_trouble(error: Exception) -> bool:
    """Whether the database is at fault, so that the same work may succeed later; else it is the work itself."""
    if not isinstance(error, exc.DBAPIError):
        return False
    # Class 42: a table, column or permission is missing.
    of_schema = str(getattr(error.orig, "sqlstate", None) or "").startswith("42")
    of_server = isinstance(error, exc.OperationalError | exc.InternalError) or type(error) is exc.DatabaseError
    return error.connection_invalidated or of_schema or of_server
