"""One server of two workers with a console, for all tests of it."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gevent
import pytest

from tests.console.visitor import TOKEN, Visitor
from tests.running import Running
from voice.records.records import Records
from voice.web.console.sessions import Sessions

AGENTS = Path(__file__).parent / "agents"


@dataclass
class Site:
    running: Running
    records: Records
    """The server's, from outside of it."""
    dripping: gevent.Greenlet
    """How many seconds a log-in was listened to that never comes to its end; while the other tests run."""

    @property
    def database(self) -> str:
        return f"sqlite:///{self.running.folder / 'voice.db'}"

    @property
    def url(self) -> str:
        return self.running.server.url

    def visitor(self) -> Visitor:
        return logged_in(self.url)

    def workers(self) -> list[int]:
        master = self.running.server.pid
        return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]


def logged_in(url: str) -> Visitor:
    """Without a try: a test uses them up."""
    visitor = Visitor(url)
    visitor.http.cookies.set("voice_console", Sessions(TOKEN).log_in(TOKEN), domain="127.0.0.1", path="/console")
    return visitor


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("console")
    settings = {"API_TOKEN": TOKEN, "AGENTS_DIR": str(AGENTS), "DEFAULT_AGENT": "desk"}
    settings["RECORDINGS_DIR"] = str(folder / "recordings")
    with Running(folder, workers=2, **settings) as running:
        running.forget()
        records = Records(f"sqlite:///{folder / 'voice.db'}", timeout_s=10)
        records.start()
        yield Site(running, records, gevent.spawn(_drip, running.server.url))
        records.stop(5)
        # A machine with too much to do is the watchdog's to tell of, and one worker is killed by a test.
        log = [line for line in running.log.splitlines() if "Traceback" in line or " ERROR " in line]
        assert [line for line in log if " voice.watchdog " not in line and "was sent SIGKILL" not in line] == []


def _drip(url: str) -> float:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=0.5) as sock:
        began = time.monotonic()
        head = f"POST /console/login HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {url}\r\nContent-Length: 1000\r\n"
        sock.sendall(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode())
        while time.monotonic() - began < 15:
            try:
                sock.sendall(b"a")
                if not sock.recv(65536):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        return time.monotonic() - began


@pytest.fixture
def visitor(site: Site) -> Visitor:
    return site.visitor()
