"""The SQL of what is asked. Each runs in the database's thread, in a transaction."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, or_, select

from voice.records.entries import CallRecord, Noted, Outbound, Turn
from voice.records.schema import calls, events, outbound, turns

LISTED = [column for column in calls.columns if column.name != "checkpoint"]


def call(connection: Connection, call_sid: str) -> CallRecord | None:
    row = connection.execute(select(calls).where(calls.c.call_sid == call_sid)).one_or_none()
    if row is None:
        return None
    of_call = select(turns).where(turns.c.call_sid == call_sid).order_by(turns.c.number)
    noted = select(events).where(events.c.call_sid == call_sid).order_by(events.c.at, events.c.id)
    return CallRecord(
        **row._mapping,
        turns=tuple(_turn(turn) for turn in connection.execute(of_call)),
        events=tuple(Noted(event.at, event.kind, event.detail) for event in connection.execute(noted)),
    )


def list_calls(
    connection: Connection, limit: int, before: float | None, agent: str | None, caller: str | None, live: bool | None
) -> list[CallRecord]:
    wanted = select(*LISTED).order_by(calls.c.started_at.desc(), calls.c.call_sid).limit(limit)
    if before is not None:
        wanted = wanted.where(calls.c.started_at < before)
    if agent is not None:
        wanted = wanted.where(calls.c.agent == agent)
    if caller is not None:
        wanted = wanted.where(calls.c.caller == caller)
    if live is not None:
        wanted = wanted.where(calls.c.ended_at.is_(None) if live else calls.c.ended_at.is_not(None))
    return [CallRecord(**row._mapping) for row in connection.execute(wanted)]


def unfinished(connection: Connection, before: float, lost_before: float, limit: int) -> list[str]:
    """Calls that were over before then and that nobody has finished, the oldest first."""
    over = select(calls.c.call_sid).where(calls.c.finished_at.is_(None), is_over(before, lost_before))
    return list(connection.execute(over.order_by(calls.c.started_at).limit(limit)).scalars())


def to_finish(connection: Connection, call_sid: str, before: float, lost_before: float) -> CallRecord | None:
    this = select(calls.c.call_sid).where(calls.c.call_sid == call_sid, calls.c.finished_at.is_(None))
    found = connection.execute(this.where(is_over(before, lost_before))).first()
    return call(connection, call_sid) if found else None


def is_over(before: float, lost_before: float) -> ColumnElement[bool]:
    """It has ended before the one time, or nothing was heard of it since the other: neither its end, nor what came of
    the transfer that it ended with."""
    ended = (calls.c.ended_at < before) & (calls.c.result != "transferred")
    return or_(ended, func.coalesce(calls.c.ended_at, calls.c.started_at) < lost_before)


def checkpoint(connection: Connection, call_sid: str) -> dict[str, Any] | None:
    return connection.execute(select(calls.c.checkpoint).where(calls.c.call_sid == call_sid)).scalar_one_or_none()


def outbound_call(connection: Connection, outbound_id: str) -> Outbound | None:
    row = connection.execute(select(outbound).where(outbound.c.id == outbound_id)).one_or_none()
    return None if row is None else Outbound(row.id, row.to, row.agent, row.parameters, row.call_sid)


def outbound_count(connection: Connection, since: float, to: str | None) -> int:
    counted = select(func.count()).select_from(outbound).where(outbound.c.created_at >= since)
    if to is not None:
        counted = counted.where(outbound.c.to == to)
    return connection.execute(counted).scalar_one()


def _turn(row: Row[Any]) -> Turn:
    return Turn(row.number, row.caller, row.agent, row.cut, row.times, row.at)
