"""Rows 32 and 33: names that nobody resolves, and certificates that nobody should believe."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
from gevent.pywsgi import WSGIServer

from tests.chaos import names
from tests.chaos.harness import APOLOGY, Chaos
from tests.running import Running
from voice.sandbox.doors import Handler
from voice.sandbox.phone import Phone

pytestmark = pytest.mark.full

_NEW_CALLS = 12
"""More than a pool of ten threads could look up at once."""
_VENDORS = {
    "OPENAI_REALTIME_URL": f"ws://{names.HOST}:9/v1/realtime",
    "XAI_BASE_URL": f"http://{names.HOST}:9/v1",
    "ELEVENLABS_BASE_URL": f"http://{names.HOST}:9",
}


@pytest.mark.matrix(32)
@pytest.mark.skipif(bool(names.why_not()), reason=names.why_not())
def test_a_name_server_that_is_silent_costs_no_call(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with names.names() as known:
        chaos = Chaos(tmp_path, healthy=4, host=names.HOST, prefix=names.asks_them(tmp_path))
        with chaos.serving(), chaos.row(record_property) as row:
            assert known.asked, "the server does not ask our name server"
            live = row.greeted()
            known.silent = True
            live.ask("Where are you located")
            live.wait_until_heard("You said: Where are you located")
            new = [row.greeted() for _ in range(_NEW_CALLS)]
            for number, victim in enumerate(new):
                victim.ask(f"Is anybody there for number {number}")
                victim.wait_until_heard(f"You said: Is anybody there for number {number}")
            live.ask("And when are you open")
            live.wait_until_heard("You said: And when are you open")
            assert "names are taken as they were: 'vendors.test'" in chaos.running.log


@pytest.mark.matrix(32)
@pytest.mark.skipif(bool(names.why_not()), reason=names.why_not())
def test_names_that_were_never_known_end_new_calls_with_words(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with names.names() as known:
        known.silent = True
        with Running(tmp_path, prefix=names.asks_them(tmp_path), **_VENDORS) as running:
            new = [running.phone() for _ in range(_NEW_CALLS)]
            dialed = time.monotonic()
            gevent.joinall([gevent.spawn(phone.dial) for phone in new], raise_error=True)
            gevent.joinall([gevent.spawn(phone.wait_until_over, 30) for phone in new], raise_error=True)
            ended = [phone.journal.all("over")[0].at - dialed for phone in new]
            record_property("new_calls_ended_after_s", round(max(ended), 2))
            assert all(APOLOGY in (*phone.said, phone.heard_text.strip()[-len(APOLOGY) :]) for phone in new)
            assert 2.5 <= min(ended) and max(ended) <= 20


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For 127.0.0.1, signed by nobody whom anybody knows."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True, timeout=60)
    return folder / "certificate.pem", folder / "key.pem"


@contextmanager
def _over_tls(folder: Path, certificate: tuple[Path, Path], variable: str, url: str) -> Iterator[Running]:
    """A server that meets one of its vendors over TLS, with that certificate."""
    front = WSGIServer(
        ("127.0.0.1", 0),
        lambda environ, start_response: running.sandbox.app(environ, start_response),
        handler_class=Handler,
        log=None,
        error_log=None,
        certfile=str(certificate[0]),
        keyfile=str(certificate[1]),
    )
    front.start()
    running = Running(folder, **{variable: url.format(port=front.server_port)})
    with running:
        running.forget()
        yield running
    front.stop(timeout=0)


def _wrong(running: Running) -> str:
    return next(line for line in running.log.splitlines() if "WARNING" in line and "CERTIFICATE" in line.upper())


def _ends(phone: Phone, said: float) -> float:
    phone.wait_until_over(timeout=25)
    assert APOLOGY in (*phone.said, phone.heard_text.strip()[-len(APOLOGY) :])
    return phone.journal.all("over")[0].at - said


@pytest.mark.matrix(33)
def test_a_transcriber_with_a_wrong_certificate(
    tmp_path: Path, certificate: tuple[Path, Path], record_property: Callable[[str, object], None]
) -> None:
    with _over_tls(tmp_path, certificate, "OPENAI_REALTIME_URL", "wss://127.0.0.1:{port}/v1/realtime") as running:
        phone, dialed = running.phone(), time.monotonic()
        phone.dial()
        ended_s = _ends(phone, dialed)
        record_property("transcriber_ended_after_s", round(ended_s, 2))
        assert ended_s <= 15 and _wrong(running)
        assert running.sandbox.openai.sessions == []


@pytest.mark.matrix(33)
def test_a_language_model_with_a_wrong_certificate(
    tmp_path: Path, certificate: tuple[Path, Path], record_property: Callable[[str, object], None]
) -> None:
    with _over_tls(tmp_path, certificate, "XAI_BASE_URL", "https://127.0.0.1:{port}/v1") as running:
        phone = running.phone()
        phone.dial()
        phone.wait_until_heard("how can I help you?")
        phone.wait_until_silent()
        phone.say("Where are you located")
        said = time.monotonic()
        phone.wait_until_heard(APOLOGY)
        words_s = time.monotonic() - said - len(APOLOGY) * 0.06
        record_property("language_model_words_after_s", round(words_s, 2))
        assert words_s <= 3 and _wrong(running)
        phone.wait_until_over()
        assert running.sandbox.xai.requests == []


@pytest.mark.matrix(33)
def test_a_synthesizer_with_a_wrong_certificate(
    tmp_path: Path, certificate: tuple[Path, Path], record_property: Callable[[str, object], None]
) -> None:
    with _over_tls(tmp_path, certificate, "ELEVENLABS_BASE_URL", "https://127.0.0.1:{port}") as running:
        phone, dialed = running.phone(), time.monotonic()
        phone.dial()
        ended_s = _ends(phone, dialed)
        record_property("synthesizer_ended_after_s", round(ended_s, 2))
        assert ended_s <= 3 and _wrong(running)
        assert running.sandbox.elevenlabs.sockets == []
