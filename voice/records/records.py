"""The records of this worker's calls. Writing puts into a queue and returns; asking waits on the asking greenlet."""

import json
import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, TypeVar

from gevent.event import Event
from sqlalchemy import Connection

from voice.errors import RecordsUnavailable
from voice.records import migrate, presence, queries, search, statements, statistics
from voice.records.database import Database
from voice.records.entries import CallEnded, CallRecord, CallStarted, Claim, Noted, Outbound, Standing, Turn
from voice.records.search import Place, Search
from voice.records.spent import Spender
from voice.records.statistics import Summary, Waits
from voice.records.writer import Item, Writer

T = TypeVar("T")

_log = logging.getLogger("voice.records")
# What a finished call is told of later; the rest has methods of its own.
_UPDATABLE = {"answered_by", "result", "reason", "summary", "fields", "usage", "cost", "cost_usd", "agent"}
# For the worker that ended the call to take it.
_FINISHED_S = 60.0
# As long as anybody may ask.
_BEHIND_S = 86400.0
# A call without a stream: so long it may yet come back by itself, and so long its caller waits for it.
_COMING_BACK_S, _COMES_BACK_S = 20.0, 300.0
# Twilio's longest call: without an end after so long nobody will write one.
_LOST_S = 86400.0
# Of an item, besides its text.
_OVERHEAD = 500


