"""`python -m voice calls`: past and live calls, looked for as on the console's page."""

from collections.abc import Mapping

import click

from voice.after_call import record_of
from voice.commands.kept import opened
from voice.commands.output import plain, table, tell_json
from voice.records.entries import CallRecord
from voice.records.search import Search
from voice.web.console import shown

_HEADINGS = ("began (UTC)", "call", "caller", "called", "agent", "length", "cost", "ended")


def run(environ: Mapping[str, str], wanted: Search, limit: int, as_json: bool) -> None:
    """The latest first. JSON is one document, `{"calls": [...]}`, as `GET /api/calls` answers."""
    with opened(environ) as records:
        found = records.find(wanted, limit)
    if as_json:
        tell_json({"calls": [listed(call) for call in found]})
    elif found:
        click.echo(table(_HEADINGS, [_row(call) for call in found]))
    else:
        click.echo("No call is like that." if not wanted.is_empty else "There are no calls.")


def listed(call: CallRecord) -> dict[str, object]:
    told = record_of(call)
    del told["turns"], told["events"]
    return told


def _row(call: CallRecord) -> tuple[str, ...]:
    return (
        shown.utc(call.started_at).removesuffix(" UTC"),
        call.call_sid,
        plain(call.caller) or "unknown",
        plain(call.called) or "unknown",
        plain(call.agent),
        shown.lasted(call) or "-",
        shown.dollars(call.cost_usd) or "-",
        shown.ending(call)["words"],
    )
