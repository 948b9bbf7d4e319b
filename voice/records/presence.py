"""The SQL of what workers tell each other of their live calls. Each runs in the database's thread, in a transaction."""

from sqlalchemy import Connection, delete, exists, select

from voice.records.dialect import insert
from voice.records.schema import leases, presence

WATCHER = "watcher "
"""With a worker's name behind it the name of the lease that it has while somebody looks at the live calls there."""
_BEHIND_WATCHERS = "watcher!"
_FORGOTTEN_S = 120.0
"""Twice as long as any worker is silent, and more than the clocks of two machines differ."""


def present(connection: Connection, owner: str, state: str, at: float) -> bool:
    row = insert(connection, presence).values(owner=owner, at=at, state=state)
    connection.execute(row.on_conflict_do_update(index_elements=["owner"], set_={"at": at, "state": state}))
    connection.execute(delete(presence).where(presence.c.at < at - _FORGOTTEN_S))
    return True


def absent(connection: Connection, owner: str) -> bool:
    connection.execute(delete(presence).where(presence.c.owner == owner))
    return True


def presences(connection: Connection) -> list[tuple[str, float, str]]:
    return [(row.owner, row.at, row.state) for row in connection.execute(select(presence))]


def is_watched(connection: Connection, now: float) -> bool:
    """Whether anybody looks at the live calls, at whichever worker."""
    # By its bounds: for a LIKE SQLite reads all of the table.
    watchers = leases.c.name.between(WATCHER, _BEHIND_WATCHERS)
    return bool(connection.execute(select(exists().where(watchers, leases.c.until > now))).scalar_one())
