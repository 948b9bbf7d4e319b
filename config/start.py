"""Everything the server is told before it starts: environment, agents and prices, with all faults in one message."""

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from config.agents import Agent, load_agents
from config.faults import ConfigError
from config.prices import PRICES_FILE, Prices, load_prices
from config.settings import AGENTS_DIR, Settings


def environment() -> dict[str, str]:
    """The process's environment over a `.env` file in the working directory."""
    return {key: value for key, value in dotenv_values(".env").items() if value is not None} | dict(os.environ)


def load(environ: Mapping[str, str]) -> tuple[Settings, dict[str, Agent], Prices]:
    """Settings, agents and prices. Raises one ConfigError with the faults of all."""
    faults: list[str] = []
    try:
        settings = Settings.from_env(environ)
    except ConfigError as error:
        faults += error.faults
    try:
        agents = load_agents(Path(environ.get("AGENTS_DIR", "").strip() or AGENTS_DIR), environ)
    except ConfigError as error:
        faults += error.faults
    try:
        prices = load_prices(PRICES_FILE)
    except ConfigError as error:
        faults += error.faults
    if faults:
        raise ConfigError(faults)
    return settings, agents, prices
