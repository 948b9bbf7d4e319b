"""How a call leaves us: hung up, handed to a human, or with an apology in Twilio's own voice."""

import logging

from config.agents import Agent
from config.tools import Target
from voice.core.events import EndCall
from voice.services import Line
from voice.wires import twiml

_BY_THEMSELVES = frozenset(("caller-hung-up", "stream-lost", "superseded"))

_log = logging.getLogger("voice.call")


class Gone(Exception):
    """The caller had rung off before a human could be dialed."""


def what(end: EndCall) -> str:
    """What is asked of Twilio, in the log's words."""
    return f"putting the caller through to {end.transfer_to}" if end.transfer_to else "hanging up"


def part(telephone: Line, public_url: str, call_sid: str, agent: Agent, end: EndCall) -> bool:
    """Tell Twilio what becomes of the call; False when there is nothing to tell. Raises VendorError, or Gone.

    By REST and before the stream is closed: Twilio takes the end of a stream for a reason to resume the call.
    """
    if end.reason in _BY_THEMSELVES or end.result == "handed-over":
        return False
    if target := agent.transfer.to.get(end.transfer_to):
        if not telephone.follow(call_sid, _transfer(public_url, call_sid, agent, target, end)):
            raise Gone
        _log.info("%s: the caller is put through to %s", call_sid, end.transfer_to)
    elif end.apologize:
        _log.info("%s: the caller hears the apology in Twilio's voice", call_sid)
        telephone.apologize(call_sid, agent.apology)
    else:
        telephone.hang_up(call_sid)
    return True


def to_human(public_url: str, agent: Agent) -> str:
    """TwiML for a caller whom no agent can speak with: the agent's apology, and its human if it has one."""
    target = agent.transfer.to.get(agent.transfer.human or "")
    if target is None:
        return twiml.apology(agent.apology)
    return twiml.dial(target.number, agent.transfer.timeout_s, _action(public_url, failed=True), first=agent.apology)


def transfer(public_url: str, agent: Agent, target: Target) -> str:
    """TwiML that connects the caller with a human; if nobody answers, the agent goes on."""
    return twiml.dial(target.number, agent.transfer.timeout_s, _action(public_url, failed=False))


def _transfer(public_url: str, call_sid: str, agent: Agent, target: Target, end: EndCall) -> str:
    failed = end.result == "failed"
    return twiml.dial(
        target.number,
        agent.transfer.timeout_s,
        _action(public_url, failed),
        whisper=f"{public_url}/twilio/transfer/whisper?call={call_sid}" if target.warm and end.summary else None,
        first=agent.apology if end.apologize else "",
    )


def _action(public_url: str, failed: bool) -> str:
    return f"{public_url}/twilio/transfer" + ("?failed=1" if failed else "")
