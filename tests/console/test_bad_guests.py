"""Bad guests of the console, and what callers leave in it, at the server with two workers."""

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.inputs import each
from tests.console.conftest import Site
from tests.console.past import sid, strange
from tests.console.visitor import Visitor

Check = Callable[[Site, Any], None]


def _shown_as_text(site: Site, said: str) -> None:
    strange(site.records, sid(0xB001), said)
    page = site.visitor().get(f"/console/calls/{sid(0xB001)}")
    assert page.status_code == 200 and "&lt;img src=x onerror" in page.text and "<img" not in page.text
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "unsafe-inline" not in page.headers["Content-Security-Policy"]


def _no_formula(site: Site, name: str) -> None:
    strange(site.records, sid(0xB002), name)
    rows = csv.DictReader(io.StringIO(site.visitor().get("/console/calls.csv").text, newline=""))
    (row,) = [row for row in rows if row["call_sid"] == sid(0xB002)]
    assert row["caller"] == f"'{name}"


def _asked_to_log_in(site: Site, request: dict[str, Any]) -> None:
    forged = request["_headers"]["Cookie"].partition("=")[2]
    visitor = Visitor(site.url)
    for name in ("session", "voice_console"):
        visitor.http.cookies.set(name, forged, domain="127.0.0.1", path="/console")
    page = visitor.get("/console/calls")
    assert page.status_code == 401 and 'name="token"' in page.text


def _no_events(site: Site, request: dict[str, Any]) -> None:
    """Ours stand elsewhere."""
    method, path = request["_path"].split()
    assert method == "GET"
    visitor = Visitor(site.url)
    assert visitor.get(path).status_code == 404
    answered = visitor.get("/console/events", headers={"Accept": "text/event-stream"})
    assert answered.status_code == 401 and answered.headers["Content-Type"] != "text/event-stream"


@pytest.mark.threat(13)
@each(
    "dashboard",
    {
        "transcript with script tag": _shown_as_text,
        "caller name starting with =": _no_formula,
        "session cookie forged": _asked_to_log_in,
        "live event stream without login": _no_events,
    },
)
def test_a_bad_guest(site: Site, payload: Any, expect: Check) -> None:
    expect(site, payload)
