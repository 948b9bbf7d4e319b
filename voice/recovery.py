"""What an earlier stream of the same call has left, and what was wished for when we placed the call."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from voice.core.own_tools import TRANSFER
from voice.core.transcript import Past
from voice.errors import RecordsUnavailable
from voice.records.records import Records
from voice.services import Admission
from voice.usage import Meter

_NOBODY_ANSWERED = '{"error": "nobody answered; the caller is back with you"}'

# Without the database nobody knows how many turns there were, nor who owns the call: ours stand apart from those that
# are kept, and are written whoever owned it.
_BLIND_TURNS = 1000
_BLIND_FENCE = 2**30

_log = logging.getLogger("voice.call")


@dataclass(frozen=True)
class Earlier:
    past: Past = Past()
    seconds: float = 0.0
    """How long the call had lasted."""
    meter: Meter = field(default_factory=Meter)
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What the agent's texts are to be filled in with, besides what every call has."""
    owner: str = ""
    """The worker that holds the call now: ours."""
    fence: int = 0
    """What we write of the call carries it, so that nobody who owned the call before can write over it."""


def recover(records: Records, owner: str, call_sid: str, admission: Admission) -> Earlier:
    """A call whose records cannot be had begins afresh: better without its history than not at all."""
    try:
        return replace(_recovered(records, owner, call_sid, admission), owner=owner)
    except (RecordsUnavailable, ValueError) as error:
        _log.warning("%s: goes on without what was kept of it: %s", call_sid, error)
        if admission.opening == "greeting":
            return Earlier(owner=owner)
        return Earlier(past=Past(_BLIND_TURNS), owner=owner, fence=_BLIND_FENCE)


def _recovered(records: Records, owner: str, call_sid: str, admission: Admission) -> Earlier:
    """Raises RecordsUnavailable, or ValueError for records that make no sense."""
    earlier = _placed(records, admission.outbound) if admission.outbound else Earlier()
    if admission.opening == "greeting":
        return earlier
    try:
        return _taken_over(records, owner, call_sid, admission, earlier)
    except RecordsUnavailable as error:
        # All calls of a dead worker come at once: one that waited too long among them rather waits once more.
        _log.info("%s: %s; once more", call_sid, error)
        return _taken_over(records, owner, call_sid, admission, earlier)


def _placed(records: Records, outbound: str) -> Earlier:
    placed = records.outbound(outbound)
    return Earlier(meter=Meter(outbound=True, amd=1), parameters=placed.parameters if placed else {})


def _taken_over(records: Records, owner: str, call_sid: str, admission: Admission, earlier: Earlier) -> Earlier:
    claim = records.claim(call_sid, owner)
    if claim is None:
        raise ValueError("there is no record of it")
    # Without a checkpoint not a turn of it was over.
    earlier = _read(claim.checkpoint, claim.fence) if claim.checkpoint else replace(earlier, fence=claim.fence)
    if admission.opening == "transfer_failed":
        return replace(earlier, past=earlier.past.with_result(TRANSFER, _NOBODY_ANSWERED))
    return earlier


def _read(checkpoint: Mapping[str, Any], fence: int) -> Earlier:
    """Raises ValueError for a checkpoint that is none."""
    try:
        meter, seconds = Meter(**checkpoint["meter"]), float(checkpoint["seconds"])
        past, parameters = Past.read(checkpoint["past"]), dict(checkpoint["parameters"])
        return Earlier(past, seconds, meter, parameters, fence=fence)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no checkpoint: {error!r}") from error
