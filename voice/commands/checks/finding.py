"""What a check has found, and what it looks at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from config.agents import Agent
from config.settings import Settings


@dataclass(frozen=True)
class Fix:
    """What `--fix` may do about it."""

    what: str
    """As a question without its mark: `point +1555… at this server`."""
    do: Callable[[], None]
    """Raises VoiceError, OSError or click.ClickException."""
    asks: bool = False
    """Something outside this machine changes: nobody wants that unasked."""


@dataclass(frozen=True)
class Finding:
    what: str
    state: Literal["ok", "warning", "failed"]
    why: str
    todo: str = ""
    """Empty when there is nothing to do."""
    fix: Fix | None = None


@dataclass(frozen=True)
class Patient:
    environ: Mapping[str, str]
    settings: Settings
    """Faulty ones by their defaults: a check whose variables are faulty is not made."""
    agents: Mapping[str, Agent]
    via: str | None
    """Where requests to the public URL go instead: to look behind a proxy."""


Check = Callable[[Patient], list[Finding]]


def ok(what: str, why: str) -> Finding:
    return Finding(what, "ok", why)


def warning(what: str, why: str, todo: str, fix: Fix | None = None) -> Finding:
    return Finding(what, "warning", why, todo, fix)


def failed(what: str, why: str, todo: str, fix: Fix | None = None) -> Finding:
    return Finding(what, "failed", why, todo, fix)
