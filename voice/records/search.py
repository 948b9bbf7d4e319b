"""The SQL of looking for past calls. Each runs in the database's thread, in a transaction."""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, or_, select

from voice.records.entries import CallRecord
from voice.records.queries import LISTED
from voice.records.schema import calls, turns


@dataclass(frozen=True)
class Search:
    """What the calls are to have; empty is not asked for."""

    number: str = ""
    """Part of the one number or the other."""
    agent: str = ""
    since: float | None = None
    until: float | None = None
    """Of their beginning."""
    reason: str = ""
    """Or result."""
    words: str = ""
    """Part of what was said, in whatever case the database can tell apart."""
    live: bool | None = None
    """Those without an end, or only those with one."""

    @property
    def is_empty(self) -> bool:
        return all(getattr(self, field.name) in ("", None) for field in fields(self))


def day(text: str, later: int = 0) -> float | None:
    """The beginning of a day such as 2026-11-22 in UTC, or of one some days later; None for what is none."""
    try:
        found = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc) + timedelta(days=later)
        return found.timestamp()
    except (ValueError, OverflowError):
        return None


Place = tuple[float, str]
"""Where a page of calls begins: started_at and call_sid of the last one before it."""


def find(connection: Connection, wanted: Search, limit: int, after: Place | None) -> list[CallRecord]:
    """The latest first, without turns, events and checkpoint."""
    found: Select[tuple[object, ...]] = select(*LISTED).where(*_conditions(wanted))
    if after is not None:
        at, call_sid = after
        later = and_(calls.c.started_at == at, calls.c.call_sid > call_sid)
        found = found.where(or_(calls.c.started_at < at, later))
    found = found.order_by(calls.c.started_at.desc(), calls.c.call_sid).limit(limit)
    return [CallRecord(**row._mapping) for row in connection.execute(found)]


def _conditions(wanted: Search) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.number:
        conditions.append(or_(_holds(calls.c.caller, wanted.number), _holds(calls.c.called, wanted.number)))
    if wanted.agent:
        conditions.append(calls.c.agent == wanted.agent)
    if wanted.since is not None:
        conditions.append(calls.c.started_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(calls.c.started_at < wanted.until)
    if wanted.reason:
        conditions.append(or_(calls.c.result == wanted.reason, calls.c.reason == wanted.reason))
    if wanted.live is not None:
        conditions.append(calls.c.ended_at.is_(None) if wanted.live else calls.c.ended_at.is_not(None))
    if wanted.words:
        said = or_(_holds(turns.c.caller, wanted.words), _holds(turns.c.agent, wanted.words))
        conditions.append(exists().where(turns.c.call_sid == calls.c.call_sid, said))
    return conditions


def _holds(column: ColumnElement[str], part: str) -> ColumnElement[bool]:
    return column.icontains(part, autoescape=True)


def reasons(connection: Connection) -> list[str]:
    """Results and reasons that calls have ended with, in order."""
    found = set()
    for column in (calls.c.result, calls.c.reason):
        found |= set(connection.execute(select(column).distinct().where(column.is_not(None))).scalars())
    return sorted(found)
