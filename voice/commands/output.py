"""How commands tell things on a terminal. What callers, models and tools have said can do nothing to it."""

import json
from collections.abc import Sequence

import click


def plain(text: object) -> str:
    """On one line, without the characters that a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in str(text)).strip()


def tell_json(value: object) -> None:
    """One document, indented."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def tell_json_line(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=True))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as what stands in them; the last one as it is."""
    lines = [headings, *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings) - 1)]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), cells[-1]]).rstrip()
