"""Bad inputs, one a line: surface, name, payload, and in words what has to come of it."""

import json
from pathlib import Path
from typing import Any

import pytest

_LINES = [json.loads(line) for line in (Path(__file__).parent / "bad_inputs.jsonl").read_text().splitlines()]


def surfaces() -> set[str]:
    return {line["surface"] for line in _LINES}


def payloads(surface: str) -> dict[str, Any]:
    """By name; what is `{"_repeat": [text, times]}` is written out."""
    return {line["name"]: _written_out(line["payload"]) for line in _LINES if line["surface"] == surface}


def each(surface: str, expected: dict[str, Any], elsewhere: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """Parametrizes a test over all inputs of a surface but those that another one shows: `payload` and `expect`."""
    given = payloads(surface)
    assert given.keys() == expected.keys() | set(elsewhere), given.keys() ^ expected.keys()
    given = {name: given[name] for name in expected}
    return pytest.mark.parametrize(
        ("payload", "expect"), [pytest.param(given[name], expected[name], id=name) for name in given]
    )


def _written_out(payload: Any) -> Any:
    match payload:
        case {"_repeat": [str(text), int(times)]}:
            return text * times
        case dict():
            return {key: _written_out(value) for key, value in payload.items()}
        case list():
            return [_written_out(value) for value in payload]
    return payload
