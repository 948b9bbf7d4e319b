"""What tests with a row's marker have told: one file for each, written when it has passed, removed when it has not."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "chaos" / "results"
KINDS = ("matrix", "threat")


@dataclass(frozen=True)
class Result:
    test: str
    """`tests/file.py::name`, with the parameters if there are any."""
    rows: dict[str, list[int]]
    """By kind, the numbers of the rows that it shows."""
    figures: dict[str, object]
    """What it has told by `record_property`."""
    at: str
    """The day, in UTC."""


def keep(item: pytest.Item, report: pytest.TestReport) -> None:
    """Called with each phase of each test."""
    rows = {kind: [row for mark in item.iter_markers(kind) for row in mark.args] for kind in KINDS}
    if not any(rows.values()) or (report.when != "call" and report.passed):
        return
    path = FOLDER / f"{hashlib.sha256(item.nodeid.encode()).hexdigest()[:16]}.json"
    path.unlink(missing_ok=True)
    if report.when == "call" and report.passed:
        result = Result(item.nodeid, rows, dict(item.user_properties), time.strftime("%Y-%m-%d", time.gmtime()))
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(result)))


def kept() -> Iterator[Result]:
    for path in sorted(FOLDER.glob("*.json")):
        yield Result(**json.loads(path.read_text()))
