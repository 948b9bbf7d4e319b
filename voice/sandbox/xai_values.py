"""Structured outputs of the language model's stand-in: what `response_format` may be, and values that fit its schema.

Source: docs.x.ai (structured outputs), November 2026.
"""

import re
from typing import Any

import orjson
from jsonschema import Draft202012Validator, SchemaError

from voice.sandbox.demo_script import Message, text_of

Schema = dict[str, Any]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def format_fault(given: object) -> str | None:
    """Why the vendor would not take this `response_format`, or None."""
    match given:
        case None | {"type": "text" | "json_object"}:
            return None
        case {"type": "json_schema", "json_schema": {"name": str(name), "schema": {"type": "object"} as schema}}:
            if not _NAME.fullmatch(name):
                return "response_format.json_schema.name must be 1 to 64 of a-z A-Z 0-9 _ and -."
            return _schema_fault(schema)
        case {"type": "json_schema"}:
            return "response_format.json_schema must be {name, strict, schema: {type: object, properties}}."
    return "response_format.type must be one of text, json_object, json_schema."


def asked_schema(request: dict[str, Any]) -> Schema | None:
    """The schema that a request which was taken wants its answer to fit."""
    given = request.get("response_format") or {}
    schema: Schema | None = given["json_schema"]["schema"] if given.get("type") == "json_schema" else None
    return schema


def fill_in(messages: list[Message], schema: Schema) -> dict[str, Any]:
    """An object that fits: the caller's last words for a text, the first of an enum, else 0, false or empty."""
    filled: dict[str, Any] = _value(schema, _last_words(messages))
    return filled


def _schema_fault(schema: Schema) -> str | None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"response_format.json_schema.schema is no JSON schema at {error.json_path}."
    return None


def _value(schema: Schema, words: str) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    kinds = schema.get("type", "string")
    match kinds[0] if isinstance(kinds, list) else kinds:
        case "object":
            return {name: _value(inner, words) for name, inner in schema.get("properties", {}).items()}
        case "array":
            return []
        case "integer" | "number":
            return 0
        case "boolean":
            return False
        case "null":
            return None
    return words


def _last_words(messages: list[Message]) -> str:
    """Of the last user message; of a record of a call in it, in lines of JSON, the last line of the caller."""
    text = next((text_of(message) for message in reversed(messages) if message["role"] == "user"), "")
    for line in reversed(text.split("\n")):
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("caller"), str):
            return str(entry["caller"])
    return text
