"""What one call's agent may do: the model's tool calls are checked here, run, and answered, whatever they look like.

Runs on the greenlet of each tool call, so several may be under way at once.
"""

import itertools
import logging
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from config.agents import Agent
from voice.core.audio import Audio
from voice.errors import VendorError
from voice.tools import webhook
from voice.tools.definitions import SEND_DIGITS, SEND_SMS, Definition, definitions
from voice.tools.tones import tones

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

LONGEST_ARGUMENTS = 16_384
"""Characters of JSON."""
MOST_SMS = 3
"""Text messages in one call."""

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_SECRET = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")
_MOST_FAULTS = 3
_SHOWN = 500
_log = logging.getLogger(__name__)


class _Refused(Exception):
    """The model's call is not run; the arguments are what it is told."""

    def __init__(self, error: str, **more: object) -> None:
        super().__init__(error)
        self.told = {"error": error, **more}


@dataclass(frozen=True)
class Outcome:
    result: str
    """JSON, for the model."""
    audio: Audio | None = None
    """To be played to the other end."""


class Toolbox:
    """The tools of one call."""

    def __init__(
        self,
        agent: Agent,
        call_sid: str,
        caller_number: str,
        send_sms: Callable[[str, str], None] | None,
        secrets: Mapping[str, str],
        sms_sent: int = 0,
    ) -> None:
        """`send_sms(to, text)` raises VendorError; None where no message can be sent.

        `secrets` has what the caller has keyed in by now, by its name in the agent's `digits`: it is looked at when a
        tool runs.
        """
        self._agent = agent
        self._call_sid = call_sid
        self._caller_number = caller_number
        self._send_sms = send_sms
        self._secrets = secrets
        # On earlier streams of the same call, too.
        self._sms_sent = sms_sent
        self._definitions = [each for each in definitions(agent) if send_sms or each["function"]["name"] != SEND_SMS]
        self._parameters = {each["function"]["name"]: each["function"]["parameters"] for each in self._definitions}

    def schemas(self) -> list[Definition]:
        """The tools for the language model, the same ones in the same order in every call of the agent."""
        return self._definitions

    def run(self, call_id: str, name: str, arguments: str) -> Outcome:
        """Run what the model has called; blocks, at most for the tool's time limit. Only a fault of ours is raised."""
        try:
            return self._run(call_id, name, self._checked(name, arguments))
        except _Refused as refused:
            _log.info("%s: the tool %s is not run: %s", self._call_sid, ascii(name[:100]), ascii(str(refused)))
            return _outcome(refused.told)

    def _run(self, call_id: str, name: str, arguments: dict[str, Any]) -> Outcome:
        if tool := self._agent.webhooks.get(name):
            return Outcome(webhook.run(name, tool, arguments, self._call_sid, call_id))
        if name == SEND_SMS:
            return self._sms(arguments["text"])
        if name == SEND_DIGITS:
            # The schema's $ also stands before a line end that is the last character.
            digits = arguments["digits"].strip()
            return Outcome(_json({"sent": digits}), tones(digits))
        # The conversation performs these itself, unless it has already done so or the call is about to end.
        raise _Refused(f"{name} cannot be done now")

    def _sms(self, text: str) -> Outcome:
        text = "".join(c for c in text if c == "\n" or unicodedata.category(c) != "Cc").strip()
        if not self._send_sms or not _NUMBER.fullmatch(self._caller_number):
            raise _Refused("the caller's number is withheld: no text message can be sent to it")
        if not text:
            raise _Refused("there is no text in the message")
        if self._sms_sent >= MOST_SMS:
            raise _Refused(f"{MOST_SMS} text messages were sent in this call, and no more are allowed")
        # Counted before it is sent: one that failed may have arrived, and another may be on its way.
        self._sms_sent += 1
        try:
            self._send_sms(self._caller_number, text)
        except VendorError as error:
            _log.warning("%s: send_sms: %s", self._call_sid, error)
            raise _Refused("the text message could not be sent") from error
        return _outcome({"sent": True})

    # Checking

    def _checked(self, name: str, arguments: str) -> dict[str, Any]:
        """The arguments as they are to be used. Raises _Refused."""
        if name not in self._parameters:
            raise _Refused(f"there is no tool {name[:100]!r}", tools=list(self._parameters))
        parsed = _parsed(arguments)
        if name in self._agent.webhooks:
            parsed = {key: self._filled_in(value) for key, value in parsed.items()}
        # A tenth of a second that calls need not wait for when a server begins; there before a tool is, see server.py.
        from jsonschema import Draft202012Validator

        validator = Draft202012Validator(self._parameters[name], format_checker=Draft202012Validator.FORMAT_CHECKER)
        if faults := list(itertools.islice(validator.iter_errors(parsed), _MOST_FAULTS)):
            raise _Refused("; ".join(map(_said, faults)), **_allowed(faults[0]))
        return parsed

    def _filled_in(self, value: Any) -> Any:
        """`value` with what the caller has keyed in for each {{name}} in its texts."""
        if isinstance(value, dict):
            return {key: self._filled_in(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._filled_in(each) for each in value]
        return _SECRET.sub(self._secret, value) if isinstance(value, str) else value

    def _secret(self, match: re.Match[str]) -> str:
        name = match[1]
        if name in self._agent.digits and name not in self._secrets:
            raise _Refused(f"the caller has not keyed in {name} yet: ask for it with ask_for_digits first")
        return self._secrets.get(name, match[0])


def _parsed(arguments: str) -> dict[str, Any]:
    if len(arguments) > LONGEST_ARGUMENTS:
        raise _Refused(f"the arguments are too long; allowed: {LONGEST_ARGUMENTS} characters")
    try:
        parsed = orjson.loads(arguments or "{}")
        # It reads what is nested too deeply to be written, or to be looked through.
        orjson.dumps(parsed)
    except orjson.JSONDecodeError as error:
        raise _Refused(f"the arguments are no JSON ({error.msg}); allowed: a JSON object") from error
    except orjson.JSONEncodeError as error:
        raise _Refused("the arguments are nested too deeply; allowed: a JSON object") from error
    if not isinstance(parsed, dict):
        raise _Refused("the arguments are no JSON object; allowed: a JSON object")
    return parsed


def _said(fault: "ValidationError") -> str:
    # Never with the value itself: it may be something that the caller has keyed in.
    where = fault.json_path.removeprefix("$").removeprefix(".")[:_SHOWN] or "the arguments"
    if fault.validator in ("required", "additionalProperties"):
        return f"{where}: {fault.message[:_SHOWN]}"
    return f"{where}: {fault.validator} has to be {_json(fault.validator_value)[:_SHOWN]}"


def _allowed(fault: "ValidationError") -> dict[str, object]:
    return {"allowed": fault.validator_value} if fault.validator == "enum" else {}


def _outcome(told: Mapping[str, object]) -> Outcome:
    return Outcome(_json(told))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
