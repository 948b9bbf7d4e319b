"""What happens in a call, counted: a look-up for each event and action, and a count for the few that are counted.

Sound, marks and words are not: nothing here is touched for them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from voice.core import events as ev
from voice.metrics import series

_FALSE_INTERRUPTION = ("words", "went on after a false interruption")


def call_started(direction: str, carried_on: bool) -> None:
    """`carried_on`: another stream has begun this call."""
    if carried_on:
        series.resumes.inc()
    else:
        series.calls_started.labels(direction).inc()


def call_refused(reason: str) -> None:
    """`reason` is one of `series.REFUSALS`."""
    series.calls_refused.labels(reason).inc()


def happened(event: ev.Event, actions: Sequence[ev.Action]) -> None:
    """One event of a call and what followed from it."""
    if count := _COUNTED.get(type(event)):
        count(event, actions)
    for action in actions:
        if count := _COUNTED.get(type(action)):
            count(action, actions)


def tool_finished(outcome: str, seconds: float) -> None:
    """`outcome` is `done` or `failed`."""
    series.tool_seconds.labels(outcome).observe(seconds)


def call_ended(end: ev.EndCall, seconds: float, usd: Mapping[str, float]) -> None:
    """One stream of a call, after so many seconds; `usd` is what it has cost, by vendor."""
    series.calls_ended.labels(end.result, end.reason).inc()
    series.call_seconds.observe(seconds)
    for vendor, dollars in usd.items():
        series.cost_usd.labels(vendor).inc(max(0.0, dollars))


def steps(times: ev.TurnTimes) -> Iterator[tuple[str, float, float]]:
    """Each stage that was reached, with its beginning and end in seconds since the stream's start.

    A stage begins when all before it were reached, so that together they are the caller's wait. One that was ready
    before it could be waited for, such as an answer that was begun on words that were not final, takes no time.
    """
    since = times.speech_end
    for stage in series.STAGES:
        at: float | None = getattr(times, stage)
        if at is None:
            continue
        if since is not None:
            yield stage, since, max(since, at)
        since = at if since is None else max(since, at)


def _turn(turn: ev.RecordTurn, actions: Sequence[ev.Action]) -> None:
    series.turns.inc()
    # What the end of the call cuts short, and what nobody has heard of, no caller has interrupted.
    if turn.cut and turn.agent and not any(isinstance(action, ev.EndCall) for action in actions):
        series.barge_ins.inc()
    for stage, begin, end in steps(turn.times):
        series.stage_seconds.labels(stage).observe(end - begin)
    if turn.times.speech_end is not None and turn.times.heard is not None:
        series.response_seconds.observe(max(0.0, turn.times.heard - turn.times.speech_end))


def _delay(delay: ev.RecordDelay, _: Sequence[ev.Action]) -> None:
    if (delay.stage, delay.remedy) == _FALSE_INTERRUPTION:
        series.false_interruptions.inc()
    else:
        series.dead_air_rescues.labels(delay.stage, delay.remedy).inc()


def _vendor_failed(event: ev.VendorFailed, _: Sequence[ev.Action]) -> None:
    series.vendor_errors.labels(event.vendor).inc()
    if event.account:
        series.vendor_refusals.labels(event.vendor).inc()


def _transcriber_lost(event: ev.TranscriberLost, _: Sequence[ev.Action]) -> None:
    series.vendor_errors.labels("transcriber").inc()
    series.vendor_reconnects.labels("transcriber").inc()


def _start_reply(action: ev.StartReply, _: Sequence[ev.Action]) -> None:
    if action.attempt > 1:
        series.vendor_reconnects.labels("language model").inc()


_COUNTED: Mapping[type, Callable[[Any, Sequence[ev.Action]], None]] = {
    ev.RecordTurn: _turn,
    ev.RecordDelay: _delay,
    ev.RecordWaste: lambda *_: series.thrown_away.inc(),
    ev.VendorFailed: _vendor_failed,
    ev.TranscriberLost: _transcriber_lost,
    ev.StartReply: _start_reply,
    ev.ChangeSynthesizer: lambda *_: series.vendor_reconnects.labels("synthesizer").inc(),
}
