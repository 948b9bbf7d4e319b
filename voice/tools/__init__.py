"""What an agent may do besides talking: each tool as the language model is told of it (Grok's function calling)."""

from collections.abc import Sequence
from typing import Any

import orjson

from voice.core.delivery import HANG_UP_TOOL

_SCHEMAS: dict[str, dict[str, Any]] = {
    HANG_UP_TOOL: {
        "type": "function",
        "function": {
            "name": HANG_UP_TOOL,
            "description": "End the phone call. Say goodbye in the same answer: the caller hears it first.",
            "parameters": {"type": "object", "properties": {}},
        },
    },
}


def schemas(names: Sequence[str]) -> list[dict[str, Any]]:
    """The tools of an agent, for the language model. Raises KeyError for one that does not exist."""
    return [_SCHEMAS[name] for name in names]


def run(name: str, arguments: str) -> str:
    """Run what the model has called; the result is what it is told. hang_up is the conversation's own."""
    return orjson.dumps({"error": f"there is no tool {name!r}", "tools": sorted(_SCHEMAS)}).decode()
