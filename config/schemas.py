"""The JSON schemas of an agent's file, checked before a model is told of them."""

import json
from collections.abc import Mapping
from typing import Any

from config.faults import shown, suggestion

SCHEMA_ALLOWED = "a JSON schema (draft 2020-12) of type object, written out without $ref"
_REFERENCES = ("$ref", "$dynamicRef")
_SHOWN = 120


def schema_fault(schema: object) -> str | None:
    """What is wrong with a tool's parameters, or None."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return 'is no schema of type = "object"'
    try:
        json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"is no JSON ({ascii(str(error))[1:-1]})"
    # One that leads to another machine would be fetched, one that leads to itself never ends.
    if _refers(schema):
        return "has a $ref"
    return _breaks_the_draft(schema) or _requires_nobody(schema)


def _requires_nobody(schema: Mapping[str, Any]) -> str | None:
    """A name that is required and described nowhere is a slip of the pen: the model could only guess at it."""
    properties = list(schema.get("properties", {}))
    missing = next((name for name in schema.get("required", []) if name not in properties), None)
    return missing and f"requires {shown(missing)}, which is not in properties{suggestion(missing, properties)}"


def sure_names(schema: Mapping[str, Any]) -> list[str]:
    """The parameters that are in every call of the model and are a text or a number: these may stand in an address."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    plain = ("string", "integer", "number")
    return [
        name
        for name, each in properties.items()
        if name in required and isinstance(each, dict) and each.get("type") in plain
    ]


def _refers(value: object) -> bool:
    if isinstance(value, dict):
        return any(key in value for key in _REFERENCES) or any(_refers(each) for each in value.values())
    return isinstance(value, list) and any(_refers(each) for each in value)


def _breaks_the_draft(schema: dict[str, Any]) -> str | None:
    # It takes 0.1 s to import, and most servers have no schema.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"is wrong at {error.json_path}: {ascii(error.message)[1:-1][:_SHOWN]}"
    return None
