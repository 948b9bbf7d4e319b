"""`python -m voice agents check`: every agent's file, read as the server reads it."""

from collections.abc import Mapping
from pathlib import Path

import click

from config.agents import Agent, load_agents
from config.faults import ConfigError
from config.settings import AGENTS_DIR
from voice.commands.output import tell_json


def run(environ: Mapping[str, str], directory: Path | None, as_json: bool) -> int:
    """1 if any file has a fault."""
    try:
        found = load_agents(directory or Path(environ.get("AGENTS_DIR", "").strip() or AGENTS_DIR), environ)
    except ConfigError as error:
        if not as_json:
            raise click.ClickException(str(error)) from error
        tell_json({"agents": [], "faults": list(error.faults)})
        return 1
    if as_json:
        tell_json({"agents": [_json(agent) for agent in found.values()], "faults": []})
        return 0
    for agent in found.values():
        tools = ", ".join((*agent.tools, *agent.webhooks)) or "no tools"
        click.echo(f"{agent.name}: ok ({', '.join(agent.numbers) or 'no number of its own'}; {tools})")
    return 0


def _json(agent: Agent) -> dict[str, object]:
    return {"name": agent.name, "numbers": list(agent.numbers), "tools": [*agent.tools, *agent.webhooks]}
