"""What goes into the records and comes out of them. All times are seconds since the epoch, UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CallStarted:
    call_sid: str
    direction: str
    """`inbound` or `outbound`."""
    agent: str
    caller: str
    called: str
    started_at: float
    parameters: Mapping[str, str]
    stream_name: str = ""
    owner: str = ""
    """The worker that holds it; empty: nobody does yet."""


@dataclass(frozen=True)
class Turn:
    """A turn that is over: what the caller said, and what the caller heard of the answer."""

    number: int
    caller: str
    agent: str
    cut: bool
    times: Mapping[str, float | None]
    at: float


@dataclass(frozen=True)
class Noted:
    """Something worth keeping that is no turn."""

    at: float
    kind: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class CallEnded:
    result: str
    reason: str
    ended_at: float
    usage: Mapping[str, Any]
    cost: Mapping[str, float]
    """USD by vendor; `total`, if it is there, is the sum, and else it is summed up here."""


@dataclass(frozen=True)
class CallRecord:
    """A call as it stands in the database; None where nothing is known yet."""

    call_sid: str
    direction: str
    agent: str
    caller: str
    called: str
    parameters: dict[str, str]
    answered_by: str | None
    started_at: float
    ended_at: float | None
    finished_at: float | None
    """When a worker took it in hand after its end."""
    result: str | None
    reason: str | None
    summary: str | None
    fields: dict[str, Any] | None
    usage: dict[str, Any] | None
    cost_usd: float | None
    cost: dict[str, float] | None
    resumes: int
    fence: int
    owner: str | None
    stream_name: str | None = None
    """Of the stream that it is on, or was on last."""
    checkpoint: dict[str, Any] | None = None
    """None in a list of calls too."""
    turns: tuple[Turn, ...] = ()
    """In order; empty in a list of calls."""
    events: tuple[Noted, ...] = ()


@dataclass(frozen=True)
class Standing:
    """Who has a call, and on which stream."""

    call_sid: str
    stream_name: str
    """Of its latest stream; empty for one from a browser."""
    owner: str
    """The worker that holds it, or held it last."""
    owner_lives: bool
    """That worker was heard of lately."""
    ended_at: float | None
    """None: it goes on, as far as the owner has told."""
    result: str | None


@dataclass(frozen=True)
class Claim:
    """A call taken over. Whatever the claimer writes of it carries `fence`."""

    fence: int
    checkpoint: dict[str, Any]
    """Empty when the call had none yet."""
    resumes: int
    """How often the call was taken over, this time included."""
    result: str | None
    """Not None: the call was over."""


@dataclass(frozen=True)
class Outbound:
    """A call to be placed, or placed once Twilio has given it a `call_sid`."""

    id: str
    to: str
    agent: str
    parameters: Mapping[str, str]
    call_sid: str | None = None
