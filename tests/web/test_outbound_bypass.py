"""The limits of outbound calls hold against whoever has the token."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from gevent.pool import Pool

from tests.running import Running

_TOKEN = "a-token-that-nobody-guesses"
_HEADERS = {"Authorization": f"Bearer {_TOKEN}"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    limits = {"OUTBOUND_PER_MINUTE": "5", "OUTBOUND_PER_DAY": "5"}
    with Running(tmp_path, API_TOKEN=_TOKEN, TWILIO_PHONE_NUMBER="+15559990000", **limits) as running:
        yield running


def _place(running: Running, number: int) -> requests.Response:
    body = {"to": f"+155500{number:05d}"}
    return requests.post(f"{running.server.url}/api/calls", json=body, headers=_HEADERS, timeout=20)


@pytest.mark.threat(5)
def test_requests_at_once_are_counted_like_any_others(running: Running) -> None:
    answers = Pool(40).map(lambda number: _place(running, number).status_code, range(40))
    assert answers.count(201) == 5


@pytest.mark.threat(5)
def test_a_call_that_was_deleted_still_counts(running: Running) -> None:
    placed = [_place(running, number) for number in range(5)]
    for answer in placed:
        requests.delete(f"{running.server.url}/api/calls/{answer.json()['call_sid']}", headers=_HEADERS, timeout=10)
    assert _place(running, 5).status_code == 429
