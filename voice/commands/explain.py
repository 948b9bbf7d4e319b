"""`python -m voice explain CA…`: the console's page of a call as text, from its record, or else from its log."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from textwrap import indent
from typing import Any

import click

from voice.after_call import record_of
from voice.commands.kept import agents_of, opened
from voice.commands.output import plain, table, tell_json
from voice.core import story, story_log
from voice.core.story import Story
from voice.core.turn_story import Tool, TurnStory
from voice.web.console import shown
from voice.web.console.told import story_of

_BAR = 30
"""Characters of a waterfall."""


def run(environ: Mapping[str, str], call_sid: str, as_json: bool) -> None:
    """Raises click.ClickException for a call of which there is neither record nor log."""
    log = _folder(environ, "CALL_LOG_DIR", "calls") / f"{call_sid}.jsonl"
    files = {"log": log, "recording": _recording(environ, call_sid)}
    record, told = _told(environ, call_sid, log)
    here = {name: str(path) for name, path in files.items() if path and path.exists()}
    if as_json:
        tell_json({**record, "verdict": told.verdict, "in_trouble": told.in_trouble, "story": _json(told), **here})
    else:
        click.echo("\n".join(_page(record, told, here)))


def _told(environ: Mapping[str, str], call_sid: str, log: Path) -> tuple[dict[str, Any], Story]:
    try:
        with opened(environ) as records:
            call = records.call(call_sid)
        if call is not None:
            return record_of(call), story_of(call, agents_of(environ))
        wrong = f"there is no record of {call_sid}"
    except click.ClickException as error:
        wrong = error.message
    if not log.exists():
        raise click.ClickException(f"{wrong}, and no log of it in {log.parent}")
    try:
        with log.open(encoding="utf-8") as lines:
            reader = story_log.read(lines)
    except (ValueError, OSError) as error:
        raise click.ClickException(f"{wrong}, and {log} cannot be read: {error}") from error
    click.echo(f"{wrong}: told from {log}", err=True)
    return reader.record, story.tell(reader.record, reader.past, reader.record["max_silence_ms"] / 1000)


def _folder(environ: Mapping[str, str], name: str, default: str) -> Path:
    return Path(environ.get(name, "").strip() or default)


def _recording(environ: Mapping[str, str], call_sid: str) -> Path | None:
    return next(_folder(environ, "RECORDINGS_DIR", "recordings").glob(f"*/{call_sid}.wav"), None)


def _json(told: Story) -> list[dict[str, Any]]:
    """Each turn with its stages, in seconds since the call's start."""
    turns = []
    for turn in told.turns:
        stages = [asdict(stage) | {"seconds": stage.seconds, "late_by": stage.late_by} for stage in turn.stages]
        turns.append(asdict(turn) | {"stages": stages})
    return turns


# As text


def _page(record: Mapping[str, Any], told: Story, files: Mapping[str, str]) -> Iterator[str]:
    who = "called by" if record["direction"] == "outbound" else "with"
    yield f"{plain(record['caller']) or 'unknown'} {who} {plain(record['agent'])}, {record['call_sid']}"
    yield f"{told.verdict[:1].upper()}{plain(told.verdict[1:])}."
    yield ""
    yield from (
        f"  {plain(name):<12} {plain(value)}" for name, value in _facts(record, told) if value not in (None, "")
    )
    yield from (f"  {name:<12} {path}" for name, path in files.items())
    for turn in told.turns:
        yield ""
        yield from _turn(turn)
    if told.happenings:
        yield "\nEvents"
        lines = [(each["at"], each["kind"], each["words"]) for each in shown.happenings(told)]
        yield indent(table(("at", "what", "details"), lines), "  ")
    if record.get("cost"):
        yield "\nCost"
        yield from (f"  {plain(name):<14} {shown.dollars(usd)}" for name, usd in record["cost"].items())
        if unpriced := (record.get("usage") or {}).get("unpriced"):
            yield f"  Without a price in config/prices.toml: {plain(', '.join(unpriced))}."


def _facts(record: Mapping[str, Any], told: Story) -> Iterator[tuple[str, Any]]:
    yield "began", shown.utc(record["started_at"])
    yield "length", "" if told.seconds is None else shown.duration(told.seconds)
    ended = record["ended_at"] is not None
    yield "ended", f"{record['result']}: {record['reason']}" if ended else "live"
    yield "called", record["called"]
    yield "streams", record["resumes"] + 1
    yield "answered by", record.get("answered_by")
    yield "summary", record.get("summary")
    yield from (record.get("fields") or {}).items()


def _turn(turn: TurnStory) -> Iterator[str]:
    took = f", answered after {turn.took:.1f} s" if turn.took is not None else ""
    yield f"{shown.duration(turn.start)}  turn {turn.number}{took}"
    if turn.caller:
        yield f"  caller  {plain(turn.caller)}"
    yield from (f"  tool    {_tool(tool)}" for tool in turn.tools)
    if turn.heard or turn.unheard or turn.fate == "thrown away":
        yield f"  agent   {_agent(turn)}"
    yield from (f"  error   {plain(e.detail['vendor'])}: {plain(e.detail['detail'])}" for e in turn.errors)
    yield from (f"  late    {plain(d.detail['stage'])}: {plain(d.detail['remedy'])}" for d in turn.delays)
    for bar in shown.waterfall(turn):
        begin = min(_BAR - 1, int(bar.x / shown.WIDTH * _BAR))
        drawn = " " * begin + "#" * max(1, round(bar.width / shown.WIDTH * _BAR))
        limit = f" ({bar.limit})" if bar.late else ""
        yield f"          {bar.title:<21}  |{drawn[:_BAR]:<{_BAR}}|  {bar.words}{limit}"


def _tool(tool: Tool) -> str:
    seconds = f"  ({tool.seconds:.2f} s)" if tool.seconds is not None else ""
    result = f" -> {tool.result}" if tool.result else ""
    return plain(f"{tool.name} {tool.arguments}{result}{seconds}")


def _agent(turn: TurnStory) -> str:
    parts = [plain(turn.heard)]
    if turn.unheard:
        parts.append(f"[not heard: {plain(turn.unheard)}]")
    if turn.fate != "heard":
        parts.append("(cut off)" if turn.fate == "cut" else "(thrown away, nothing heard)")
    return " ".join(part for part in parts if part)
