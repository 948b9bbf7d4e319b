"""A simulated caller's script, read from a TOML file and checked; every fault of a file is told at once."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from voice.sandbox.eval_noise import NOISES

Kind = Literal["say", "noise", "silence_s", "press", "hang_up", "wait_for_hang_up"]
Expect = Literal["answer", "stop", "no_stop", "nothing"]
KINDS: tuple[Kind, ...] = get_args(Kind)
EXPECTATIONS: tuple[Expect, ...] = get_args(Expect)
MAX_DEAD_AIR_S = 3.0
# What may stand beside the key that names the step.
_OPTIONS: dict[Kind, tuple[str, ...]] = {
    "say": ("while_agent_speaks", "after_ms", "expect", "expect_words"),
    "noise": ("ms", "while_agent_speaks", "after_ms"),
    "silence_s": ("expect", "expect_words"),
    "press": ("while_agent_speaks", "after_ms", "expect", "expect_words"),
    "hang_up": ("while_agent_speaks", "after_ms"),
    "wait_for_hang_up": ("expect_words",),
}
_SCRIPT_KEYS = ("about", "agent", "needs_tools", "max_dead_air_s", "steps")
_KEYS = frozenset("0123456789*#")


class ScriptError(ValueError):
    """The message has a line for each fault of a file."""


@dataclass(frozen=True)
class Step:
    kind: Kind
    what: str = ""
    """The words to say, the name of the noise, the keys to press."""
    seconds: float = 0.0
    """Of noise or silence."""
    while_agent_speaks: bool = False
    """Without it the caller waits until the agent has finished."""
    after_ms: int = 0
    """From the beginning of the agent's speech, or from the step before if that came later."""
    expect: Expect | None = None
    expect_words: tuple[str, ...] = ()
    """Heard in the agent's next turn; for `wait_for_hang_up` in its last."""

    @property
    def asks(self) -> bool:
        """The caller says something that the agent is to answer."""
        return self.kind in ("say", "press") and self.expect in ("answer", "stop")

    def __str__(self) -> str:
        return f"{self.kind} {self.what or self.seconds or ''}".strip()


@dataclass(frozen=True)
class Script:
    name: str
    """The file's name without `.toml`."""
    folder: Path
    agent: str | None
    """The agent it was written for; None: any."""
    needs_tools: tuple[str, ...]
    """It makes sense only for agents that have them."""
    max_dead_air_s: float
    steps: tuple[Step, ...]


