"""`calls` and `explain`: what is kept of calls, told on a terminal."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.commands.conftest import Run
from tests.console.past import XSS, many, sid, strange
from voice.commands.output import table
from voice.core import story_log
from voice.core.story import tell
from voice.records.entries import CallStarted
from voice.records.records import Records
from voice.web.console.told import story_of

LOG = Path(__file__).parents[1] / "calls" / "language_model_out_of_credit.jsonl"


@pytest.fixture
def past(records: Records, tmp_path: Path) -> Records:
    """Five calls of five days; the first, of today, has failed."""
    assert records.flush(10)
    many(f"sqlite:///{tmp_path / 'voice.db'}", 5)
    return records


def _listed(run: Run, *options: str) -> list[int]:
    done = run("calls", "--json", *options)
    assert done.exit_code == 0, done.output
    return [int(call["call_sid"][2:], 16) for call in json.loads(done.stdout)["calls"]]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), [0, 1, 2, 3, 4]),
        (("--limit", "2"), [0, 1]),
        (("--number", "0000003"), [3]),
        (("--agent", "sales"), [1, 4]),
        (("--reason", "language-model-failed"), [0]),
        (("--words", "NUMBER 2"), [2]),
        (("--until", "2001-01-01"), []),
        (("--since", "2001-01-01"), [0, 1, 2, 3, 4]),
        (("--live",), []),
        (("--ended", "--agent", "days"), [0, 3]),
    ],
)
def test_calls_are_found_by_what_is_asked_for(
    run: Run, past: Records, options: Sequence[str], found: Sequence[int]
) -> None:
    assert _listed(run, *options) == found


def test_the_last_day_is_meant_with_all_its_hours(run: Run, records: Records) -> None:
    assert records.flush(10)
    at = 1_795_305_599.0  # 2026-11-21, a second before midnight
    records.call_started(CallStarted(sid(7), "inbound", "plain", "+1555", "+1666", at, {}))
    assert records.flush(10)
    assert _listed(run, "--live") == [7]
    assert time.gmtime(at)[:3] == (2026, 11, 21)
    assert _listed(run, "--until", "2026-11-21") == [7] and _listed(run, "--until", "2026-11-20") == []
    assert _listed(run, "--since", "2026-11-21") == [7] and _listed(run, "--since", "2026-11-22") == []


def test_a_list_for_people_has_one_line_for_each_call(run: Run, past: Records) -> None:
    heading, *lines = run("calls").output.splitlines()
    assert heading.split()[0] == "began" and len(lines) == 5
    assert sid(0) in lines[0] and "+15550000000" in lines[0] and "failed: language-model-failed" in lines[0]


def test_columns_stand_below_each_other() -> None:
    assert (
        table(("a", "b", "c"), [("one", "x", "last"), ("1", "two", "l")]) == "a    b    c\none  x    last\n1    two  l"
    )


def test_without_a_database_nothing_is_made_and_nothing_is_found(run: Run, tmp_path: Path) -> None:
    done = run("calls")
    assert done.exit_code == 1 and "there is no voice.db" in done.output and not list(tmp_path.iterdir())
    assert run("calls", DATABASE_URL="mysql://x/y").exit_code == 1


@pytest.mark.parametrize("options", [("--since", "yesterday"), ("--limit", "0"), ("--colour",)])
def test_what_cannot_be_asked_for_is_a_fault_of_usage(run: Run, options: Sequence[str]) -> None:
    assert run("calls", *options).exit_code == 2


def test_a_call_is_explained_as_the_console_explains_it(run: Run, past: Records) -> None:
    call = past.call(sid(0))
    assert call is not None
    told = story_of(call, {})
    page = run("explain", sid(0))
    assert page.exit_code == 0
    assert page.output.splitlines()[1].lower() == told.verdict.lower() + "."
    for turn in told.turns:
        assert f"turn {turn.number}, answered after {turn.took:.1f} s" in page.output
    assert "caller  Where is my order, number 0?" in page.output and "final transcript" not in page.output
    assert "end of speech decided" in page.output and "0.60 s" in page.output
    document = json.loads(run("explain", sid(0), "--json").stdout)
    assert document["verdict"] == told.verdict and document["in_trouble"] is True
    assert document["cost_usd"] == 0.01 and len(document["story"]) == 5


def test_a_call_without_a_record_is_explained_from_its_log(run: Run, records: Records, tmp_path: Path) -> None:
    assert records.flush(10)
    (tmp_path / "calls").mkdir()
    shutil.copy(LOG, tmp_path / "calls" / f"{sid(1)}.jsonl")
    with LOG.open() as lines:
        read = story_log.read(lines)
    verdict = tell(read.record, read.past, read.record["max_silence_ms"] / 1000).verdict
    page = run("explain", sid(1))
    assert page.exit_code == 0 and "told from calls/" in page.stderr
    assert verdict[1:] in page.stdout and "403" in verdict
    assert json.loads(run("explain", sid(1), "--json").stdout)["log"] == f"calls/{sid(1)}.jsonl"
    # Without any database as well.
    shutil.move(tmp_path / "calls", tmp_path / "logs")
    alone = run("explain", sid(1), DATABASE_URL="sqlite:///none.db", CALL_LOG_DIR="logs")
    assert alone.exit_code == 0 and verdict[1:] in alone.stdout


def test_a_call_that_nobody_knows(run: Run, past: Records) -> None:
    done = run("explain", sid(77))
    assert done.exit_code == 1 and f"there is no record of {sid(77)}, and no log" in done.output
    assert run("explain", "77").exit_code == 2


@pytest.mark.threat(13)
@pytest.mark.parametrize("text", ["\x1b[31mred\x1b]0;title\x07", "a\r\nb\x9b2J", XSS[0], XSS[-1]])
def test_what_anybody_has_said_does_nothing_to_a_terminal(run: Run, records: Records, text: str) -> None:
    assert records.flush(10)
    strange(records, sid(5), text)
    for done in (run("explain", sid(5)), run("calls"), run("explain", sid(5), "--json"), run("calls", "--json")):
        assert done.exit_code == 0
        assert [c for c in done.output if not c.isprintable() and c != "\n"] == []
