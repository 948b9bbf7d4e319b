"""Which scripts are played, and which agent answers each of them."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voice.sandbox.eval_script import Script, ScriptError, read
from voice.sandbox.serving import ROOT

SCRIPTS = ROOT / "tests" / "evals"
_ANY_AGENT = SCRIPTS / "agents" / "plain.toml"
_ANY_NUMBER = "+15550109999"


@dataclass(frozen=True)
class Part:
    script: Script
    agent: Path
    number: str
    """The called number that reaches the agent."""


@dataclass(frozen=True)
class Cast:
    parts: tuple[Part, ...]
    default_agent: Path
    left_out: tuple[str, ...]
    """Scripts that are not played, each with the reason."""

    @property
    def agents(self) -> set[Path]:
        return {self.default_agent, *(part.agent for part in self.parts)}


def cast(paths: Sequence[Path], agent: Path | None) -> Cast:
    """`paths`: none for all scripts of the project; `agent` takes the scripts that name none. Raises ScriptError."""
    scripts, faults = [], []
    for path in paths or sorted(SCRIPTS.glob("*.toml")):
        try:
            scripts.append(read(path))
        except ScriptError as error:
            faults.append(str(error))
    default = agent or _ANY_AGENT
    parts, left_out = [], []
    for script in scripts:
        try:
            reason = _why_not(script, agent)
            if reason:
                left_out.append(f"{script.name}: {reason}")
            else:
                parts.append(_part(script, default))
        except ScriptError as error:
            faults.append(str(error))
    paths_by_name = {part.agent.stem: part.agent for part in parts} | {default.stem: default}
    for part in parts:
        if part.agent != paths_by_name[part.agent.stem]:
            faults.append(f"{part.agent} and {paths_by_name[part.agent.stem]} are two agents of one name")
    if not parts and not faults:
        faults.append("there is no script to play" + "".join(f"\n  {one}" for one in left_out))
    if faults:
        raise ScriptError("\n".join(faults))
    return Cast(tuple(parts), default, tuple(left_out))


def _why_not(script: Script, agent: Path | None) -> str:
    if agent is None:
        return ""
    if script.agent:
        return f"it is for the agent {script.agent}"
    tools = _table(agent).get("tools")
    missing = [tool for tool in script.needs_tools if not isinstance(tools, list) or tool not in tools]
    return f"{agent.stem} does not have the tool {missing[0]}" if missing else ""


def _part(script: Script, default: Path) -> Part:
    if script.agent is None:
        return Part(script, default, _number(default) or _ANY_NUMBER)
    path = script.folder / "agents" / f"{script.agent}.toml"
    if not path.exists():
        raise ScriptError(f"{script.name}: there is no agent {path}")
    number = _number(path)
    if number is None:
        raise ScriptError(f"{path}: without a number it cannot be called; allowed: numbers = ['+15550100001'] or so")
    return Part(script, path, number)


def _number(agent: Path) -> str | None:
    numbers = _table(agent).get("numbers")
    return str(numbers[0]) if isinstance(numbers, list) and numbers else None


def _table(agent: Path) -> dict[str, object]:
    """Raises ScriptError. What else is wrong with an agent's file, the server tells."""
    try:
        return tomllib.loads(agent.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ScriptError(f"{agent}: {error}") from error
