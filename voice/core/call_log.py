"""A call as lines of JSON: its rules, then every event and the actions that followed; it replays to the same actions.

    {"call": {"call_sid": "CA…", …}, "rules": {"greeting": "…", …}, "past": {"turns": 0, "entries": []}}
    {"t": 0.0, "event": "StreamStarted"}
    {"t": 0.0, "action": "Speak", "turn": 1, "text": "Hello."}

Audio stands as its number of bytes; the sound itself is never written.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_args

from voice.core import events as ev
from voice.core.audio import Audio
from voice.core.conversation import Conversation
from voice.core.rules import Rules
from voice.core.transcript import Past

_CLASSES: dict[str, Any] = {c.__name__: c for c in (*get_args(ev.Event), *get_args(ev.Action))}


def event_line(event: ev.Event, now: float) -> dict[str, object]:
    return {"t": now, "event": type(event).__name__, **_plain(event)}


def action_line(action: ev.Action, now: float) -> dict[str, object]:
    return {"t": now, "action": type(action).__name__, **_plain(action)}


def read(line: dict[str, Any]) -> ev.Event | ev.Action:
    """The event or action that a line holds. Raises ValueError for a line that holds none."""
    name = line.get("event") or line.get("action")
    known = _CLASSES.get(str(name))
    if known is None:
        raise ValueError(f"{name!r} is neither an event nor an action")
    try:
        # What an older log does not have takes its default.
        there = (f for f in fields(known) if f.name in line or f.default is MISSING)
        value: ev.Event | ev.Action = known(**{f.name: _field(f.type, line[f.name]) for f in there})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name}: {error!r} is missing or wrong") from error
    return value


@dataclass(frozen=True)
class Difference:
    """One event after which the actions are not those of the log."""

    line: int
    """Line number of the event, from 1."""
    event: ev.Event
    logged: list[ev.Action]
    replayed: list[ev.Action]


@dataclass(frozen=True)
class Replayed:
    events: int
    actions: int
    differences: list[Difference]


def replay(lines: Iterable[str]) -> Replayed:
    """Feed a log's events to a new conversation and compare. Raises ValueError, naming the line, for a broken log."""
    conversation: Conversation | None = None
    events = actions = 0
    differences = []
    for number, now, event, logged in _steps(lines):
        if isinstance(event, Conversation):
            conversation = event
            continue
        if conversation is None:
            raise ValueError(f"line {number}: an event before the call's first line")
        replayed = conversation.handle(event, now)
        events += 1
        actions += len(replayed)
        if replayed != logged:
            differences.append(Difference(number, event, logged, replayed))
    return Replayed(events, actions, differences)


def _steps(lines: Iterable[str]) -> Iterator[tuple[int, float, Any, list[ev.Action]]]:
    """Each event (or the conversation, as it begins on a stream) with the actions logged behind it."""
    step: tuple[int, float, Any, list[ev.Action]] | None = None
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            if "action" in line:
                if step is None:
                    raise ValueError("an action before the first event")
                step[3].append(read(line))  # type: ignore[arg-type]
                continue
            if step is not None:
                yield step
            step = (number, 0.0, _begin(line), []) if "rules" in line else (number, line["t"], read(line), [])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error
    if step is not None:
        yield step


def _begin(line: dict[str, Any]) -> Conversation:
    return Conversation(Rules(**line["rules"]), Past.read(line["past"]) if "past" in line else Past())


def _plain(value: ev.Event | ev.Action) -> dict[str, object]:
    return {name: _plain_field(field) for name, field in vars(value).items()}


def _plain_field(value: object) -> object:
    if isinstance(value, Audio):
        return value.size
    return vars(value) if isinstance(value, ev.Alignment | ev.TurnTimes) else value


def _field(kind: object, value: Any) -> object:
    if kind is Audio:
        return Audio(int(value))
    if kind is ev.Alignment:
        return ev.Alignment(value["chars"], tuple(value["starts_ms"]), tuple(value["durations_ms"]))
    return ev.TurnTimes(**value) if kind is ev.TurnTimes else value
