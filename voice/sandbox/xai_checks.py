"""What the language model's stand-in refuses (xAI chat completions, November 2026)."""

from dataclasses import dataclass
from typing import Any

from voice.sandbox.xai_values import format_fault

Request = dict[str, Any]


class Refused(Exception):
    """A whole HTTP answer: status, and xAI's flat body."""

    def __init__(self, status: int, code: str, error: str) -> None:
        super().__init__(error)
        self.status, self.body = status, {"code": code, "error": error}


@dataclass(frozen=True)
class Model:
    efforts: tuple[str, ...] = ()
    """What `reasoning_effort` may be; empty: the parameter itself is refused."""
    reasons: bool = False
    served_by: str | None = None
    """The model that really answers a retired name."""


_ALWAYS_REASONS = ("low", "medium", "high", "xhigh")
MODELS = {
    "grok-4.20-non-reasoning": Model(),
    "grok-4.20-0309-non-reasoning": Model(),
    "grok-4.20": Model(reasons=True),
    "grok-4.20-0309-reasoning": Model(reasons=True),
    "grok-4.3": Model(("none", "low", "medium", "high"), reasons=True),
    "grok-4.5": Model(("low", "medium", "high"), reasons=True),
    "grok-4.6": Model(_ALWAYS_REASONS, reasons=True),
    "grok-4.7": Model(_ALWAYS_REASONS, reasons=True),
    "grok-4-fast-non-reasoning": Model(served_by="grok-4.3"),
    "grok-4-1-fast-non-reasoning": Model(served_by="grok-4.3"),
}
_INVALID = "Client specified an invalid argument"
_ROLES = ("system", "developer", "user", "assistant", "tool")


def check(request: object) -> Request:
    """The request, if the vendor would take it. Raises Refused."""
    if not isinstance(request, dict):
        raise _bad("The request body is not a JSON object.")
    if "search_parameters" in request:
        raise Refused(410, "Gone", "Live search is deprecated. Please switch to the Agent Tools API")
    name = request.get("model")
    model = MODELS.get(name) if isinstance(name, str) else None
    if model is None:
        error = f"The model {name} does not exist or your team does not have access to it."
        raise Refused(404, "Some requested entity was not found", error)
    _check_model_fields(request, model)
    _check_messages(request.get("messages"))
    _check_tools(request)
    if fault := format_fault(request.get("response_format")):
        raise _bad(fault)
    return request


def _bad(error: str) -> Refused:
    return Refused(400, _INVALID, error)


def _check_model_fields(request: Request, model: Model) -> None:
    effort = request.get("reasoning_effort")
    if effort is not None and effort not in model.efforts:
        raise _bad(f"Model {request['model']} does not support parameter reasoningEffort with value {effort!r}.")
    if "reasoning" in request:
        raise _bad("Unknown field reasoning: chat completions take reasoning_effort.")
    for name in ("stop", "presence_penalty", "frequency_penalty"):
        if model.reasons and effort != "none" and request.get(name) is not None:
            raise _bad(f"Model {request['model']} does not support parameter {name}.")
    limit = request.get("max_tokens")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise _bad("max_tokens must be a positive integer.")


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise _bad("messages must be a non-empty array.")
    called: set[str] = set()
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise _bad(f"A message's role must be one of {', '.join(_ROLES)}.")
        if message["role"] == "tool" and message.get("tool_call_id") not in called:
            raise _bad("A tool message must answer a preceding tool call of the assistant.")
        calls = message.get("tool_calls") or []
        _check_content(message, calls)
        called |= {call.get("id", "") for call in calls}


def _check_content(message: Request, calls: list[Request]) -> None:
    content = message.get("content")
    if message["role"] == "assistant" and calls and not content:
        return
    parts: list[Request] = content if isinstance(content, list) else [{"text": content}]
    if not parts or not all(isinstance(part.get("text"), str) and part["text"].strip() for part in parts):
        raise _bad("Each message must have at least one content element.")


def _check_tools(request: Request) -> None:
    tools = request.get("tools", [])
    if not isinstance(tools, list):
        raise _bad("tools must be an array.")
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function" or not function.get("name"):
            raise _bad("A tool is {type: function, function: {name, description, parameters}}.")
    if request.get("tool_choice") == "required" and not tools:
        raise _bad("tool_choice required needs tools.")


def offered_tools(request: Request) -> set[str]:
    if request.get("tool_choice") == "none":
        return set()
    return {tool["function"]["name"] for tool in request.get("tools", [])}
