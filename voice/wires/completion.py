"""What a chat completion holds besides words: tokens used, values in the form that was asked for, errors.

Source: docs.x.ai (structured outputs) and recorded answers of api.x.ai.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import orjson

from voice.errors import VendorUnavailable

SHOWN = 300
"""Characters of what a service says that stand in an error."""


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int
    """All of the request."""
    cached_tokens: int
    """How many of them the service had in its cache."""
    completion_tokens: int
    reasoning_tokens: int
    """Thoughts: billed as output and, unlike OpenAI's, no part of `completion_tokens`."""


@dataclass(frozen=True)
class Extracted:
    values: dict[str, Any]
    """They hold to the schema."""
    usage: Usage | None


def usage_in(body: Mapping[str, Any]) -> Usage | None:
    """What a chunk of a stream, or a whole answer, says of tokens."""
    told = body.get("usage")
    if not isinstance(told, dict):
        return None
    prompt, completion = told.get("prompt_tokens_details"), told.get("completion_tokens_details")
    usage = Usage(
        _count(told, "prompt_tokens"),
        _count(prompt, "cached_tokens"),
        _count(told, "completion_tokens"),
        _count(completion, "reasoning_tokens"),
    )
    return usage if any(astuple(usage)) else None


def extracted(answer: bytes, schema: Mapping[str, Any]) -> Extracted:
    """The values of a whole answer. Raises VendorUnavailable if it holds none, or others than `schema` asks for.

    The error tells where, never what: these are a caller's words.
    """
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise _no_use("no JSON") from error
    match body:
        case {"choices": [{"message": {"content": str(content)}, **choice}, *_]}:
            reason = ascii(str(choice.get("finish_reason"))[:40])
        case _:
            raise _no_use("an answer without content")
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _no_use(f"content that is no JSON, with finish_reason {reason}") from error
    if not isinstance(values, dict):
        raise _no_use("content that is no JSON object")
    # Not when a server begins, which calls wait for.
    from jsonschema import Draft202012Validator

    for misfit in Draft202012Validator(schema).iter_errors(values):
        raise _no_use(f"a value that does not fit the schema's {misfit.validator} at {ascii(misfit.json_path)}")
    return Extracted(values, usage_in(body))


def error_text(text: str) -> str:
    """Bodies are flat ({"code","error"}) or OpenAI's ({"error":{"message"}}), or no JSON at all."""
    try:
        body = orjson.loads(text)
        error = body.get("error", body) if isinstance(body, dict) else body
        found = error.get("message", error) if isinstance(error, dict) else error
    except orjson.JSONDecodeError:
        found = text
    return ascii(str(found)[:SHOWN])


def _count(told: Any, name: str) -> int:
    count = told.get(name) if isinstance(told, dict) else None
    return count if type(count) is int and count > 0 else 0


def _no_use(what: str) -> VendorUnavailable:
    return VendorUnavailable("language model", f"sent {what}")
