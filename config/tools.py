"""What an agent may do besides talking, as its file says: transfers, digits, webhooks, outbound calls, and the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TOOLS = ("hang_up", "transfer_call", "send_sms", "send_digits", "ask_for_digits")
"""The tools that every agent may have; its webhooks are tools besides these."""


@dataclass(frozen=True)
class Target:
    number: str
    """E.164"""
    description: str
    """What the model knows of it."""
    warm: bool = False
    """The model's summary is spoken to the human before the two are connected."""


@dataclass(frozen=True)
class Transfer:
    human: str | None = None
    """Who of `to` takes the call when the vendors fail."""
    timeout_s: int = 20
    """Rings so long, 5..60 seconds."""
    to: Mapping[str, Target] = field(default_factory=dict)
    """By the only names that the model may give."""


@dataclass(frozen=True)
class Digits:
    """Something that the caller may be asked to key in."""

    description: str
    length: int | None = None
    """1..32; None: until # or a pause."""
    sensitive: bool = False
    """Neither the model nor a log may see it."""


@dataclass(frozen=True)
class WebhookTool:
    """An HTTP request of the operator's that the model may make."""

    description: str
    url: str
    """Checked; `{name}` stands in its path or query only, for a required parameter, to be percent-encoded."""
    method: str = "POST"
    """GET, POST, PUT, PATCH or DELETE"""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """With the environment's values filled in: never to be shown."""
    timeout_s: float = 8.0
    """From the call to the end of the answer, 1..30 seconds."""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    """A JSON schema of draft 2020-12, of type object, checked, without $ref."""
    allow_private: bool = False
    """Its host may have an address that the Internet does not have."""


@dataclass(frozen=True)
class Outbound:
    voicemail: str | None = None
    """Left after the beep; None: the call ends when a machine answers."""


@dataclass(frozen=True)
class AfterCall:
    """What is made of a call that is over, and where it goes."""

    webhook: str | None = None
    """A checked address, which gets it."""
    secret: str = field(default="", repr=False)
    """Signs what the webhook gets; never empty beside one."""
    summary: bool = False
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the model is to find in the call: JSON schemas by name, each of `type`, `description` and perhaps `enum`."""
    allow_private: bool = False
    """As of a tool's webhook."""
