"""Calls of real life, replayed: a call that went wrong becomes a test by copying its log into tests/calls/."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from voice.cli import main
from voice.core import call_log

CALLS = sorted((Path(__file__).parent / "calls").glob("*.jsonl"))


@pytest.mark.parametrize("path", CALLS, ids=lambda path: path.stem)
def test_a_recorded_call_leads_to_the_same_actions(path: Path) -> None:
    with path.open(encoding="utf-8") as lines:
        replayed = call_log.replay(lines)
    assert replayed.differences == []
    assert replayed.events > 10


def test_there_are_recorded_calls() -> None:
    assert {path.stem for path in CALLS} >= {"demo_call_with_barge_in", "language_model_out_of_credit"}


def test_replay_says_what_differs(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "calls" / "demo_call_with_barge_in.jsonl").read_text()
    changed = tmp_path / "changed.jsonl"
    changed.write_text(
        text.replace('"action":"ClearPlayout"', '"action":"EndCall","result":"lost","reason":"x","apologize":false', 1)
    )
    done = CliRunner().invoke(main, ["replay", str(changed)])
    assert done.exit_code == 1
    assert "EndCall" in done.output and "ClearPlayout" in done.output
    assert CliRunner().invoke(main, ["replay", str(CALLS[0])]).exit_code == 0


@pytest.mark.parametrize(
    "text", ["", "not JSON", '{"t": 0, "event": "Teleported"}', '{"t": 0, "event": "CallerHungUp"}']
)
def test_replay_of_a_broken_log_is_one_clear_line(tmp_path: Path, text: str) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(text)
    done = CliRunner().invoke(main, ["replay", str(broken)])
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1 and "Traceback" not in done.output
