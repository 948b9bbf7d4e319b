"""The SQL of what is asked. Each runs in the database's thread, in a transaction."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, case, exists, func, or_, select

from voice.records.entries import CallRecord, Noted, Outbound, Standing, Turn
from voice.records.schema import calls, events, leases, outbound, turns

WORKER = "worker "
"""With its owner behind it the name of the lease that a living worker has."""
BEHIND = "behind "
"""With a stream's name behind it the name of the lease on asking Twilio back."""
RETURNED = "Twilio"
"""Has that lease when the call has come back by itself."""
LEFT = ("lost", "handed-over")
"""Results of a stream that is over and of a call that may not be."""
_OWNER_LIVES = exists().where(leases.c.name == WORKER + calls.c.owner, leases.c.until > bindparam("now"))
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


def news(connection: Connection, call_sids: Collection[str], since: float) -> list[tuple[str, str, Noted]]:
    """What was written of those calls since then, in order of time: call_sid, an id of its own, and the event. A turn
    is one of kind `turn`, with all of it but its time as detail."""
    over = select(turns).where(turns.c.call_sid.in_(call_sids), turns.c.at >= since)
    noted = select(events).where(events.c.call_sid.in_(call_sids), events.c.at >= since)
    found = [(row.call_sid, row.id, Noted(row.at, row.kind, row.detail)) for row in connection.execute(noted)]
    for row in connection.execute(over):
        turn = asdict(_turn(row))
        found.append((row.call_sid, f"{row.call_sid} turn {row.number}", Noted(turn.pop("at"), "turn", turn)))
    return sorted(found, key=lambda each: (each[2].at, each[1]))


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


def standings(connection: Connection, call_sids: Collection[str], now: float) -> list[Standing]:
    """Of those that are there and have had a stream."""
    return _standings(connection, calls.c.call_sid.in_(call_sids), now)


def orphans(connection: Connection, owner: str, now: float, lost: tuple[float, float], limit: int) -> list[Standing]:
    """Calls that nobody seems to hold, the oldest first.

    Their owner has died, or is `owner`, who has to know itself whether it holds them; or they were lost, or handed
    over, between those two times and have not come back.
    """
    open_ = calls.c.ended_at.is_(None) & (~_OWNER_LIVES | (calls.c.owner == owner))
    gone = calls.c.result.in_(LEFT) & calls.c.ended_at.between(*lost)
    # Twilio is asked for them, and knows nothing of a browser's.
    return _standings(connection, (open_ | gone) & calls.c.stream_name.is_not(None), now, limit)


def _standings(connection: Connection, which: ColumnElement[bool], now: float, limit: int = 1000) -> list[Standing]:
    columns = (calls.c.call_sid, calls.c.stream_name, calls.c.owner, _OWNER_LIVES, calls.c.ended_at, calls.c.result)
    wanted = select(*columns).where(which, calls.c.owner.is_not(None))
    found = connection.execute(wanted.order_by(calls.c.started_at).limit(limit), {"now": now})
    return [Standing(row[0], row[1] or "", row[2], bool(row[3]), row[4], row[5]) for row in found]


def has_come_back(connection: Connection, stream_name: str) -> bool:
    """Whether Twilio has asked what comes behind that stream, whichever worker it asked."""
    returned = exists().where(leases.c.name == BEHIND + stream_name, leases.c.owner == RETURNED)
    return bool(connection.execute(select(returned)).scalar_one())


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


def why_ignored(connection: Connection, call_sid: str) -> str:
    """Why something of a call was not written."""
    kept = connection.execute(select(calls.c.owner).where(calls.c.call_sid == call_sid)).first()
    if kept is None:
        return "there is no record of it: deleted, or its start was lost"
    return f"another worker has carried it on: {kept.owner}"


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


def cost_since(connection: Connection, since: float) -> float:
    """US dollars of all calls that began since then, live ones as far as their cost was told."""
    counted = select(func.sum(calls.c.cost_usd)).where(calls.c.started_at >= since)
    return connection.execute(counted).scalar_one() or 0.0


def calls_of(connection: Connection, caller: str, since: float) -> int:
    of_number = select(func.count()).select_from(calls).where(calls.c.caller == caller, calls.c.started_at >= since)
    return connection.execute(of_number.where(calls.c.direction == "inbound")).scalar_one()


def outbound_seconds(connection: Connection, since: float, now: float) -> float:
    """How long the calls that were placed since then have lasted; of those that go on, by now."""
    lasted = func.coalesce(calls.c.usage["call_seconds"].as_float(), 0.0)
    seconds = case((calls.c.ended_at.is_(None), now - calls.c.started_at), else_=lasted)
    counted = select(func.sum(seconds)).where(calls.c.direction == "outbound", calls.c.started_at >= since)
    return connection.execute(counted).scalar_one() or 0.0


def _turn(row: Row[Any]) -> Turn:
    return Turn(row.number, row.caller, row.agent, row.cut, row.times, row.at)
