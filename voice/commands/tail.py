"""`python -m voice tail`: what happens in live calls, of all workers, as the records tell it: once a second."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import click

from voice.commands.kept import opened
from voice.commands.output import plain, tell_json_line
from voice.core.turn_story import turn_story
from voice.errors import RecordsUnavailable
from voice.records.queries import LEFT
from voice.records.records import Records
from voice.web.console import shown
from voice.web.console.workers import Workers, calls_of

LOOK_S = 1.0
_LATE_S = 15.0
"""So much later than it happened may something be written; clocks of machines differ, too."""
_OUT_OF_SIGHT_S = 300.0
"""A call that no worker has may come back for so long."""

Told = dict[str, Any]
"""`{"at", "call_sid", "event", ...}`: `began`, `live`, `turn`, `health`, `over`, and what the records call it."""


def run(environ: Mapping[str, str], call_sid: str | None, as_json: bool) -> int:
    """130 after Ctrl-C, 0 when the call that was named is over."""
    # Of a KeyboardInterrupt gevent's hub tells the terminal.
    signal.signal(signal.SIGINT, _leave)
    tell = tell_json_line if as_json else lambda told: click.echo(_line(told, bool(call_sid)))
    with opened(environ) as records:
        return _follow(Tail(records, call_sid), tell)


def _leave(*_: object) -> NoReturn:
    raise SystemExit(130)


def _follow(tail: "Tail", tell: Callable[[Told], None]) -> int:
    in_trouble = False
    for told in tail.look():
        tell(told)
    while not tail.over:
        time.sleep(LOOK_S)
        try:
            for told in tail.look():
                tell(told)
            in_trouble = False
        except RecordsUnavailable as error:
            if not in_trouble:
                click.echo(f"the database does not answer, and is asked again: {error}", err=True)
            in_trouble = True
    return 0


class Tail:
    """One that looks: each `look` gives what is new since the one before."""

    def __init__(self, records: Records, call_sid: str | None) -> None:
        """Of that call all that was before is new, too; None: of every call what happens from now on."""
        self._records = records
        self._call_sid = call_sid
        self._workers = Workers(records, f"{socket.gethostname()}:{os.getpid()}")
        self._began = 0.0 if call_sid else records.clock()
        self._told: set[str] = set()
        # By call: vendors' health, and since when no worker has it.
        self._health: dict[str, dict[str, str]] = {}
        self._gone: dict[str, float] = {}
        self._first = True
        self.over = False
        """The call that was named has ended."""

    def look(self) -> Iterator[Told]:
        """Raises RecordsUnavailable; click.ClickException for a call that nobody knows."""
        now = time.monotonic()
        self._workers.watch(now)
        live = {call["call_sid"]: call for call in calls_of(self._workers.others(now)) if self._is_meant(call)}
        yield from self._begun(live)
        yield from self._news()
        yield from self._changed(live)
        yield from self._ended(live, now)
        self._first = False

    def _is_meant(self, call: Mapping[str, Any]) -> bool:
        return self._call_sid in (None, call["call_sid"])

    def _begun(self, live: Mapping[str, Mapping[str, Any]]) -> Iterator[Told]:
        for call_sid, call in live.items():
            if call_sid not in self._health:
                self._health[call_sid] = {}
                who = {name: call[name] for name in ("caller", "called", "agent", "direction", "worker")}
                yield _told(call["since"], call_sid, "live" if self._first else "began", who)
        if self._call_sid and self._first and not live:
            self._begun_before(self._call_sid)

    def _begun_before(self, call_sid: str) -> None:
        """No worker has it: it is over, or between two of them."""
        if self._records.call(call_sid) is None:
            raise click.ClickException(f"no worker has {call_sid}, and there is no record of it")
        self._health[call_sid] = {}

    def _news(self) -> Iterator[Told]:
        clock = self._records.clock()
        since = self._began if self._first else max(self._began, clock - _LATE_S)
        for call_sid, news_id, noted in self._records.news(list(self._health), since):
            if news_id not in self._told:
                self._told.add(news_id)
                yield _told(noted.at, call_sid, noted.kind, noted.detail)

    def _changed(self, live: Mapping[str, Mapping[str, Any]]) -> Iterator[Told]:
        for call_sid, call in live.items():
            self._gone.pop(call_sid, None)
            # One that connects is well so far.
            health = {vendor: "ok" if told == "connecting" else told for vendor, told in call["health"].items()}
            before, self._health[call_sid] = self._health[call_sid], health
            changed = {vendor: told for vendor, told in health.items() if before.get(vendor, "ok") != told}
            if changed:
                yield _told(self._records.clock(), call_sid, "health", changed)

    def _ended(self, live: Mapping[str, object], now: float) -> Iterator[Told]:
        for call_sid in [each for each in self._health if each not in live]:
            call = self._records.call(call_sid)
            since = self._gone.setdefault(call_sid, now)
            if call is not None and call.ended_at is not None and call.result not in LEFT:
                # Its last words may have been written with its end.
                yield from self._news()
                yield _told(call.ended_at, call_sid, "over", {"result": call.result, "reason": call.reason})
            elif call is not None and now - since < _OUT_OF_SIGHT_S:
                continue
            else:
                result = {"result": "lost" if call else "deleted", "reason": "no worker has it"}
                yield _told(self._records.clock(), call_sid, "over", result)
            del self._health[call_sid], self._gone[call_sid]
            self.over = call_sid == self._call_sid


def _told(at: float, call_sid: str, event: str, detail: Mapping[str, Any]) -> Told:
    # A detail may have an `at` of its own, and whatever a webhook is called.
    return {**detail, "at": at, "call_sid": call_sid, "event": event}


def _line(told: Told, is_named: bool) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(told["at"]))
    whose = "" if is_named else f"{told['call_sid']}  "
    detail = {name: value for name, value in told.items() if name not in ("at", "call_sid", "event")}
    match told["event"]:
        case "turn":
            words = _turn(told)
        case "live" | "began":
            words = "{caller} with {agent}, {called}, at {worker}".format(**detail)
        case "over":
            words = f"{told['result']}: {told['reason']}"
        case _:
            words = shown.words(detail)
    return f"{at}  {whose}{plain(told['event']):<14}  {plain(words)}"


def _turn(turn: Told) -> str:
    took = turn_story(turn, 0.0, (), (), 0.0).took
    after = f" (after {took:.1f} s)" if took is not None else ""
    caller = f'caller "{turn["caller"]}", ' if turn["caller"] else ""
    cut = " cut off" if turn["cut"] else ""
    return f'{turn["number"]}: {caller}agent "{turn["agent"]}"{cut}{after}'
