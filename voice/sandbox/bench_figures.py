"""The load test's figures, from what was observed. Pure."""

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from voice.core.audio import FRAME_MS
from voice.sandbox import bench_integrity
from voice.sandbox.bench_caller import Answered
from voice.sandbox.bench_machine import Moment
from voice.sandbox.bench_observed import Final, Observed, Request, Speech
from voice.sandbox.bench_plan import Plan
from voice.sandbox.bench_script import (
    ONSET_FRAMES,
    SILENCE_FRAMES,
    first_sentence_tokens,
    question,
    sentences,
)

HOPS = ("silence_to_commit", "final_to_request", "sentence_to_text", "audio_to_caller")


@dataclass(frozen=True)
class Spread:
    """Milliseconds. A percentile is the smallest value that so many per cent of all do not exceed."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True)
class Memory:
    """PSS of the server's processes in MB; None where it runs elsewhere."""

    before: float | None
    full: float | None
    after: float | None


@dataclass(frozen=True)
class Load:
    """What the machine did."""

    first: Moment
    """All calls are live from here ..."""
    last: Moment
    """... to here."""
    memory: Memory
    hub_busy_ms: float | None = None
    """The longest that the server's hub did not look at its sockets; None: unknown."""
    answered: Sequence[Answered] = ()
    """How calls began: of those that came while all were live, if any did, else of all."""
    refused: int = 0
    """Calls and visitors, none of those that were observed."""


@dataclass(frozen=True)
class Figures:
    calls: int
    calls_refused: int
    turns_expected: int
    turns_completed: int
    turns_interrupted: int
    failures: list[str]
    """Calls that did not go to their end, each with the reason."""
    faults: list[str]
    """Whatever crossed or was lost, doubled, moved or complained of."""
    audio_bytes: int
    """Caller audio sent."""
    audio_lost: int
    audio_added: int
    audio_moved: int
    window_s: float
    """For so long all calls were live together: latencies and processor times are of that time."""
    latency: dict[str, Spread | None]
    """Of the server alone, per turn: each hop and their `sum`; None when no turn fell into the window."""
    answer: Spread | None
    """From the frame with which the caller's silence is long enough to the answer's first audio: vendors and all."""
    barge_in: Spread | None
    """From what decides it to `clear`."""
    webhook: Spread | None
    """Until a call's first webhook was answered."""
    greeting: Spread | None
    """From the stream's handshake to the greeting's first audio."""
    server_cpu_s_per_call_minute: float | None
    """None, as everything of the server's machine, where it runs elsewhere."""
    server_core_share: float | None
    driver_core_share: float
    others_core_share: float
    """What everything else on this machine took meanwhile, the kernel's own work too; latencies suffer from it."""
    stolen_core_share: float
    """What the host of a virtual machine took away."""
    driver_late: Spread | None
    """How long after its moment each caller's frame went out: above 20 ms the driver is the limit."""
    driver_latest_ms: float
    """The longest of the whole run, calls' beginnings too."""
    memory: Memory
    memory_mb_per_call: float | None
    hub_busy_ms: float | None
    """The longest that the server's hub did not look at its sockets, from the first call to the window's end."""

    @property
    def sound(self) -> bool:
        """Every turn took place, nothing crossed and nothing was lost. Says nothing of speed."""
        return self.turns_completed == self.turns_expected and not self.failures and not self.faults


