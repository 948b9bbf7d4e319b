"""Whole calls on servers that were told something else: transcriber modes and formats, and what an idle call meets."""

from pathlib import Path

import pytest
import requests

from tests.running import Running
from tests.working import OUR_NUMBER, Working
from voice.sandbox import faults
from voice.sandbox.call_plan import CallSetup


@pytest.mark.parametrize(
    ("model", "audio_format"),
    [("gpt-4o-transcribe", "pcmu"), ("gpt-4o-transcribe", "pcm24k"), ("gpt-live-transcribe", "pcm24k")],
)
def test_a_call_in_every_transcriber_mode(tmp_path: Path, model: str, audio_format: str) -> None:
    with Running(tmp_path, OPENAI_TRANSCRIPTION_MODEL=model, OPENAI_AUDIO_FORMAT=audio_format) as running:
        running.forget()
        phone = running.phone()
        phone.dial()
        phone.wait_until_heard("how can I help you?")
        phone.wait_until_silent()
        phone.say("Tell me of the sea and of the wind")
        phone.wait_until_heard("You said: Tell me")
        phone.say("Stop it now please")
        phone.wait_until_heard("You said: Stop it now please")
        phone.wait_until_silent()
        phone.say("Goodbye")
        phone.wait_until_over()
        assert "of the wind" not in phone.heard_text
        assert phone.heard_text.endswith("Goodbye then.")
        (session,) = running.sandbox.openai.sessions
        assert session.config["transcription"]["model"] == model
        assert (session.config["turn_detection"] is None) == (model == "gpt-live-transcribe")
        assert session.config["format"]["type"] == ("audio/pcm" if audio_format == "pcm24k" else "audio/pcmu")
        assert running.replayed(phone.call_sid).differences == []


def test_a_silent_call_is_ended_by_the_monitor_and_leaves_nothing(tmp_path: Path) -> None:
    with Running(tmp_path, IDLE_TIMEOUT_S="3", MONITOR_INTERVAL_S="0.5") as running:
        running.forget()
        busy, silent = running.phone(), running.phone()
        silent.dial()
        busy.dial()
        for turn in range(3):
            busy.wait_until_silent()
            busy.say(f"I go on talking, part {turn}")
        silent.wait_until_over()
        assert "over, completed, idle" in running.last_line(silent.call_sid)
        assert busy.state == "in-progress"
        assert silent.over_reason == "ended by the REST API"
        busy.hang_up()
        busy.wait_until_over()
        running.wait_until_idle()
        assert all(session.closed for session in running.sandbox.openai.sessions)
        assert all(socket.closed for socket in running.sandbox.elevenlabs.sockets)


@pytest.mark.matrix(6, 15, 27, 31)
def test_vendors_that_refuse_the_account_and_twilio_says_the_apology_and_dials(tmp_path: Path) -> None:
    """The next caller is not even connected with them; one line tells of it."""
    with Working(tmp_path) as working:
        working.running.forget()
        sandbox = working.running.sandbox
        sandbox.xai.faults += [faults.AnswerStatus(403)] * 2
        for vendor in (sandbox.elevenlabs, sandbox.openai):
            vendor.faults += [faults.RefuseUpgrade(401)] * 2
        for _ in range(2):
            phone = working.running.phone(to_number=OUR_NUMBER, setup=CallSetup(dial_outcome="no-answer"))
            phone.dial()
            phone.wait_until_over(15)
            assert phone.dialed == ["+15550002222"]
            # Once before it rings, once when nobody has answered.
            assert phone.said == ["Sorry, something is wrong. Goodbye."] * 2
            first = next(entry.at for entry in phone.events if entry.kind == "say")
            assert first - phone.began < 4
        assert phone.streams == [] and sandbox.openai.sessions == []
        assert first - phone.began < 1
        figures = requests.get(f"{working.running.server.url}/metrics", timeout=5).text
        assert 'voice_calls_refused_total{reason="vendor"} 1.0' in figures
        alarms = [line for line in working.running.lines_of("") if " ERROR " in line and "refuses our account" in line]
        assert len([line for line in alarms if "synthesizer" in line]) == 1


def test_more_calls_than_the_server_takes_are_refused_politely(tmp_path: Path) -> None:
    with Running(tmp_path, MAX_CALLS="1") as running:
        running.forget()
        first, second = running.phone(), running.phone()
        first.dial()
        first.wait_until_heard("how can I help you?")
        second.dial()
        second.wait_until_over()
        assert second.said == ["All our lines are busy at the moment. Please call again in a few minutes."]
        assert len(running.sandbox.openai.sessions) == 1, "a refused call costs nothing"
        first.say("I am still here")
        first.wait_until_heard("You said: I am still here")
        first.hang_up()
        first.wait_until_over()
