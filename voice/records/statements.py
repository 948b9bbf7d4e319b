"""The SQL of what is written. Each runs in the database's thread, in a transaction, and may run again after a failure.

Those of a call answer False when nothing was written: the call is not there, or is another worker's by now.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from voice.records import queries
from voice.records.dialect import insert
from voice.records.entries import CallEnded, CallStarted, Claim, Outbound, Turn
from voice.records.masking import clean, masked, storable
from voice.records.schema import calls, events, leases, outbound, outbox, turns

_AT_A_TIME = 200
"""Calls deleted in one transaction: others have their turn in between."""
_LEASES_KEPT_S = 3600.0
"""After their end; longer than the clocks of two machines differ."""


def call_started(connection: Connection, call: CallStarted, parameters: str, fence: int) -> bool:
    """A call that is there already goes on: its end is taken back, its start stays."""
    owner, stream_name = clean(call.owner) or None, clean(call.stream_name) or None
    started = insert(connection, calls).values(
        call_sid=call.call_sid,
        direction=clean(call.direction),
        agent=clean(call.agent),
        caller=clean(call.caller),
        called=clean(call.called),
        parameters=_loaded(parameters),
        started_at=float(call.started_at),
        resumes=0,
        fence=fence,
        owner=owner,
        stream_name=stream_name,
    )
    goes_on = started.on_conflict_do_update(
        index_elements=["call_sid"],
        set_={
            **dict.fromkeys(("ended_at", "finished_at", "result", "reason")),
            # Whoever places a call does not hold it yet, and may tell of it after the one who does.
            "owner": func.coalesce(owner, calls.c.owner),
            "stream_name": func.coalesce(stream_name, calls.c.stream_name),
        },
        where=calls.c.fence <= fence,
    )
    # Not kept for an INSERT unless asked for.
    return connection.execute(goes_on, execution_options={"preserve_rowcount": True}).rowcount > 0


def turn_finished(connection: Connection, call_sid: str, turn: Turn, times: str, checkpoint_: str, fence: int) -> bool:
    if not checkpoint(connection, call_sid, checkpoint_, fence):
        return False
    values = {
        "caller": masked(clean(turn.caller)),
        "agent": masked(clean(turn.agent)),
        "cut": bool(turn.cut),
        "times": _loaded(times),
        "at": float(turn.at),
    }
    finished = insert(connection, turns).values(call_sid=call_sid, number=turn.number, **values)
    connection.execute(finished.on_conflict_do_update(index_elements=["call_sid", "number"], set_=values))
    return True


def checkpoint(connection: Connection, call_sid: str, checkpoint_: str, fence: int) -> bool:
    return _update_own(connection, call_sid, fence, {"checkpoint": _loaded(checkpoint_)})


def call_ended(
    connection: Connection, call_sid: str, ended: CallEnded, usage: str, cost: str, fence: int, if_open: bool
) -> bool:
    by_vendor = _loaded(cost)
    values = {
        "result": clean(ended.result),
        "reason": masked(clean(ended.reason)),
        "ended_at": float(ended.ended_at),
        "usage": _loaded(usage),
        "cost": by_vendor,
        "cost_usd": round(by_vendor["total"] if "total" in by_vendor else sum(by_vendor.values()), 6),
    }
    # What a human and the caller speak of is not over because the stream to us is.
    mere_stop = values["reason"] == "caller-hung-up"
    if mere_stop and connection.execute(_transferred(call_sid)).first():
        values |= {"result": "transferred", "reason": "operator-transferred"}
    if if_open:
        if not by_vendor:
            # Whoever guesses the end has counted nothing: what was told before stays.
            values = {name: value for name, value in values.items() if name not in ("usage", "cost", "cost_usd")}
        still_open = _of_call(call_sid).where(calls.c.ended_at.is_(None))
        connection.execute(still_open.values(values))
        return True
    return _update_own(connection, call_sid, fence, values)


def call_updated(connection: Connection, call_sid: str, changes: str) -> bool:
    """`changes` by column."""
    return connection.execute(_of_call(call_sid).values(_loaded(changes))).rowcount > 0


def noted(connection: Connection, call_sid: str, event_id: str, kind: str, detail: str, at: float) -> bool:
    if not _is_there(connection, call_sid):
        return False
    event = {"id": event_id, "call_sid": call_sid, "at": at, "kind": clean(kind), "detail": _loaded(detail)}
    connection.execute(insert(connection, events).values(event).on_conflict_do_nothing())
    return True


def posted(connection: Connection, call_sid: str, agent: str, delivery_id: str, body: str, at: float) -> bool:
    if not _is_there(connection, call_sid):
        return False
    delivery = {
        "id": delivery_id,
        "call_sid": call_sid,
        "agent": clean(agent),
        "body": json.dumps(_loaded(body), ensure_ascii=False, separators=(",", ":")),
        "created_at": at,
        "attempts": 0,
        "next_at": at,
    }
    connection.execute(insert(connection, outbox).values(delivery).on_conflict_do_nothing())
    return True


def claim(connection: Connection, call_sid: str, owner: str) -> Claim | None:
    taken = _of_call(call_sid).values(fence=calls.c.fence + 1, resumes=calls.c.resumes + 1, owner=clean(owner))
    if connection.execute(taken).rowcount == 0:
        return None
    # Nobody else's: the row is locked until the commit.
    of_call = select(calls.c.fence, calls.c.resumes, calls.c.checkpoint, calls.c.result)
    row = connection.execute(of_call.where(calls.c.call_sid == call_sid)).one()
    return Claim(row.fence, row.checkpoint or {}, row.resumes, row.result)


def finish(
    connection: Connection,
    call_sid: str,
    changes: str,
    webhook: tuple[str, str, str] | None,
    now: float,
    lost_before: float,
) -> bool:
    """`webhook` is agent, id and body of a delivery: the call is finished and it is posted, both or neither."""
    this = _of_call(call_sid).where(calls.c.finished_at.is_(None), queries.is_over(now, lost_before))
    if not connection.execute(this.values(_loaded(changes) | {"finished_at": now})).rowcount:
        return False
    if webhook:
        posted(connection, call_sid, *webhook, now)
    return True


def lease(connection: Connection, name: str, owner: str, now: float, until: float) -> bool:
    """False while another owner has it."""
    connection.execute(delete(leases).where(leases.c.until < now - _LEASES_KEPT_S))
    values = {"owner": clean(owner), "until": until}
    again = (
        insert(connection, leases)
        .values(name=name, **values)
        .on_conflict_do_update(
            index_elements=["name"],
            set_=values,
            where=(leases.c.until <= now) | (leases.c.owner == values["owner"]),
        )
    )
    return connection.execute(again, execution_options={"preserve_rowcount": True}).rowcount > 0


def came_back(connection: Connection, name: str, until: float) -> bool:
    """From now on no worker's lease, whoever had it."""
    taken = insert(connection, leases).values(name=name, owner=queries.RETURNED, until=until)
    connection.execute(
        taken.on_conflict_do_update(index_elements=["name"], set_={"owner": queries.RETURNED, "until": until})
    )
    return True


