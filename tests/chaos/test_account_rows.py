"""Rows 6, 15, 27: a vendor refuses the account. Its first caller pays for it, the next ones do not, and one alarm goes.

What is refused is remembered by the worker, so each row has a server of its own.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.harness import APOLOGY, SILENCE_MS, Chaos, Row, Victim
from tests.working import Working
from voice.sandbox import faults
from voice.sandbox.chaos_faults import Cut

pytestmark = pytest.mark.full


@pytest.fixture
def row(tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Row]:
    with Chaos(tmp_path, healthy=4, workers=1).serving() as chaos, chaos.row(record_property) as row:
        yield row


def _next_callers_are_told_at_once(row: Row) -> None:
    """They hear the apology in Twilio's voice, and nobody asks the vendor."""
    for _ in range(3):
        victim, dialed = row.victim(), time.monotonic()
        victim.dial()
        victim.wait_until_over()
        assert victim.said == [APOLOGY] and victim.streams == []
        told_s = victim.journal.all("say")[0].at - dialed
        row.tell("next_callers_told_after_s", round(told_s, 2))
        assert told_s < 1


def _one_alarm(row: Row) -> None:
    alarms = [line for line in row.chaos.running.log.splitlines() if " ERROR voice.breaker " in line]
    row.tell("alarms", len(alarms))
    assert len(alarms) == 1, alarms


def _words_at(victim: Victim) -> float:
    """`time.monotonic()` of the apology, whoever says it."""
    said = [entry.at for entry in victim.journal.all("say") if entry.detail == APOLOGY]
    return said[0] if said else victim.heard_at(APOLOGY)


@pytest.mark.matrix(6)
def test_a_key_that_the_transcriber_refuses(row: Row) -> None:
    row.vendors.openai.api_key = "another-key"
    victim, dialed = row.victim(), time.monotonic()
    victim.dial()
    victim.wait_until_over(timeout=20)
    words_s = _words_at(victim) - dialed
    row.tell("words_after_s", round(words_s, 2))
    assert words_s <= 3
    _next_callers_are_told_at_once(row)
    assert len(row.vendors.openai.sessions) == 1
    _one_alarm(row)


@pytest.mark.matrix(15)
@pytest.mark.parametrize("status", [401, 403])
def test_an_account_that_the_language_model_refuses(row: Row, status: int) -> None:
    body = b'{"code":"no permission","error":"Your team has used all available credits."}'
    row.vendors.xai.faults += [faults.AnswerStatus(status, body)] * 20
    victim = row.greeted()
    decided = victim.ask("Where are you located") + SILENCE_MS / 1000
    victim.wait_until_over(timeout=20)
    words_s = _words_at(victim) - decided
    row.tell("words_after_s", round(words_s, 2))
    assert words_s <= 1.5
    _next_callers_are_told_at_once(row)
    assert len(row.vendors.xai.requests) == 1
    _one_alarm(row)


@pytest.mark.matrix(27)
def test_an_account_that_the_synthesizer_refuses(row: Row) -> None:
    victim = row.greeted()
    row.vendors.elevenlabs.api_key = "another-key"
    row.chaos.elevenlabs.spoil(Cut())
    refused = time.monotonic()
    victim.wait_until_over(timeout=20)
    words_s = _words_at(victim) - refused
    row.tell("words_after_s", round(words_s, 2))
    assert words_s <= 3
    _next_callers_are_told_at_once(row)
    _one_alarm(row)


@pytest.mark.matrix(6)
def test_nobody_is_called_to_hear_an_apology(tmp_path: Path) -> None:
    with Working(tmp_path, OUTBOUND_PREFIXES="+1") as working:
        working.running.sandbox.openai.api_key = "another-key"
        phone = working.running.phone()
        phone.dial()
        phone.wait_until_over(timeout=20)
        refused = working.api("POST", "/api/calls", {"to": "+15557650001"})
        assert (refused.status_code, refused.json()["error"]) == (503, "vendor_refuses")
        assert "transcriber" in refused.json()["message"]
        assert [path for _, path, _ in working.running.sandbox.twilio.requests if path.endswith("/Calls.json")] == []
