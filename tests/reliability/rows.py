"""The rows themselves, and the markers that stand in the tests' source."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    number: int
    what: str
    expected: str
    aim: str = ""
    not_done: str = ""
    """Why no test shows it."""
    differs: str = ""
    """In what the server is not as expected."""


def rows() -> dict[str, list[Row]]:
    """By kind, in the order of their numbers."""
    tables = tomllib.loads((Path(__file__).parent / "rows.toml").read_text())
    return {kind: [Row(**row) for row in tables[kind]] for kind in ("matrix", "threat")}


def marked() -> Iterator[tuple[str, int, str]]:
    """Kind, number and test (`tests/file.py::name`), of every marker in the tests."""
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                name = f"{path.relative_to(TESTS.parent)}::{node.name}"
                yield from ((kind, row, name) for kind, row in _markers(node.decorator_list))
            # `pytestmark = pytest.mark.threat(1)`, and pytest.param(..., marks=...).
            elif isinstance(node, ast.Assign | ast.keyword):
                value = [node.value] if isinstance(node, ast.keyword) and node.arg == "marks" else []
                if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "pytestmark" for t in node.targets):
                    value = [node.value]
                yield from ((kind, row, str(path.relative_to(TESTS.parent))) for kind, row in _markers(value))


def _markers(nodes: list[ast.expr]) -> Iterator[tuple[str, int]]:
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        match node:
            case ast.Call(func=ast.Attribute(attr="matrix" | "threat" as kind, value=ast.Attribute(attr="mark"))):
                yield from ((kind, arg.value) for arg in node.args if isinstance(arg, ast.Constant))
