"""What may be done once, by all workers together: whoever writes its name first does it."""

from collections.abc import Sequence
from functools import partial

import gevent
from gevent.event import AsyncResult
from sqlalchemy import Connection, delete, select

from voice.errors import RecordsUnavailable
from voice.records.database import Database
from voice.records.dialect import insert
from voice.records.schema import spent

KEPT_S = 30 * 86400.0
"""After so long a name may be used again."""
WAIT_S = 0.25
"""A caller is let in or not, and hears nothing meanwhile."""
_MOST_AT_ONCE = 100

Names = tuple[str, ...]


class Spender:
    """What comes while a transaction is under way shares the next one: calls that begin together do not queue up."""

    def __init__(self, database: Database, timeout_s: float) -> None:
        self._database = database
        self._timeout_s = timeout_s
        self._waiting: list[tuple[Names, AsyncResult[bool]]] = []
        self._greenlet: gevent.Greenlet | None = None

    def spend(self, names: Names, now: float) -> bool:
        """Use up all of `names` at once; False, and none of them, when one was used before.

        Raises RecordsUnavailable after 0.25 s; they may be used up all the same then.
        """
        # Not the database's own limit: one that is slow for a moment is not one to be left alone.
        result: AsyncResult[bool] = AsyncResult()
        self._waiting.append((names, result))
        if not self._greenlet:
            self._greenlet = gevent.spawn(self._run, now)
            self._greenlet.name = "records-spender"
        try:
            return bool(result.get(timeout=WAIT_S))
        except gevent.Timeout:
            raise RecordsUnavailable(f"the database did not answer within {WAIT_S:g} s") from None

    def _run(self, now: float) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            try:
                work = partial(spend_each, wishes=[names for names, _ in batch], now=now)
                for (_, result), first in zip(batch, self._database.write(work, self._timeout_s), strict=True):
                    result.set(first)
            except Exception as error:
                for _, result in batch:
                    result.set_exception(error)


def spend_each(connection: Connection, wishes: Sequence[Names], now: float) -> list[bool]:
    """For each of `wishes`, in their order, whether it was the first. In the database's thread."""
    connection.execute(delete(spent).where(spent.c.at < now - KEPT_S))
    wanted = {name for names in wishes for name in names}
    taken = set(connection.execute(select(spent.c.name).where(spent.c.name.in_(wanted))).scalars())
    first = []
    for names in wishes:
        first.append(taken.isdisjoint(names))
        taken.update(names if first[-1] else ())
    # In order, so that two workers who want the same ones wait for each other and not in a circle.
    new = sorted({name for names, is_first in zip(wishes, first, strict=True) if is_first for name in names})
    if not new:
        return first
    rows = [{"name": name, "at": now} for name in new]
    inserted = insert(connection, spent).values(rows).on_conflict_do_nothing().returning(spent.c.name)
    ours = set(connection.execute(inserted).scalars())
    # What another worker has committed since the look is its own.
    return [is_first and ours.issuperset(names) for names, is_first in zip(wishes, first, strict=True)]
