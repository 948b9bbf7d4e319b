"""Two servers for all of these tests: an echo built from our stream's socket, and the real one with the stand-ins."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from tests.running import Running
from tests.web.served import Served
from voice.sandbox.phone import Phone
from voice.sandbox.serving import ROOT

API_TOKEN = "a-token-that-nobody-guesses"
MOST_A_MINUTE = 5


@pytest.fixture(scope="package")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The echo's address; what it logs must be no error."""
    log = tmp_path_factory.mktemp("echo") / "log"
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener, log.open("wb") as out:
        command = [sys.executable, "-W", "ignore", "-m", "gunicorn", "-c", "python:tests.conformance.echo"]
        command += ["--bind", f"fd://{listener.fileno()}", "tests.conformance.echo:app"]
        server = subprocess.Popen(
            command, cwd=ROOT, env=dict(os.environ), stdout=out, stderr=out, pass_fds=[listener.fileno()]
        )
        try:
            yield listener.getsockname()
            assert server.poll() is None, log.read_text()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(15)
    told = log.read_text()
    assert "Traceback" not in told and "[ERROR]" not in told, told


@pytest.fixture(scope="package")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real server, one worker, with the stand-ins."""
    more = {"API_TOKEN": API_TOKEN, "TWILIO_PHONE_NUMBER": "+15559990000", "OUTBOUND_PER_MINUTE": str(MOST_A_MINUTE)}
    with Running(tmp_path_factory.mktemp("conformance"), CALLS_PER_SECOND="1000", **more) as running:
        running.forget()
        yield Served(running)


@pytest.fixture
def served(doors: Served) -> Iterator[Served]:
    """The server; whatever a test does to it, it lives and has met nothing that it was not made for."""
    doors.forget_log()
    yield doors
    assert requests.get(f"{doors.url}/healthz", timeout=5).status_code == 200
    assert "Traceback" not in doors.log(), doors.log()


@pytest.fixture(scope="module")
def healthy(doors: Served) -> Iterator[Phone]:
    """A call that goes on beside the tests of a module, and is none the worse for them at their end."""
    with doors.running.phone() as phone:
        phone.wait_until_heard("how can I help you?")
        phone.wait_until_silent()
        yield phone
        phone.say("Are you still there")
        phone.wait_until_heard("You said: Are you still there")
        assert phone.warnings == [] and phone.errors == [] and len(phone.streams) == 1
