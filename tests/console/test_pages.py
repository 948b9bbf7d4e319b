"""Past calls and one call: what the pages show, and that whatever anybody said is shown as text."""

import csv
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.console.conftest import Site, logged_in
from tests.console.past import FORMULAS, XSS, many, sid, strange
from tests.console.visitor import TOKEN, Visitor
from tests.running import Running
from voice.core import call_log
from voice.records.entries import CallEnded, CallStarted, Turn
from voice.web.console import exports

CALLS = Path(__file__).parents[1] / "calls"


class _Elements(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _asked(text: str) -> str:
    fields = ("number", "words", "agent", "reason", "since", "until", "at", "sid")
    return urlencode(dict.fromkeys(fields, text), errors="replace")


@pytest.mark.threat(13)
@pytest.mark.parametrize("text", XSS)
def test_what_stands_in_the_address_is_text_at_the_log_in(site: Site, text: str) -> None:
    answered = Visitor(site.url).get(f"/console/calls?{_asked(text)}")
    page = _Elements(answered.text)
    assert answered.status_code == 401
    assert [tag for tag, _ in page.tags if tag in ("script", "img", "svg", "b")] == ["script"]
    assert not [tag for tag, attributes in page.tags for name in attributes if name.startswith("on")]
    assert [attributes["value"] for _, attributes in page.tags if attributes.get("name") == "then"]


@pytest.mark.threat(13)
@pytest.mark.parametrize("text", XSS)
def test_what_anybody_said_is_text(site: Site, visitor: Visitor, text: str) -> None:
    call_sid = sid(0xF000 + XSS.index(text))
    strange(site.records, call_sid, text)
    for path in (f"/console/calls/{call_sid}", "/console/calls", f"/console/calls?{_asked(text)}"):
        answered = visitor.get(path)
        page = _Elements(answered.text)
        assert answered.status_code == 200
        scripts = [attributes.get("src") for tag, attributes in page.tags if tag == "script"]
        assert all(source and source.startswith("/console/static/") for source in scripts)
        assert not [tag for tag, attributes in page.tags for name in attributes if name.startswith("on")]
        assert not [tag for tag, _ in page.tags if tag in ("img", "b", "iframe", "style")]
        links = [str(attributes["href"]) for _, attributes in page.tags if attributes.get("href")]
        assert all(link.startswith(("/console", "#", "?")) for link in links)
    shown = " ".join(_Elements(visitor.get(f"/console/calls/{call_sid}").text).text.split())
    said = " ".join(text.replace("\0", "").encode("utf-8", "replace").decode().split())
    assert shown.count(said) > 8


@pytest.mark.threat(20)
def test_a_callers_formula_is_text_in_a_spreadsheet(site: Site, visitor: Visitor) -> None:
    for number, text in enumerate(FORMULAS):
        strange(site.records, sid(0xE000 + number), text)
    answered = visitor.get("/console/calls.csv")
    rows = list(csv.DictReader(io.StringIO(answered.text, newline="")))
    cells = [cell for row in rows for name, cell in row.items() if name not in ("call_sid", "seconds", "cost_usd")]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))]
    (sums,) = [row for row in rows if row["call_sid"] == sid(0xE000)]
    assert (sums["agent"], sums["caller"], sums["summary"]) == ("'=1+1",) * 3
    assert answered.headers["Content-Disposition"] == 'attachment; filename="calls.csv"'
    assert [exports.harmless(text) for text in ("Ann", "", "a=b", "+1")] == ["Ann", "", "a=b", "'+1"]


def test_the_page_of_a_call_that_is_not_there(visitor: Visitor) -> None:
    for call_sid in ("CA" + "f" * 32, "CA1", "..%2f..%2fetc%2fpasswd", "CA' OR 1=1 --"):
        for what in ("", "/call.json", "/log.jsonl", "/case.jsonl", "/recording.wav"):
            assert visitor.get(f"/console/calls/{call_sid}{what}").status_code == 404


