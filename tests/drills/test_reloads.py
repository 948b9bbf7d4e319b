"""SIGHUP: nobody who rings meanwhile is refused; what cannot be served changes nothing; what can be is taken up."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import gevent
import pytest
import requests

from tests.drills.crowd import GREETING, Told
from tests.drills.processes import is_there, workers
from tests.running import AGENTS, Running, wait_until
from voice.sandbox.phone import Phone
from voice.sandbox.serving import ROOT


@pytest.mark.full
@pytest.mark.matrix(53)
def test_nobody_is_refused_while_it_reloads(tmp_path: Path, record_property: Told) -> None:
    """Twenty calls a second, before, during and after it."""
    with Running(tmp_path, workers=2) as running:
        before, phones, ringing = workers(running), [], []
        began = time.monotonic()
        while any(map(is_there, before)) and len(phones) < 1000:
            if len(phones) == 40:
                os.kill(running.server.pid, signal.SIGHUP)
            phones.append(running.phone(from_number=f"+1555000{len(phones):04}", keep_audio=False))
            ringing.append(gevent.spawn(_short_call, phones[-1]))
            gevent.sleep(max(0.0, began + len(phones) / 20 - time.monotonic()))
        gevent.joinall(ringing, raise_error=True)
        answers = sorted(map(_answered_s, phones))
        record_property("calls", len(phones))
        record_property("webhook_p50_ms", round(1000 * answers[len(answers) // 2]))
        record_property("webhook_p99_ms", round(1000 * answers[-1 - len(answers) // 100]))
        record_property("webhook_max_ms", round(1000 * answers[-1]))
        record_property("told_to_come_again", sum(len(_asked(phone)) > 1 for phone in phones))
        assert not any(map(is_there, before)), "the reload did not come to its end"
        assert answers[-1 - len(answers) // 100] < 1.0
        assert "Traceback" not in running.log


def _short_call(phone: Phone) -> None:
    phone.dial()
    phone.wait_for(lambda: not phone.is_silent(100), 30)
    phone.hang_up()
    phone.wait_until_over()
    assert phone.over_reason == "the caller hung up"


def _asked(phone: Phone) -> list[float]:
    return [entry.at for entry in phone.events if str(entry.detail).startswith("POST /twilio/voice")]


def _answered_s(phone: Phone) -> float:
    return next(entry.at for entry in phone.events if entry.kind == "answered") - _asked(phone)[0]


@pytest.mark.full
@pytest.mark.matrix(79)
def test_faulty_agents_change_nothing_and_mended_ones_are_taken_up(tmp_path: Path) -> None:
    agent = tmp_path / "agents" / "plain.toml"
    shutil.copytree(AGENTS, agent.parent)
    good = agent.read_text()
    with Running(tmp_path, workers=2, AGENTS_DIR=str(agent.parent)) as running:
        phone = running.phone()
        phone.dial()
        phone.wait_until_heard(GREETING)
        before = workers(running)
        agent.write_text(good.replace("greeting", "greetings"))
        os.kill(running.server.pid, signal.SIGHUP)
        wait_until(lambda: "Not reloaded" in running.log, 60, "the reload is refused")
        assert "greetings" in running.log and workers(running) == before and len(phone.streams) == 1
        # One that is to take another's place cannot start either: the others go on without it.
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: "exited with code 1" in running.log, 60, "the next worker does not start")
        wait_until(lambda: phone.line is not None, 10, "the call has a stream")
        agent.write_text(good.replace("how can I help you", "what can I do"))
        wait_until(lambda: running.log.count("Booting") > 3 and len(workers(running)) == 2, 60, "two workers")
        before = workers(running)
        os.kill(running.server.pid, signal.SIGHUP)
        wait_until(lambda: not any(map(is_there, before)), 90, "the reload")
        with running.phone(from_number="+15550009999") as other:
            other.wait_until_heard("what can I do")
        phone.hang_up()
        phone.wait_until_over()
        assert phone.over_reason == "the caller hung up" and "Shutting down" not in running.log


@pytest.mark.full
def test_new_code_is_taken_up_and_broken_code_is_not(tmp_path: Path) -> None:
    """A copy of the project, changed under the running server."""
    tree = tmp_path / "tree"
    for name in ("config", "voice"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("server.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, tree)
    there = "import os, sys; os.chdir(sys.argv[1]); os.execvp(sys.argv[2], sys.argv[2:])"
    with Running(tmp_path, workers=2, prefix=(sys.executable, "-c", there, str(tree))) as running:
        health, start = tree / "voice" / "web" / "health.py", tree / "config" / "start.py"
        good, before = health.read_text(), workers(running)
        health.write_text(good + "\nthis is no Python\n")
        os.kill(running.server.pid, signal.SIGHUP)
        wait_until(lambda: "Not reloaded" in running.log, 60, "the reload is refused")
        assert "SyntaxError" in running.log and workers(running) == before
        # Of both packages: the master itself has imported config.
        start.write_text(start.read_text() + '\nNEWS = "tomorrow"\n')
        health.write_text("from config.start import NEWS\n" + good.replace('"ok"', "NEWS"))
        os.kill(running.server.pid, signal.SIGHUP)
        wait_until(lambda: "tomorrow" in requests.get(f"{running.server.url}/healthz", timeout=5).text, 90, "the news")
        assert "Shutting down" not in running.log