def release(connection: Connection, name: str, owner: str) -> bool:
    connection.execute(delete(leases).where(leases.c.name == name, leases.c.owner == clean(owner)))
    return True


def outbound_within(
    connection: Connection, placed: Outbound, parameters: str, at: float, limits: Sequence[tuple[float, int]]
) -> int | None:
    """Count and place in one: nobody else is counted in between."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE outbound IN EXCLUSIVE MODE")
    for place, (within_s, most) in enumerate(limits):
        if queries.outbound_count(connection, at - within_s, None) >= most:
            return place
    outbound_placed(connection, placed, parameters, at)
    return None


def outbound_placed(connection: Connection, placed: Outbound, parameters: str, at: float) -> None:
    """Again with the same id: its call_sid is known by now."""
    values = {
        "id": placed.id,
        "call_sid": placed.call_sid,
        "to": clean(placed.to),
        "agent": clean(placed.agent),
        "parameters": _loaded(parameters),
        "created_at": at,
    }
    new = insert(connection, outbound).values(values)
    connection.execute(new.on_conflict_do_update(index_elements=["id"], set_={"call_sid": placed.call_sid}))


def delete_call(connection: Connection, call_sid: str) -> bool:
    """The call and all that belongs to it, webhooks that were not delivered too."""
    return _delete(connection, [call_sid]) > 0


def delete_older(connection: Connection, before: float) -> int:
    """The calls that ended, or began and never ended, before that; how many they were, at most 200 at a time."""
    old = func.coalesce(calls.c.ended_at, calls.c.started_at) < before
    found = connection.execute(select(calls.c.call_sid).where(old).limit(_AT_A_TIME)).scalars().all()
    connection.execute(delete(outbound).where(outbound.c.created_at < before))
    return _delete(connection, list(found)) if found else 0


def _delete(connection: Connection, call_sids: list[str]) -> int:
    for table in (turns, events, outbox):
        connection.execute(delete(table).where(table.c.call_sid.in_(call_sids)))
    # That it was placed still counts against the limits.
    emptied = update(outbound).where(outbound.c.call_sid.in_(call_sids))
    connection.execute(emptied.values(to="", parameters={}, call_sid=None))
    return connection.execute(delete(calls).where(calls.c.call_sid.in_(call_sids))).rowcount


def _update_own(connection: Connection, call_sid: str, fence: int, values: dict[str, Any]) -> bool:
    own = _of_call(call_sid).where(calls.c.fence <= fence)
    return connection.execute(own.values(values)).rowcount > 0


def _of_call(call_sid: str) -> Any:
    return update(calls).where(calls.c.call_sid == call_sid)


def _transferred(call_sid: str) -> Any:
    return select(calls.c.call_sid).where(calls.c.call_sid == call_sid, calls.c.result == "transferred")


def _is_there(connection: Connection, call_sid: str) -> bool:
    return connection.execute(select(calls.c.call_sid).where(calls.c.call_sid == call_sid)).first() is not None


def _loaded(text: str) -> Any:
    return storable(json.loads(text))