def read(path: Path) -> Script:
    """Raises ScriptError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScriptError(f"{path}: {error}") from error
    faults: list[str] = []
    table = _Table(raw, str(path), faults)
    for key in sorted(raw.keys() - set(_SCRIPT_KEYS)):
        table.refuse(key, "is not known", ", ".join(_SCRIPT_KEYS))
    table.text("about")
    steps = _steps(raw.get("steps"), table)
    script = Script(
        path.stem,
        path.parent,
        table.text("agent") or None,
        table.texts("needs_tools"),
        table.number("max_dead_air_s", MAX_DEAD_AIR_S, 0.1, 60),
        tuple(steps),
    )
    if faults:
        raise ScriptError("\n".join(faults))
    return script


def _steps(raw: object, table: "_Table") -> list[Step]:
    if not isinstance(raw, list) or not raw or not all(isinstance(step, dict) for step in raw):
        table.refuse("steps", "is missing or empty", "one [[steps]] table for each thing that the caller does")
        return []
    faults = table.faults
    steps = [_step(_Table(step, f"{table.name}, step {n}", faults)) for n, step in enumerate(raw, 1)]
    for number, step in enumerate(steps[:-1], 1):
        if step and step.kind in ("hang_up", "wait_for_hang_up"):
            faults.append(
                f"{table.name}, step {number}: {step.kind} is not the last step; nothing follows the call's end"
            )
    return [step for step in steps if step]


def _step(table: "_Table") -> Step | None:
    kinds = [kind for kind in KINDS if kind in table.raw]
    if len(kinds) != 1:
        table.faults.append(
            f"{table.name}: has {' and '.join(kinds) or 'nothing to do'}; allowed: one of {', '.join(KINDS)}"
        )
        return None
    kind = kinds[0]
    for key in sorted(table.raw.keys() - {kind, *_OPTIONS[kind]}):
        table.refuse(key, f"does not go with {kind}", ", ".join(_OPTIONS[kind]))
    speaking = table.flag("while_agent_speaks")
    if "after_ms" in table.raw and not speaking:
        table.refuse("after_ms", "has no meaning without it", "while_agent_speaks = true beside it")
    step = Step(
        kind,
        what=_what(kind, table),
        seconds=_seconds(kind, table),
        while_agent_speaks=speaking,
        after_ms=int(table.number("after_ms", 0, 0, 60000)),
        expect=_expect(kind, table, speaking),
        expect_words=table.texts("expect_words"),
    )
    if step.expect_words and step.expect not in ("answer", "stop") and kind != "wait_for_hang_up":
        table.refuse("expect_words", "has no answer to be heard in", 'expect = "answer" or "stop" beside it')
    return step


def _what(kind: Kind, table: "_Table") -> str:
    match kind:
        case "say":
            return table.required("say", "words", lambda text: any(c.isalnum() for c in text))
        case "noise":
            return table.required("noise", ", ".join(NOISES), lambda text: text in NOISES)
        case "press":
            return table.required("press", "keys of 0-9 * #", lambda text: bool(text) and set(text) <= _KEYS)
        case "hang_up" | "wait_for_hang_up":
            if table.raw[kind] is not True:
                table.refuse(kind, f"is {table.raw[kind]!r}", "true")
    return ""


def _seconds(kind: Kind, table: "_Table") -> float:
    if kind == "silence_s":
        return table.number("silence_s", 0, 0.05, 600)
    return table.number("ms", 300, 20, 60000) / 1000 if kind == "noise" else 0.0


def _expect(kind: Kind, table: "_Table", speaking: bool) -> Expect | None:
    """What is expected of the agent: of words an answer, of a noise no stop, unless the script says otherwise."""
    if kind == "noise":
        return "no_stop" if speaking else "nothing"
    if "expect" not in table.raw:
        return None if kind not in ("say", "press") else "stop" if speaking else "answer"
    allowed: tuple[Expect, ...] = ("stop", "no_stop") if speaking else ("answer", "nothing")
    given = table.raw["expect"]
    if given not in allowed:
        manner = " while the agent speaks" if speaking else ""
        table.refuse("expect", f"is {given!r}", f"for {kind}{manner}: {', '.join(allowed)}")
        return None
    return EXPECTATIONS[EXPECTATIONS.index(given)]


@dataclass(frozen=True)
class _Table:
    """One table of the file; a bad value adds to `faults` and reads as its default, so that all are read."""

    raw: dict[str, Any]
    name: str
    faults: list[str]

    def refuse(self, key: str, wrong: str, allowed: str) -> None:
        self.faults.append(f"{self.name}: {key} {wrong}; allowed: {allowed}")

    def text(self, key: str) -> str:
        value = self.raw.get(key, "")
        if not isinstance(value, str):
            self.refuse(key, f"is {value!r}", "a text")
            return ""
        return value

    def required(self, key: str, allowed: str, fits: Callable[[str], bool]) -> str:
        value = self.raw[key]
        if not isinstance(value, str) or not fits(value):
            self.refuse(key, f"is {value!r}", allowed)
            return ""
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.raw.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
            self.refuse(key, f"is {value!r}", "a list of texts")
            return ()
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self.raw.get(key, False)
        if not isinstance(value, bool):
            self.refuse(key, f"is {value!r}", "true or false")
            return False
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        if key not in self.raw:
            return default
        value = self.raw[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.refuse(key, f"is {value!r}", f"a number from {low:g} to {high:g}")
            return default
        return float(value)