class Records:
    """One for each worker, made after the fork. Whatever is written before `start` waits.

    `fence` is what `claim` has given, 0 for a call that nobody has claimed: what carries an older one is ignored. What
    asks raises RecordsUnavailable after `timeout_s`, and sees all that this worker has written before.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time, timeout_s: float = 3.0) -> None:
        self._database = Database(url, prepare=migrate.apply)
        self._writer = Writer(self._database)
        self._spender = Spender(self._database, timeout_s)
        self._timeout_s = timeout_s
        self.clock = clock
        """Seconds since the epoch."""
        self.posted = Event()
        """Set by every `post`."""
        # Ids grow, so that events of the same time keep their order.
        self._id_prefix = secrets.token_hex(8)
        self._ids = count()

    def start(self) -> None:
        """Returns at once; the database is brought up to date before anything is written."""
        self._writer.put(Item("", "the start", lambda connection: None, 0, True))
        self._writer.start()

    def stop(self, timeout_s: float) -> None:
        """Write what waits, for so long at most."""
        self._writer.stop(timeout_s)
        self._database.close(0.5)

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was written before is in the database within that time."""
        return self._writer.flush(timeout_s)

    @property
    def backlog(self) -> int:
        """How much waits to be written."""
        return self._writer.backlog

    @property
    def lost(self) -> int:
        """How much was thrown away for lack of room, or refused by the database for what it is."""
        return self._writer.dropped + self._writer.skipped

    @property
    def is_in_trouble(self) -> bool:
        """Whether the last try to write has failed."""
        return bool(self._writer.trouble)

    # Writing

    def call_started(self, call: CallStarted, fence: int = 0) -> None:
        """Again for the same call: it goes on; its end is taken back, its start stays."""
        self._put(call.call_sid, "its start", True, statements.call_started, call, _text(call.parameters), fence)

    def turn_finished(self, call_sid: str, turn: Turn, checkpoint: Mapping[str, Any], fence: int = 0) -> None:
        """The turn and what the call would go on from, both or neither."""
        texts = _text(turn.times), _text(checkpoint)
        self._put(call_sid, f"turn {turn.number}", True, statements.turn_finished, call_sid, turn, *texts, fence)

    def checkpoint(self, call_sid: str, checkpoint: Mapping[str, Any], fence: int = 0) -> None:
        self._put(call_sid, "a checkpoint", False, statements.checkpoint, call_sid, _text(checkpoint), fence)

    def noted(self, call_sid: str, kind: str, detail: Mapping[str, Any]) -> None:
        """Something worth keeping that is no turn."""
        event_id = f"{self._id_prefix}-{next(self._ids):012d}"
        self._put(call_sid, kind, False, statements.noted, call_sid, event_id, kind, _text(detail), self.clock())

    def call_ended(self, call_sid: str, ended: CallEnded, fence: int = 0, *, if_open: bool = False) -> None:
        """`if_open`: only when nobody else has told its end."""
        texts = _text(ended.usage), _text(ended.cost)
        self._put(call_sid, "its end", True, statements.call_ended, call_sid, ended, *texts, fence, if_open)

    def call_updated(self, call_sid: str, **changes: Any) -> None:
        """`changes` by column: answered_by, result, reason, summary, fields, usage, cost, cost_usd, agent."""
        if unknown := changes.keys() - _UPDATABLE:
            raise TypeError(f"of a call are not updated: {', '.join(sorted(unknown))}")
        self._put(call_sid, "an update", True, statements.call_updated, call_sid, _text(changes))

    def post(self, call_sid: str, agent: str, body: Mapping[str, Any]) -> str:
        """A webhook for `Outbox` to deliver; returns the id of the delivery."""
        delivery_id = secrets.token_hex(16)
        text = _text(body)
        self._put(call_sid, "a webhook", True, statements.posted, call_sid, agent, delivery_id, text, self.clock())
        self.posted.set()
        return delivery_id

    def present(self, owner: str, state: str) -> None:
        """The live calls of a worker, as it tells them; takes the place of what it told before."""
        self._put("", "its presence", False, presence.present, owner, state, self.clock())

    def absent(self, owner: str) -> None:
        """The worker is going."""
        self._put("", "its absence", False, presence.absent, owner)

    def watch(self, owner: str, seconds: float) -> None:
        """Somebody looks at the live calls at that worker, and will do so for some seconds more."""
        self.lease(presence.WATCHER + owner, owner, seconds)

    # Asking

    def presences(self) -> list[tuple[str, float, str]]:
        """Owner, time and state of every worker that has told of itself of late."""
        return self.read(presence.presences)

    def glance(self, call_sids: Collection[str]) -> tuple[list[Standing], bool]:
        """The standings of those calls, and whether anybody watches the live ones: one question, for every worker that
        has calls asks it once a second."""
        now = self.clock()

        def work(connection: Connection) -> tuple[list[Standing], bool]:
            return queries.standings(connection, call_sids, now), presence.is_watched(connection, now)

        return self.read(work)

    def call(self, call_sid: str) -> CallRecord | None:
        """The call with its turns and events."""
        return self.read(partial(queries.call, call_sid=call_sid))

    def news(self, call_sids: Collection[str], since: float) -> list[tuple[str, str, Noted]]:
        """What was written of those calls since then: call_sid, an id of its own, and the event or turn."""
        return self.read(partial(queries.news, call_sids=call_sids, since=since))

    def calls(
        self,
        limit: int = 50,
        before: float | None = None,
        agent: str | None = None,
        caller: str | None = None,
        live: bool | None = None,
    ) -> list[CallRecord]:
        """Calls without their turns, the latest first; `before` is a started_at, for the next page.

        Live are those without an end, and so are those whose worker died and that nobody has carried on.
        """
        wanted = partial(queries.list_calls, limit=limit, before=before, agent=agent, caller=caller, live=live)
        return self.read(wanted)

    def find(self, wanted: Search, limit: int = 50, after: Place | None = None) -> list[CallRecord]:
        """Calls without their turns, the latest first; `after` is the last call of the page before."""
        return self.read(partial(search.find, wanted=wanted, limit=limit, after=after))

    def reasons(self) -> list[str]:
        """Results and reasons that calls have ended with."""
        return self.read(search.reasons)

    def summary(self, since: float) -> Summary:
        """Of the calls that began since then."""
        return self.read(partial(statistics.summary, since=since))

    def waits(self, since: float, stretch_s: int) -> list[Waits]:
        """Of the turns since then, by stretches of so many seconds."""
        return self.read(partial(statistics.waits, since=since, stretch_s=stretch_s))

    def load_checkpoint(self, call_sid: str) -> dict[str, Any] | None:
        return self.read(partial(queries.checkpoint, call_sid=call_sid))

    def claim(self, call_sid: str, owner: str) -> Claim | None:
        """Take the call over; None when there is no such call. Every claim gets a fence of its own, and the last one
        owns the call."""
        return self.write(partial(statements.claim, call_sid=call_sid, owner=owner))

    def standing(self, call_sid: str) -> Standing | None:
        """None when there is no record of a stream of it."""
        return next(iter(self.standings([call_sid])), None)

    def standings(self, call_sids: Collection[str]) -> list[Standing]:
        """Of those of which there is a record of a stream."""
        return self.read(partial(queries.standings, call_sids=call_sids, now=self.clock()))

    def orphans(self, owner: str) -> list[Standing]:
        """Calls that nobody seems to hold, at most 100: their owner has died, or is `owner`; or they have lost their
        stream, or were handed over, and did not come back in time."""
        now = self.clock()
        lost = now - _COMES_BACK_S, now - _COMING_BACK_S
        return self.read(partial(queries.orphans, owner=owner, now=now, lost=lost, limit=100))

    def lives(self, owner: str, seconds: float) -> None:
        """The worker of that name lives, and will do so for some seconds more."""
        self.lease(queries.WORKER + owner, owner, seconds)

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        """Have something to oneself for so long, or for longer; False while another owner has it."""
        now = self.clock()
        return self.write(partial(statements.lease, name=name, owner=owner, now=now, until=now + seconds))

    def came_back(self, stream_name: str) -> None:
        """Twilio has asked what comes behind that stream: nobody needs to ask it back any more. Returns at once."""
        until = self.clock() + _BEHIND_S
        self._put("", "a return", True, statements.came_back, queries.BEHIND + stream_name, until)

    def may_ask_back(self, stream_name: str, owner: str) -> bool:
        """Whether it is for `owner` to have Twilio come back with the call behind that stream: it has not come, and no
        other worker was first. True again for the same owner, as long as Twilio has not come."""
        return self.lease(queries.BEHIND + stream_name, owner, _BEHIND_S)

    def release(self, name: str, owner: str) -> None:
        """Before its time; returns at once."""
        self._put("", "a lease", False, statements.release, name, owner)

    def unfinished(self) -> list[str]:
        """Calls that were over a minute ago and that nobody has taken, the oldest first, at most 100."""
        now = self.clock()
        left = partial(queries.unfinished, before=now - _FINISHED_S, lost_before=now - _LOST_S, limit=100)
        return self.read(left)

    def to_finish(self, call_sid: str) -> CallRecord | None:
        """The call, if it is over and nobody has finished it."""
        now = self.clock()
        return self.read(partial(queries.to_finish, call_sid=call_sid, before=now, lost_before=now - _LOST_S))

    def finish(self, call_sid: str, agent: str, changes: Mapping[str, Any], body: Mapping[str, Any] | None) -> bool:
        """The last that is written of a call: `changes` by column as in `call_updated`, and a webhook for `Outbox`.

        False when it goes on, or somebody else has finished it. A call that is carried on afterwards can be finished
        again after its next end.
        """
        now = self.clock()
        webhook = None if body is None else (agent, secrets.token_hex(16), _text(body))
        work = partial(
            statements.finish,
            call_sid=call_sid,
            changes=_text(changes),
            webhook=webhook,
            now=now,
            lost_before=now - _LOST_S,
        )
        finished = self.write(work)
        if finished and webhook:
            self.posted.set()
        return finished

    def outbound_placed(self, outbound: Outbound) -> None:
        """Before the call is placed; again, with its call_sid, once Twilio has taken it."""
        parameters = _text(outbound.parameters)
        self.write(partial(statements.outbound_placed, placed=outbound, parameters=parameters, at=self.clock()))

    def outbound_within(self, outbound: Outbound, limits: Sequence[tuple[float, int]]) -> int | None:
        """Place it unless one of `limits`, each seconds and the most in them, is reached: the index of that one."""
        parameters = _text(outbound.parameters)
        work = partial(
            statements.outbound_within, placed=outbound, parameters=parameters, at=self.clock(), limits=limits
        )
        return self.write(work)

    def outbound(self, outbound_id: str) -> Outbound | None:
        return self.read(partial(queries.outbound_call, outbound_id=outbound_id))

    def outbound_count(self, since: float, to: str | None = None) -> int:
        """How many were placed since then, by all workers; to that number only, if it is given."""
        return self.read(partial(queries.outbound_count, since=since, to=to))

    def outbound_seconds(self, since: float) -> float:
        """How long all calls that were placed since then have lasted, rung for or talked in."""
        return self.read(partial(queries.outbound_seconds, since=since, now=self.clock()))

    def cost_since(self, since: float) -> float:
        """US dollars of all calls that began since then, of all workers."""
        return self.read(partial(queries.cost_since, since=since))

    def calls_of(self, caller: str, since: float) -> int:
        """How often that number has called since then, whichever worker took it."""
        return self.read(partial(queries.calls_of, caller=caller, since=since))

    def spend(self, *names: str) -> bool:
        """Use up all of `names`; False when one was used before, by whichever worker. Waits 0.25 s at most."""
        return self._spender.spend(names, self.clock())

    def delete_call(self, call_sid: str) -> bool:
        """Everything of the call, for good: what is written of it later is ignored. False when it was not there."""
        return self.write(partial(statements.delete_call, call_sid=call_sid))

    def delete_older_than(self, seconds: float) -> int:
        """Everything of all calls that were over so long ago; returns how many. Takes as many steps as it needs."""
        before, deleted = self.clock() - seconds, 0
        while step := self.write(partial(statements.delete_older, before=before)):
            deleted += step
        return deleted

    # For the neighbours in this package

    def read(self, work: Callable[[Connection], T]) -> T:
        return self._database.read(work, self._time_left())

    def write(self, work: Callable[[Connection], T]) -> T:
        return self._database.write(work, self._time_left())

    def _time_left(self) -> float:
        """After what waits has been written."""
        self._database.refuse_while_spared()
        began = time.monotonic()
        if not self._writer.flush(self._timeout_s):
            self._database.spare()
            raise RecordsUnavailable(f"{self.backlog} wait to be written: {self._writer.trouble or 'no answer yet'}")
        return max(0.1, self._timeout_s - (time.monotonic() - began))

    def _put(self, call_sid: str, what: str, is_kept: bool, write: Callable[..., bool], *arguments: Any) -> None:
        size = _OVERHEAD + sum(len(argument) for argument in arguments if isinstance(argument, str))

        def work(connection: Connection) -> str | None:
            return None if write(connection, *arguments) else queries.why_ignored(connection, call_sid)

        self._writer.put(Item(call_sid, what, work, size, is_kept))


def _text(value: Mapping[str, Any]) -> str:
    """As JSON, at once: it may change before it is written."""
    try:
        return json.dumps(dict(value), default=_plain, skipkeys=True)
    except (TypeError, ValueError, RecursionError) as error:
        # Our own fault, and no reason to lose what goes with it.
        _log.error("records: a value that cannot be written: %r", error)
        return "{}"


def _plain(value: object) -> object:
    match value:
        case Mapping():
            return dict(value)
        case set() | frozenset():
            return sorted(map(str, value))
    return str(value)