def figures(calls: Sequence[Observed], load: Load, plan: Plan = Plan()) -> Figures:
    """With preemptive replies no hops: the request goes out before the final transcript."""
    first, last = load.first, load.last
    window_s = last.at - first.at
    audio = [bench_integrity.audio_faults(call.phone.sent, call.received, plan.as_samples) for call in calls]
    server_s = _less(last.server_cpu_s, first.server_cpu_s)
    driver_s = last.driver_cpu_s - first.driver_cpu_s
    # The kernel counts the whole in ticks and each process to the nanosecond: nothing else can come out below zero.
    others_s = max(0.0, last.machine_cpu_s - first.machine_cpu_s - (server_s or 0.0) - driver_s)
    memory_mb = _less(load.memory.full, load.memory.before)
    turns = [] if plan.preemptive else [turn for call in calls for turn in hops(call, first.at, last.at)]
    return Figures(
        calls=len(calls),
        calls_refused=load.refused,
        turns_expected=sum(len(call.part.interrupts) for call in calls),
        turns_completed=sum(call.completed for call in calls),
        turns_interrupted=sum(sum(call.part.interrupts) for call in calls),
        failures=[f"caller {call.part.caller}: {call.failure}" for call in calls if call.failure],
        faults=[fault for call in calls for fault in bench_integrity.faults(call, bool(plan.peer), plan.as_samples)],
        audio_bytes=sum(len(call.phone.sent) for call in calls),
        audio_lost=sum(one.lost for one in audio),
        audio_added=sum(one.added for one in audio),
        audio_moved=sum(one.moved for one in audio),
        window_s=window_s,
        latency=_latency(turns),
        answer=spread(ms for call in calls for ms in answers(call, first.at, last.at)),
        barge_in=spread([ms for call in calls for ms in barge_ins(call, first.at, last.at, plan.vendor_hears)]),
        webhook=spread(one.webhook_ms for one in load.answered if one.webhook_ms is not None),
        greeting=spread(one.greeting_ms for one in load.answered if one.greeting_ms is not None),
        server_cpu_s_per_call_minute=None if server_s is None else server_s / (len(calls) * window_s / 60),
        server_core_share=None if server_s is None else server_s / window_s,
        driver_core_share=driver_s / window_s,
        others_core_share=others_s / window_s,
        stolen_core_share=(last.stolen_s - first.stolen_s) / window_s,
        driver_late=spread(ms for call in calls for ms in lateness(call.phone.sent_at, first.at, last.at)),
        driver_latest_ms=max(call.phone.late_ms for call in calls),
        memory=load.memory,
        memory_mb_per_call=None if memory_mb is None else memory_mb / len(calls),
        hub_busy_ms=load.hub_busy_ms,
    )


def medians(runs: Sequence[Figures]) -> Figures:
    """Of every figure by itself; counts of the first run, and whatever went wrong in any of them."""
    if len(runs) == 1:
        return runs[0]
    median: Figures = _median(runs)
    return replace(
        median,
        turns_completed=min(run.turns_completed for run in runs),
        failures=[one for run in runs for one in run.failures],
        faults=[one for run in runs for one in run.faults],
    )


def _median(values: Sequence[Any]) -> Any:
    first = next((value for value in values if value is not None), None)
    if isinstance(first, Spread | Memory | Figures):
        given = [value for value in values if value is not None]
        names = [field.name for field in fields(first)]
        return type(first)(**{name: _median([getattr(value, name) for value in given]) for name in names})
    if isinstance(first, dict):
        return {name: _median([value[name] for value in values]) for name in first}
    return statistics.median(value for value in values if value is not None) if isinstance(first, float) else first


def _less(last: float | None, first: float | None) -> float | None:
    return None if last is None or first is None else last - first


