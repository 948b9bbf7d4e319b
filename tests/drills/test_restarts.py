"""Restarts that were meant: every call is handed over, waits for the next server, or is at least written down."""

import os
import signal
import time
from pathlib import Path

import gevent
import pytest

from tests.drills.crowd import GREETING, Crowd, Told, database
from tests.drills.processes import KEEPER, children, is_there, workers
from tests.running import Running, wait_until
from voice.records.records import Records
from voice.sandbox.call_plan import CallSetup
from voice.sandbox.demo_script import Answer
from voice.sandbox.phone import Phone

# What docs/deploy.md has operators put into a TwiML Bin, with a shorter pause.
BIN = "<Response><Pause length='2'/><Redirect>https://voice.example.com/twilio/resume</Redirect></Response>"


@pytest.mark.full
@pytest.mark.matrix(50)
def test_a_reload_hands_every_call_over(tmp_path: Path, record_property: Told) -> None:
    with Running(tmp_path, workers=2) as running:
        crowd = Crowd(running, 50)
        crowd.be_busy()
        before, began = workers(running), time.monotonic()
        os.kill(running.server.pid, signal.SIGHUP)
        crowd.wait_until_moved(50, 20)
        wait_until(lambda: not any(map(is_there, before)), 20, "the workers before have gone")
        record_property("until_they_had_gone_s", round(time.monotonic() - began, 1))
        assert crowd.go_on() == []
        assert crowd.recorded(database(running)) == []
        crowd.gaps().tell(record_property)
        assert max(crowd.gaps().stream) <= 2.0
        assert "given up" not in running.log and "Traceback" not in running.log


@pytest.mark.matrix(51)
@pytest.mark.full
@pytest.mark.parametrize("size", [6, 50])
def test_calls_wait_behind_a_kept_socket(tmp_path: Path, record_property: Told, size: int) -> None:
    began = time.monotonic()
    with Running(tmp_path, workers=2, prefix=KEEPER) as running:
        start_s = time.monotonic() - began
        crowd = Crowd(running, size)
        if size == 50:
            crowd.be_busy()
        (master,) = children(running.server.pid)
        os.kill(master, signal.SIGTERM)
        crowd.wait_until_moved(size, 30)
        assert crowd.go_on() == []
        assert crowd.recorded(database(running)) == []
        crowd.gaps().tell(record_property)
        record_property("start_of_a_server_s", round(start_s, 1))
        # On a machine on which a server starts within a second, two.
        assert max(crowd.gaps().stream) <= max(2.0, 1.0 + start_s)
        assert "given up" not in running.log and "Traceback" not in running.log


@pytest.mark.full
@pytest.mark.matrix(52)
def test_without_a_kept_socket_the_fallback_waits_for_the_server(tmp_path: Path, record_property: Told) -> None:
    with Running(tmp_path, workers=2) as running:
        crowd = Crowd(running, 50, setup=CallSetup(fallback_twiml=BIN))
        crowd.be_busy()
        late = running.phone(from_number="+15550009999", setup=CallSetup(fallback_twiml=BIN))
        ringing = gevent.spawn(_ring_when_nobody_answers, crowd, late)
        running.server.restart()
        crowd.wait_until_moved(50, 30)
        ringing.get()
        late.wait_until_heard(GREETING)
        late.hang_up()
        assert crowd.go_on() == []
        assert crowd.recorded(database(running)) == []
        crowd.gaps().tell(record_property)
        assert all(any("/twilio/resume" in text for _, text in phone.errors) for phone in crowd.phones), "was not gone"
        assert "given up" not in running.log and "Traceback" not in running.log


def _ring_when_nobody_answers(crowd: Crowd, late: Phone) -> None:
    errors = lambda: " ".join(error.text for phone in crowd.phones for error in phone.errors)  # noqa: E731
    wait_until(lambda: "/twilio/resume" in errors(), 20, "nobody answers")
    late.dial()
    late.wait_for("error")


@pytest.mark.full
@pytest.mark.matrix(54)
@pytest.mark.parametrize("patience_s", [2.0, 30.0])
def test_what_was_over_before_the_last_signal_is_on_disk(
    tmp_path: Path, record_property: Told, patience_s: float
) -> None:
    """SIGTERM, and SIGKILL so much later, while every agent talks on and on."""
    with Running(tmp_path, workers=2) as running:
        crowd = Crowd(running, 12)
        running.sandbox.xai.answer = lambda messages: Answer("And so on and so forth, for ever and ever. " * 20)
        crowd.all_listen("wants a long answer")
        master, began = running.server.pid, time.monotonic()
        all_of_it = [master, *workers(running)]
        os.kill(master, signal.SIGTERM)
        deadline = began + patience_s
        while time.monotonic() < deadline and any(map(is_there, all_of_it)):
            time.sleep(0.05)
        record_property("gone_after_s", round(time.monotonic() - began, 1))
        killed = [pid for pid in all_of_it if is_there(pid)]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert bool(killed) == (patience_s < 5)
        records = Records(database(running))
        records.start()
        kept = [records.call(phone.call_sid) for phone in crowd.phones]
        records.stop(1)
        for number, call in enumerate(kept):
            assert call and f"Caller {number:04} is here" in " ".join(turn.caller for turn in call.turns)
            if not killed:
                assert call.reason == "drained-late" and "wants a long answer" in call.turns[-1].caller
