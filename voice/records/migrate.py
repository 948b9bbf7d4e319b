"""Brings a database up to date: `python -m voice migrate`, and every worker before it writes. Never twice at once.

A new migration is a file in migrations/versions that follows the last one, together with the same change of schema.py.
During a deploy workers of the version before go on with the new tables, so migrations add; what is not used any more is
taken away one version later.
"""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from voice.errors import RecordsUnavailable
from voice.records.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

_log = logging.getLogger("voice.records")
_MIGRATIONS = Path(__file__).parent / "migrations"
_LATEST = max(path.name for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]
# Any number that no other program uses on the same database.
_LOCK = 7_645_019_823


def migrate(url: str, timeout_s: float = 10.0) -> None:
    """Bring the database at `url` up to date. Raises RecordsUnavailable when that cannot be done in time."""
    database = Database(url)
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            try:
                return database.write(apply, timeout_s=None)
            except RecordsUnavailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)
    finally:
        database.close(1.0)


def apply(connection: Connection) -> None:
    """All migrations that are missing, in the transaction that `connection` is in: all of them or none.

    In SQLite that transaction holds the writer's lock already. One at a time in a process: Alembic has globals.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        # A large table may take its time.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    current = _current(connection)
    if current == _LATEST:
        return
    # Loaded only when there is something to do: a seventh of a second that calls wait for when a server begins.
    from alembic import command

    # It tells at INFO how it was set up, to every worker's start.
    logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)
    config = _config()
    if current is not None and current not in _known(config):
        _log.warning("records: the database has revision %s of a newer program, and is used as it is", current)
        return
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    _log.info("records: the database has been brought up to revision %s", _LATEST)


def revisions(connection: Connection) -> tuple[str | None, list[str]]:
    """The one that the database has, None without any tables; and those that this program knows, the latest first."""
    return _current(connection), _known(_config())


def _known(config: "Config") -> list[str]:
    """The latest first."""
    from alembic.script import ScriptDirectory

    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