def spread(values: Iterable[float]) -> Spread | None:
    """None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    p50, p95, p99 = (ordered[math.ceil(len(ordered) * share) - 1] for share in (0.5, 0.95, 0.99))
    return Spread(len(ordered), p50, p95, p99, ordered[-1])


def hops(call: Observed, start: float, end: float) -> list[tuple[float, ...]]:
    """HOPS in ms, of each turn whose answer began to arrive between `start` and `end` and which has them all."""
    found = []
    for turn in range(1, len(call.part.interrupts) + 1):
        times = _times(call, turn)
        if times is not None and start <= times[-1] <= end:
            found.append(tuple((times[n + 1] - times[n]) * 1000 for n in range(0, len(times), 2)))
    return found


def answers(call: Observed, start: float, end: float) -> list[float]:
    """From the frame that completes the silence after each question to the first audio that follows, in ms."""
    found = []
    for _, spoke_until in call.phone.spoke_at:
        silence_at = _frame_at(call, spoke_until, SILENCE_FRAMES)
        audio_at = _next(call.phone.media_at, silence_at)
        if silence_at and audio_at and start <= audio_at <= end:
            found.append((audio_at - silence_at) * 1000)
    return found


def barge_ins(call: Observed, start: float, end: float, vendor_hears: bool = False) -> list[float]:
    """From what decides each interruption to the `clear` that answered it, in ms.

    That is a frame of the caller's, or the transcriber's word where `vendor_hears`.
    """
    found = []
    for turn, interrupted in enumerate(call.part.interrupts, 1):
        if interrupted and turn < len(call.phone.spoke_at):
            spoke_at = call.phone.spoke_at[turn][0]
            heard_at = _next(call.speech_started_at, spoke_at)
            decided = heard_at if vendor_hears else _frame_at(call, spoke_at, ONSET_FRAMES - 1)
            cleared = _next(call.phone.clears_at, decided)
            if decided and cleared and start <= cleared <= end:
                found.append((cleared - decided) * 1000)
    return found


def lateness(sent_at: Sequence[float], start: float, end: float) -> list[float]:
    """Of each frame between `start` and `end`, in ms, against the 20 ms beat that the earliest frame of all sets."""
    beats = [at - n * FRAME_MS / 1000 for n, at in enumerate(sent_at)]
    earliest = min(beats, default=0.0)
    return [(beat - earliest) * 1000 for beat, at in zip(beats, sent_at, strict=True) if start <= at <= end]


def _latency(turns: Sequence[tuple[float, ...]]) -> dict[str, Spread | None]:
    columns = {name: spread(turn[place] for turn in turns) for place, name in enumerate(HOPS)}
    return columns | {"sum": spread(sum(turn) for turn in turns)}


def _times(call: Observed, turn: int) -> tuple[float, ...] | None:
    """Begin and end of each hop, one after the other; what lies between two hops is the stand-ins' own time."""
    words, answer = question(call.part.caller, turn), " ".join(sentences(call.part.caller, turn))
    final = next((f for f in call.finals if f.text == words), None)
    # A question may have been asked more than once; the last time counts.
    request = next((r for r in reversed(call.requests) if list(r.caller_said[-1:]) == [words]), None)
    speech = next((s for s in call.speeches if s.text.strip() and answer.startswith(s.text.strip())), None)
    if final is None or request is None or speech is None or turn > len(call.phone.spoke_at):
        return None
    silence_at = _frame_at(call, call.phone.spoke_at[turn - 1][1], SILENCE_FRAMES)
    times = (silence_at, *_vendor_times(final, request, speech, answer), _next(call.phone.media_at, speech.audio_at))
    return times if None not in times else None  # type: ignore[return-value]


def _vendor_times(final: Final, request: Request, speech: Speech, answer: str) -> tuple[float | None, ...]:
    # The first sentence is what the caller waits for; the event behind its last token shows that it is complete.
    place = first_sentence_tokens(answer)
    sentence_at = request.sent_at[place] if place < len(request.sent_at) else None
    return final.committed_at, final.sent_at, request.asked_at, sentence_at, speech.text_at, speech.audio_at


def _frame_at(call: Observed, moment: float, later: int) -> float | None:
    """When the frame went out that came `later` frames after the first one from `moment` on."""
    place = bisect_left(call.phone.sent_at, moment) + later
    return call.phone.sent_at[place] if place < len(call.phone.sent_at) else None


def _next(times: Sequence[float], after: float | None) -> float | None:
    place = len(times) if after is None else bisect_right(times, after)
    return times[place] if place < len(times) else None
