"""The SQL of what is counted over many calls. Each runs in the database's thread, in a transaction."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, Connection, case, cast, func, or_, select

from voice.records.schema import calls, turns


@dataclass(frozen=True)
class Summary:
    """Of the calls that began since some time."""

    calls: int
    failed: int
    """Those that are in `failures`."""
    cost_usd: float
    seconds: float
    """Of those that are over."""
    failures: tuple[tuple[str, str, int], ...]
    """Result, reason, and how many; the most frequent first."""


@dataclass(frozen=True)
class Waits:
    """How long callers waited for an answer, within one stretch of time."""

    at: float
    """Its beginning, in seconds since the epoch."""
    p50: float
    p95: float
    """Seconds from the caller's last sound to the first of the answer."""
    count: int


def has_failed() -> ColumnElement[bool]:
    """Ended otherwise than calls should."""
    return or_(calls.c.result.in_(("failed", "lost", "busy", "no-answer", "canceled")), calls.c.reason.like("%-failed"))


def summary(connection: Connection, since: float) -> Summary:
    lasted = func.sum(calls.c.ended_at - calls.c.started_at)
    counted = select(func.count(), func.sum(calls.c.cost_usd), lasted).where(calls.c.started_at >= since)
    count, cost, seconds = connection.execute(counted).one()
    often = func.count().label("often")
    failed = (
        select(calls.c.result, calls.c.reason, often)
        .where(calls.c.started_at >= since, has_failed())
        .group_by(calls.c.result, calls.c.reason)
        .order_by(often.desc(), calls.c.result, calls.c.reason)
    )
    failures = tuple((row.result, row.reason or "", row.often) for row in connection.execute(failed))
    return Summary(count, sum(often for *_, often in failures), float(cost or 0), float(seconds or 0), failures)


def waits(connection: Connection, since: float, stretch_s: int) -> list[Waits]:
    """The stretches in which anybody was answered, in order; `since` is the beginning of one."""
    began = (cast(turns.c.at - since, BigInteger) // stretch_s).label("stretch")
    waited = (turns.c.times["heard"].as_float() - turns.c.times["speech_end"].as_float()).label("waited")
    each = select(began, waited).where(turns.c.at >= since).subquery()
    answered = select(
        each.c.stretch,
        each.c.waited,
        func.row_number().over(partition_by=each.c.stretch, order_by=each.c.waited).label("place"),
        func.count().over(partition_by=each.c.stretch).label("count"),
    ).where(each.c.waited.is_not(None))
    ranked = answered.subquery()

    def percentile(share: float) -> ColumnElement[float]:
        return func.min(case((ranked.c.place >= share * ranked.c["count"], ranked.c.waited)))

    found = (
        select(ranked.c.stretch, percentile(0.5), percentile(0.95), func.max(ranked.c["count"]))
        .group_by(ranked.c.stretch)
        .order_by(ranked.c.stretch)
    )
    return [Waits(since + s * stretch_s, p50, p95, n) for s, p50, p95, n in connection.execute(found)]
