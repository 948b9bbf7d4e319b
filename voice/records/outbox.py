"""Webhooks delivered: each is tried until it is taken, by whichever worker comes first.

It may come twice (X-Voice-Delivery is the same then), never by halves.

A receiver checks the signature with the secret, over the body as it came, and refuses what is old:

    signed = hmac.new(secret.encode(), f"{headers['X-Voice-Timestamp']}.".encode() + body, "sha256").hexdigest()
    genuine = hmac.compare_digest(headers["X-Voice-Signature"], f"v1={signed}")
    recent = abs(time.time() - int(headers["X-Voice-Timestamp"])) < 300
"""

import hmac
import http.client
import logging
import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import gevent
from gevent import Timeout
from gevent.pool import Pool
from sqlalchemy import Connection, func, select, update

from voice import outgoing, supervision
from voice.errors import RecordsUnavailable
from voice.records.records import Records
from voice.records.schema import outbox

_log = logging.getLogger("voice.outbox")

_AT_ONCE = 8
# Another worker may have posted and died: so often is looked for what is due.
_LOOK_S = 15.0
# In hand for so long: after that its worker is dead.
_LEASE_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 3600.0
_GIVEN_UP_S = 7 * 86400.0


@dataclass(frozen=True)
class Destination:
    # An address may carry a password too.
    url: str = field(repr=False)
    secret: str = field(repr=False)
    private: bool = field(default=False, repr=False)
    """It may have an address that the Internet does not have."""


@dataclass(frozen=True)
class Delivery:
    id: str
    call_sid: str
    agent: str
    body: str
    created_at: float
    attempts: int
    """This one included."""


class Outbox:
    """One for each worker. `destination` has an agent's webhook; None: it has none any more, which may be a mistake."""

    def __init__(
        self, records: Records, destination: Callable[[str], Destination | None], timeout_s: float = 10.0
    ) -> None:
        self._records = records
        self._destination = destination
        self._timeout_s = timeout_s
        self._pool = Pool(_AT_ONCE)
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        self._greenlet = supervision.supervise("outbox", self._run)

    def stop(self) -> None:
        """At once. What was under way is delivered again by whoever comes after."""
        if self._greenlet is not None:
            self._greenlet.kill()
        self._pool.kill()

    def _run(self) -> None:
        while True:
            self._records.posted.clear()
            self._records.posted.wait(self._begin_due())

    def _begin_due(self) -> float:
        """Begin what is due, as far as there is room; how long there is nothing to do, in seconds."""
        self._pool.wait_available()
        room = self._pool.free_count()
        try:
            due, next_at = self._records.write(partial(_lease, most=room, now=self._records.clock()))
        except RecordsUnavailable:
            return _FIRST_PAUSE_S
        for delivery in due:
            self._pool.spawn(self._deliver, delivery)
        if len(due) == room:
            return 0.0
        return min(_LOOK_S, max(0.0, next_at - self._records.clock())) if next_at is not None else _LOOK_S

    def _deliver(self, delivery: Delivery) -> None:
        error = self._fault(delivery)
        now = self._records.clock()
        try:
            if error is None:
                self._records.write(partial(_delivered, delivery=delivery, now=now))
            else:
                self._records.write(partial(_failed, delivery=delivery, error=error, next_at=_next_at(delivery, now)))
        except RecordsUnavailable as unavailable:
            _log.warning("%s: webhook %s will be sent again: %s", delivery.call_sid, delivery.id, unavailable)
            return
        # The pause that goes on was reckoned while this was in hand: when the next is due has to be looked up again.
        self._records.posted.set()
        _tell(delivery, error, _next_at(delivery, now) is None)

    def _fault(self, delivery: Delivery) -> str | None:
        """Why it was not delivered. The address stays unsaid: it may carry a password."""
        destination = self._destination(delivery.agent)
        if destination is None:
            return f"{delivery.agent} has no webhook"
        # A receiver that drips never times out.
        limit = Timeout.start_new(2 * self._timeout_s)
        try:
            status = _post(destination, delivery, int(self._records.clock()), self._timeout_s)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return type(error).__name__
        except Timeout as late:
            if late is not limit:
                raise
            return f"no answer within {2 * self._timeout_s:g} s"
        finally:
            limit.close()
        return None if 200 <= status < 300 else f"HTTP {status}"


def _post(destination: Destination, delivery: Delivery, timestamp: int, timeout_s: float) -> int:
    body = delivery.body.encode()
    signed = hmac.new(destination.secret.encode(), f"{timestamp}.".encode() + body, "sha256").hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Voice-Timestamp": str(timestamp),
        "X-Voice-Signature": f"v1={signed}",
        "X-Voice-Delivery": delivery.id,
    }
    with closing(outgoing.connected(destination.url, timeout_s, destination.private)) as connection:
        connection.request("POST", outgoing.target(destination.url), body, headers)
        # What the answer says is not read: only its status counts.
        return connection.getresponse().status


def _next_at(delivery: Delivery, now: float) -> float | None:
    """When it is tried again; None: never, it is given up."""
    if now - delivery.created_at > _GIVEN_UP_S:
        return None
    # 2 ** 20 is beyond the longest pause by far.
    pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(delivery.attempts - 1, 20))
    return now + pause * random.uniform(0.8, 1.2)


def _tell(delivery: Delivery, error: str | None, is_given_up: bool) -> None:
    if error is None:
        _log.info("%s: webhook %s delivered, attempt %d", delivery.call_sid, delivery.id, delivery.attempts)
    elif is_given_up:
        _log.error("%s: webhook %s is given up: %s", delivery.call_sid, delivery.id, error)
    else:
        text = "%s: webhook %s not delivered, attempt %d: %s"
        _log.warning(text, delivery.call_sid, delivery.id, delivery.attempts, error)


# In the database's thread


def _lease(connection: Connection, most: int, now: float) -> tuple[list[Delivery], float | None]:
    """What is due, taken in hand: nobody else sees it before the lease is over. And when the next is due."""
    due = select(outbox).where(outbox.c.next_at <= now).order_by(outbox.c.next_at).limit(most)
    rows = connection.execute(due.with_for_update(skip_locked=True)).all()
    taken = update(outbox).where(outbox.c.id.in_([row.id for row in rows]))
    if rows:
        connection.execute(taken.values(next_at=now + _LEASE_S, attempts=outbox.c.attempts + 1))
    deliveries = [Delivery(r.id, r.call_sid, r.agent, r.body, r.created_at, r.attempts + 1) for r in rows]
    return deliveries, connection.execute(select(func.min(outbox.c.next_at))).scalar_one()


def _delivered(connection: Connection, delivery: Delivery, now: float) -> None:
    this = update(outbox).where(outbox.c.id == delivery.id)
    connection.execute(this.values(next_at=None, delivered_at=now, last_error=None))


def _failed(connection: Connection, delivery: Delivery, error: str, next_at: float | None) -> None:
    this = update(outbox).where(outbox.c.id == delivery.id)
    connection.execute(this.values(next_at=next_at, last_error=error))
