"""Calls as the tests tell them."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
import psycopg

from voice.records.entries import CallEnded, CallStarted, Turn
from voice.records.records import Records

SID = "CA" + "1" * 32
AT = 1_800_000_000.0


def started(call_sid: str = SID, at: float = AT, agent: str = "receptionist", caller: str = "+15550001") -> CallStarted:
    return CallStarted(call_sid, "inbound", agent, caller, "+15559999", at, {"first_name": "Ann"})


def turn(number: int, caller: str = "", agent: str = "Hello.", cut: bool = False) -> Turn:
    return Turn(number, caller, agent, cut, {"heard": 1.25, "first_token": None}, AT + number)


def ended(at: float = AT + 60, result: str = "completed") -> CallEnded:
    return CallEnded(result, "caller-hung-up", at, {"tokens": 12}, {"telephone": 0.01, "synthesizer": 0.02})


def written(records: Records) -> None:
    assert records.flush(10)


def wait_until(true: Callable[[], object], what: str, limit_s: float = 10) -> None:
    """For what cannot wake us: looked at every 5 ms."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        gevent.sleep(0.005)


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Another client keeps everybody else from writing."""
    if url.startswith("sqlite"):
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.close()
    else:
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE calls IN EXCLUSIVE MODE")
            yield
