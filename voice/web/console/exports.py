"""A list of calls as CSV that a spreadsheet may open: what a caller has put into it is no formula there."""

import csv
import io
from collections.abc import Iterable, Iterator

from voice.records.entries import CallRecord
from voice.web.console.shown import iso

COLUMNS = (
    "call_sid",
    "direction",
    "agent",
    "caller",
    "called",
    "started_at",
    "ended_at",
    "seconds",
    "result",
    "reason",
    "resumes",
    "cost_usd",
    "summary",
)
# The last four are wide: some spreadsheets take them for the others.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def rows(calls: Iterable[CallRecord]) -> Iterator[str]:
    """Lines of RFC 4180, the first with the columns' names."""
    yield _line(COLUMNS)
    for call in calls:
        yield _line([_cell(call, column) for column in COLUMNS])


def _cell(call: CallRecord, column: str) -> str:
    if column == "seconds":
        return "" if call.ended_at is None else f"{call.ended_at - call.started_at:.1f}"
    value = getattr(call, column)
    if column in ("started_at", "ended_at"):
        return "" if value is None else iso(value)
    return "" if value is None else harmless(value) if isinstance(value, str) else str(value)


def harmless(text: str) -> str:
    """A spreadsheet runs what begins so; with a quotation mark before it, it is text."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()
