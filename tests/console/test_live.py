"""The live page: every worker's calls within a second, acted on, and gone when their worker is."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
import requests
import websocket

from tests.console.conftest import Site, logged_in
from tests.console.visitor import Visitor
from tests.running import wait_until
from tests.web.served import Stream
from voice.presence import IDLE_S, Presence
from voice.records.records import Records
from voice.sandbox.phone import Phone
from voice.sandbox.serving import ServerProcess
from voice.web.console.live import LOOK_S, MOST_VIEWERS, Live, TooManyViewers
from voice.web.console.workers import GONE_S


class Page:
    """What a live page gets from the server, as it comes."""

    def __init__(self, visitor: Visitor) -> None:
        self.events: list[tuple[float, str, dict[str, Any]]] = []
        self.over = False
        self._answered = visitor.get("/console/events", stream=True)
        assert self._answered.headers["Content-Type"].startswith("text/event-stream")
        self._greenlet = gevent.spawn(self._read)

    def _read(self) -> None:
        event = ""
        try:
            for line in self._answered.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.append((time.monotonic(), event, json.loads(line.removeprefix("data: "))))
        except requests.RequestException:
            pass
        self.over = True

    def close(self) -> None:
        self._greenlet.kill()
        self._answered.close()

    def state(self) -> dict[str, Any]:
        return next((told for _, kind, told in reversed(self.events) if kind == "state"), {})

    def calls(self) -> dict[str, dict[str, Any]]:
        return {call["call_sid"]: call for call in self.state().get("calls", [])}


@pytest.fixture
def pages(site: Site) -> Iterator[list[Page]]:
    pages = _of_both_workers(site.visitor())
    yield pages
    for page in pages:
        page.close()


def _of_both_workers(visitor: Visitor) -> list[Page]:
    """Either may take the next connection: so many pages that both have one."""
    pages: list[Page] = []
    while len({page.state()["here"] for page in pages}) < 2:
        assert len(pages) < 50, "one worker takes all"
        page = Page(visitor)
        wait_until(lambda page=page: bool(page.state()), 10, "the page has a picture")  # type: ignore[misc]
        pages.append(page)
    return pages


def test_a_call_is_on_every_page_within_a_second_and_can_be_hung_up(
    site: Site, visitor: Visitor, pages: list[Page], record_property: Callable[[str, object], None]
) -> None:
    phone = site.running.phone(from_number="+15550004711")
    phone.dial()
    phone.wait_until_stream()
    began = time.monotonic()
    wait_until(lambda: all(phone.call_sid in page.calls() for page in pages), 15, "the call is on every page")
    took = max(_first(page, phone) for page in pages) - began
    record_property("call_on_page_s", round(took, 2))
    assert took < 1.0
    phone.wait_until_heard("how can I help you?")
    phone.wait_until_silent()
    phone.say("Where are you")
    phone.wait_until_heard("You said: Where are you")
    phone.wait_until_silent()

    def told() -> list[dict[str, Any]]:
        return [page.calls()[phone.call_sid] for page in pages]

    wait_until(lambda: all(call["took"] for call in told()), 5, "each page knows how long the answer took")
    call = told()[0]
    assert (call["caller"], call["agent"], call["transfers"]) == ("+15550004711", "desk", ["front"])
    assert call["said"] == {"caller": "Where are you", "agent": "You said: Where are you"}
    assert set(call["health"].values()) == {"ok"} and call["floor"] == "nobody"
    assert all(page.state()["capacity"] == 400 and page.state()["workers"] == 2 for page in pages)

    assert visitor.act(f"/console/calls/{phone.call_sid}/hangup").status_code == 200
    phone.wait_until_over()
    over = time.monotonic()
    wait_until(lambda: not any(phone.call_sid in page.calls() for page in pages), 5, "it is on no page any more")
    record_property("call_off_page_s", round(time.monotonic() - over, 2))


def _first(page: Page, phone: Phone) -> float:
    return next(at for at, _, told in page.events if phone.call_sid in str(told))


def test_a_call_is_put_through_from_the_page(site: Site, visitor: Visitor) -> None:
    phone = site.running.phone()
    phone.dial()
    phone.wait_until_heard("how can I help you?")
    wrong = visitor.act(f"/console/calls/{phone.call_sid}/transfer", {"to": "+15556667777"})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "unknown_target")
    assert visitor.act(f"/console/calls/{phone.call_sid}/transfer", {"to": "front"}).status_code == 200
    wait_until(lambda: phone.dialed == ["+15550002222"], 5, "the front desk rings")
    phone.hang_up()
    phone.wait_until_over()


def test_a_call_of_a_browser_is_hung_up_at_a_worker_that_does_not_hold_it(site: Site, visitor: Visitor) -> None:
    """Which Twilio cannot be asked for."""
    with (site.running.folder / "other.log").open("wb") as log, ServerProcess(site.running.environment, log) as other:
        owner = logged_in(other.url)
        headers = {"X-CSRF-Token": owner.csrf()}
        told = owner.post("/console/phone/calls", json={"agent": "desk"}, headers=headers).json()
        url = other.url.replace("http", "ws", 1) + "/console/phone/stream"
        stream = Stream(websocket.create_connection(url, timeout=10, cookie=owner.cookie(), origin=other.url))
        stream.start(told["call_sid"], told["parameters"])
        assert stream.next()["event"] == "media", "the greeting"
        page = f"/console/calls/{told['call_sid']}"
        wait_until(lambda: visitor.get(page).status_code == 200, 5, "its record is there")
        asked = len(site.running.sandbox.twilio.requests)
        assert visitor.act(f"/console/calls/{told['call_sid']}/hangup").status_code == 200
        began = time.monotonic()
        assert stream.closed()[0] == 1000
        assert time.monotonic() - began < 3 and len(site.running.sandbox.twilio.requests) == asked
        stream.leave()
    again = visitor.act(f"/console/calls/{told['call_sid']}/hangup")
    assert (again.status_code, again.json()["error"]) == (409, "call_is_over")


def test_a_worker_that_tells_nothing_any_more_is_not_shown(tmp_path: Path) -> None:
    records, now = Records(f"sqlite:///{tmp_path}/voice.db", timeout_s=10), [100.0]
    records.start()
    live = Live(Presence(records, "us:1", 10, lambda: True), records, monotonic=lambda: now[0])
    call = {"call_sid": "CA1", "since": 1.0}

    def told(owner: str, calls: list[dict[str, Any]]) -> None:
        records.present(owner, json.dumps({"max_calls": 10, "draining": False, "calls": calls}))

    def watch(seconds: float) -> None:
        """As a page does that is open."""
        until = now[0] + seconds
        while now[0] < until:
            now[0] = min(now[0] + LOOK_S, until)
            live.picture()

    told("busy:2", [call])
    told("idle:3", [])
    assert [each["call_sid"] for each in live.picture()["calls"]] == ["CA1"] and live.picture()["capacity"] == 30
    watch(GONE_S - 0.1)
    assert len(live.picture()["calls"]) == 1
    told("busy:2", [call])
    assert len(live.picture()["calls"]) == 1
    watch(GONE_S - 0.1)
    assert len(live.picture()["calls"]) == 1, "it has been renewed"
    watch(0.2)
    assert live.picture()["calls"] == [] and live.picture()["workers"] == 2
    now[0] += IDLE_S
    assert len(live.picture()["calls"]) == 1, "while nobody looks nobody renews his row"
    watch(GONE_S + 0.1)
    assert live.picture()["calls"] == [] and live.picture()["workers"] == 2
    watch(2 * IDLE_S)
    assert live.picture()["workers"] == 1
    records.stop(5)


def test_only_so_many_may_watch(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path}/voice.db", timeout_s=10)
    records.start()
    live = Live(Presence(records, "us:1", 10, lambda: True), records)
    viewers = [live.follow(time.time() + 60) for _ in range(MOST_VIEWERS)]
    with pytest.raises(TooManyViewers):
        live.follow(time.time() + 60)
    viewers[0].close()
    viewers[0].close()
    viewers[0] = live.follow(time.time() + 60)
    with pytest.raises(TooManyViewers):
        live.follow(time.time() + 60)
    for viewer in viewers:
        viewer.close()
    records.stop(5)


VIEWERS = 100
WATCHED_S = 2.5


@pytest.mark.full
def test_a_hundred_viewers_cost_little_and_harm_no_call(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    phones = [site.running.phone() for _ in range(3)]
    for phone in phones:
        phone.dial()
    for phone in phones:
        phone.wait_until_heard("how can I help you?")
        phone.wait_until_silent()
    alone = _used(site, phones, "I am the first")
    with ExitStack() as viewers:
        for _ in range(VIEWERS):
            viewers.enter_context(_viewer(site))
        watched = _used(site, phones, "I am the second")
    record_property("viewers", VIEWERS)
    record_property("core_percent_per_viewer", round((watched - alone) / WATCHED_S / VIEWERS * 100, 3))
    assert (watched - alone) / WATCHED_S / VIEWERS < 0.01
    for phone in phones:
        phone.hang_up()
        phone.wait_until_over()
        told = site.records.call(phone.call_sid)
        assert told is not None
        waits = [turn.times["heard"] - turn.times["speech_end"] for turn in told.turns if turn.caller]  # type: ignore[operator]
        record_property("answered_s", [round(wait, 2) for wait in waits])
        assert len(waits) == 2 and waits[1] < waits[0] + 0.5


def _used(site: Site, phones: list[Phone], words: str) -> float:
    """Processor time of all workers in so many seconds, in which each caller is answered once."""
    before, began = _cpu_s(site), time.monotonic()
    for phone in phones:
        phone.say(words)
    for phone in phones:
        phone.wait_until_heard(f"You said: {words}")
        phone.wait_until_silent()
    gevent.sleep(max(0.0, began + WATCHED_S - time.monotonic()))
    return (_cpu_s(site) - before) / (time.monotonic() - began) * WATCHED_S


def _cpu_s(site: Site) -> float:
    times = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in site.workers()]
    return sum(int(ticks) for pair in times for ticks in pair) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _viewer(site: Site) -> Iterator[None]:
    """As little of a browser as will do: what comes is thrown away."""
    visitor = site.visitor()
    host = site.url.removeprefix("http://")
    with socket.create_connection((host.split(":")[0], int(host.split(":")[1])), timeout=10) as sock:
        sock.sendall(f"GET /console/events HTTP/1.1\r\nHost: {host}\r\nCookie: {visitor.cookie()}\r\n\r\n".encode())
        seen = b""
        while b"event: state" not in seen:
            seen += sock.recv(65536)
        yield


def test_a_dead_workers_calls_are_gone_and_a_draining_one_ends_its_pages(site: Site, pages: list[Page]) -> None:
    first = set(site.workers())
    wait_until(lambda: all(page.state().get("workers") == 2 for page in pages), 15, "both workers know of each other")
    phone = site.running.phone()
    phone.dial()
    phone.wait_until_heard("how can I help you?")
    wait_until(lambda: all(phone.call_sid in page.calls() for page in pages), 15, "the call is on every page")
    owner = pages[0].calls()[phone.call_sid]["worker"]
    os.kill(int(owner.rpartition(":")[2]), signal.SIGKILL)
    left = [page for page in pages if page.state()["here"] != owner]

    def carried_on() -> bool:
        return all(page.calls().get(phone.call_sid, {"worker": owner})["worker"] != owner for page in left)

    wait_until(carried_on, 15, "the call is another worker's, and stands there once")
    phone.hang_up()
    phone.wait_until_over()
    os.kill(int(left[0].state()["here"].rpartition(":")[2]), signal.SIGTERM)
    wait_until(lambda: all(page.events[-1][1] == "bye" and page.over for page in left), 20, "the pages are told to go")
    # For the tests behind this one.
    wait_until(lambda: len(site.workers()) == 2 and not first & set(site.workers()), 20, "two others have begun")
