"""`python -m tests.reliability`: docs/reliability.md, of the rows and of what the tests told when they last passed."""

import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from tests.reliability import soaked
from tests.reliability.results import Result, kept
from tests.reliability.rows import TESTS, Row, rows

PAGE = TESTS.parent / "docs" / "reliability.md"
_TITLES = {"matrix": "Faults", "threat": "Threats"}
_MARK = "<!-- below this line: python -m tests.reliability -->"


def main() -> None:
    head = PAGE.read_text().partition(_MARK)[0]
    results = list(kept())
    body = "\n".join(line for kind, found in rows().items() for line in _section(kind, found, results))
    soak = "".join(line + "\n" for line in soaked.section())
    PAGE.write_text(f"{head}{_MARK}\n\n{_where()}\n\n{body}\n{soak}")
    shown = sum(1 for kind, found in rows().items() for row in found if _of(results, kind, row))
    total = sum(len(found) for found in rows().values())
    print(f"{PAGE.relative_to(Path.cwd())}: {shown} of {total} rows by {len(results)} tests that passed")


def _where() -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"Made on {day}, on {os.cpu_count()} cores ({platform.system()}, Python {platform.python_version()}): server, "
        "callers and stand-ins share them."
    )


def _section(kind: str, found: list[Row], results: list[Result]) -> Iterator[str]:
    yield f"## {_TITLES[kind]}"
    yield ""
    yield "| # | what | what is expected | shown by | seen |"
    yield "|---|---|---|---|---|"
    for row in found:
        tests = _of(results, kind, row)
        expected = f"{row.expected}; {row.aim}" if row.aim else row.expected
        by = "<br>".join(sorted({_short(result.test) for result in tests}))
        figures = "<br>".join(sorted({figure for result in tests for figure in _figures(result)}))
        if not tests:
            by = f"**not done:** {row.not_done}" if row.not_done else "**not run**"
        if row.differs:
            by += f"<br>**differs:** {row.differs}"
        yield f"| {row.number} | {_cell(row.what)} | {_cell(expected)} | {by} | {figures} |"
    yield ""


def _of(results: list[Result], kind: str, row: Row) -> list[Result]:
    return [result for result in results if row.number in result.rows[kind]]


def _short(test: str) -> str:
    """Without parameters, and without what all have in common."""
    return "`" + test.partition("[")[0].removeprefix("tests/").replace(".py::", " ").replace("test_", "", 1) + "`"


def _figures(result: Result) -> Iterator[str]:
    for name, value in result.figures.items():
        yield f"{name.replace('_', ' ')} {_cell(str(value))}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