def test_a_late_turn_is_marked_and_is_the_verdict(site: Site, visitor: Visitor) -> None:
    call_sid, at = sid(0xD001), time.time() - 300
    site.records.call_started(CallStarted(call_sid, "inbound", "desk", "+15551234567", "+15559990000", at, {}))
    times = {"speech_end": at + 5, "stopped": at + 5.6, "transcript": at + 9.4, "asked": at + 9.4}
    times |= {"first_token": at + 9.8, "first_sentence": at + 10, "first_audio": at + 10.2, "heard": at + 10.3}
    site.records.noted(call_sid, "late", {"turn": 1, "stage": "transcript", "remedy": "asked for again"})
    site.records.turn_finished(call_sid, Turn(2, "Hello?", "Good day.", False, times, time.time() + 1), {})
    site.records.call_ended(call_sid, CallEnded("completed", "caller-hung-up", at + 20, {}, {"transcriber": 0.02}))
    assert site.records.flush(10)
    page = visitor.get(f"/console/calls/{call_sid}").text
    assert "Turn 2 took 5.3 s: final transcript 2.0 s late, asked for again." in page
    assert re.search(r'<li class="late"><span class="title">final transcript</span>', page)
    assert page.count('<li class="late">') == 1 and "3.80 s, 2.00 s late" in page
    assert "$0.0200" in page
    told = json.loads(visitor.get(f"/console/calls/{call_sid}/call.json").text)
    assert told["call_sid"] == call_sid and told["turns"][0]["caller"] == "Hello?"


def test_a_log_can_be_taken_away_as_it_is_and_as_a_test_case(site: Site, visitor: Visitor) -> None:
    log = (CALLS / "demo_call_with_barge_in.jsonl").read_text()
    call_sid = json.loads(log.splitlines()[0])["call"]["call_sid"]
    site.running.calls_dir.mkdir(exist_ok=True)
    (site.running.calls_dir / f"{call_sid}.jsonl").write_text(log)
    assert visitor.get(f"/console/calls/{call_sid}/log.jsonl").text == log
    case = visitor.get(f"/console/calls/{call_sid}/case.jsonl")
    assert call_sid not in case.text and "appointment" not in case.text
    assert call_log.replay(case.text.splitlines()).differences == []


@dataclass(frozen=True)
class Full:
    visitor: Visitor
    count: int


MOST_S = 0.3


@pytest.fixture(
    scope="module", params=[500, pytest.param(10_000, marks=pytest.mark.full)], ids=["some calls", "ten thousand calls"]
)
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    """A server with so many past calls, besides those of other tests."""
    if request.param < 1000:
        site = request.getfixturevalue("site")
        many(site.database, request.param)
        yield Full(site.visitor(), request.param)
        return
    folder = tmp_path_factory.mktemp("full")
    with Running(folder, API_TOKEN=TOKEN) as running:
        visitor = logged_in(running.server.url)
        assert visitor.get("/console/calls").status_code == 200
        many(f"sqlite:///{folder / 'voice.db'}", request.param)
        yield Full(visitor, request.param)


PATHS = (
    "/console",
    "/console/calls",
    "/console/calls?number=0009999",
    "/console/calls?words=number+9999",
    "/console/calls?words=nobody+ever+said+this",
    "/console/calls?agent=night&reason=failed",
    "/console/calls?since=2020-01-01&until=2120-01-01",
    f"/console/calls/{sid(400)}",
)


@pytest.mark.parametrize("path", PATHS)
def test_no_page_keeps_anybody_waiting(full: Full, path: str, record_property: Callable[[str, object], None]) -> None:
    took = []
    for _ in range(3):
        began = time.monotonic()
        answered = full.visitor.get(path)
        took.append(time.monotonic() - began)
        assert answered.status_code == 200
    record_property("page_ms", round(sorted(took)[1] * 1000))
    assert sorted(took)[1] < MOST_S, path


def test_pages_lead_through_all_of_them(full: Full) -> None:
    seen: list[str] = []
    path: str | None = "/console/calls?agent=night&number=5550000"
    while path:
        text = full.visitor.get(path).text
        seen += re.findall(r'<td><a href="/console/calls/(CA\w{32})">', text)
        older = re.search(r'<a class="button" href="([^"]+)">Older</a>', text)
        path = older[1].replace("&amp;", "&") if older else None
    assert len(seen) == len(set(seen)) == sum(1 for n in range(full.count) if n % 3 == 2 and n < 1000)
    assert seen == sorted(seen)


def test_the_csv_has_all_that_was_looked_for(full: Full) -> None:
    rows: list[dict[str, Any]] = list(
        csv.DictReader(io.StringIO(full.visitor.get("/console/calls.csv?agent=sales").text))
    )
    assert len(rows) == sum(1 for n in range(full.count) if n % 3 == 1)
