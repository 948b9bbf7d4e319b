"""Calls as they are kept, many of them and strange ones, written straight into a server's database."""

import random
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import create_engine

from voice.records.entries import CallEnded, CallStarted, Turn
from voice.records.records import Records
from voice.records.schema import calls, turns

XSS = (
    "<script>document.title = 'cracked'</script>",
    "<img src=x onerror=\"document.title = 'cracked'\">",
    '"><svg onload="document.title = \'cracked\'">',
    "' autofocus onfocus='document.title = \"cracked\"",
    "</title><script>document.title='cracked'</script>",
    "javascript:document.title='cracked'",
    "{{ 7 * 7 }}{% raw %}",
    "\u202e<b>bold</b>\u0000\ud83d",
)
FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", "\n=1+1", "\uff1d1+1")


def sid(number: int) -> str:
    return f"CA{number:032x}"


def strange(records: Records, call_sid: str, text: str) -> None:
    """A call with that text wherever a caller, a model, a tool or a vendor could have put it."""
    began = time.time() - 600
    records.call_started(CallStarted(call_sid, "inbound", text, text, text, began, {"name": text}))
    times = {"speech_end": began + 5, "stopped": began + 5.6, "transcript": began + 6.4, "heard": began + 7.2}
    use = {"call_id": "1", "name": text, "arguments": f'{{"to": "{text}"}}', "result": text}
    past = {"turns": 2, "entries": [{"ToolsUsed": {"turn": 2, "uses": [use], "said": ""}}]}
    records.turn_finished(call_sid, Turn(2, text, text, True, times, began + 9), {"past": past})
    for kind, detail in (
        ("unheard", {"turn": 2, "text": text}),
        ("vendor-failed", {"turn": 2, "vendor": text, "detail": text}),
        ("late", {"turn": 2, "stage": text, "remedy": text}),
        (text, {"turn": 2, text: text}),
    ):
        records.noted(call_sid, kind, detail)
    records.call_updated(call_sid, summary=text, fields={text: text}, answered_by=text)
    usage = {"unpriced": [text]}
    records.call_ended(call_sid, CallEnded(text, text, began + 60, usage, {text: 0.01}))
    assert records.flush(10)


def many(url: str, count: int, turns_each: int = 5) -> None:
    """Calls of the last ten days, the newest a minute ago."""
    engine = create_engine(url)
    now, chance = time.time() - 60, random.Random(1)
    with engine.begin() as connection:
        connection.execute(calls.insert(), [_call(number, now - number * 86.4, chance) for number in range(count)])
        rows = [turn for number in range(count) for turn in _turns(number, now - number * 86.4, turns_each, chance)]
        connection.execute(turns.insert(), rows)
    engine.dispose()


def _call(number: int, began: float, chance: random.Random) -> dict[str, Any]:
    failed = number % 50 == 0
    return {
        "call_sid": sid(number),
        "direction": "inbound",
        "agent": ("days", "sales", "night")[number % 3],
        "caller": f"+1555{number:07d}",
        "called": "+15559990000",
        "parameters": {},
        "started_at": began,
        "ended_at": began + 60 + chance.random() * 200,
        "result": "failed" if failed else "completed",
        "reason": "language-model-failed" if failed else "caller-hung-up",
        "summary": f"The caller asked about order {number}.",
        "cost": {"transcriber": 0.01, "total": 0.01},
        "cost_usd": 0.01,
        "resumes": 0,
        "fence": 0,
    }


def _turns(number: int, began: float, count: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    for turn in range(1, count + 1):
        end = began + 10 * turn
        yield {
            "call_sid": sid(number),
            "number": turn,
            "caller": f"Where is my order, number {number}?",
            "agent": "It is on its way and will be with you tomorrow.",
            "cut": False,
            "times": {"speech_end": end, "stopped": end + 0.6, "heard": end + 1 + chance.random()},
            "at": end + 5,
        }
