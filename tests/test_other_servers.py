"""Whole calls on servers that were told something else: transcriber modes and formats, and what an idle call meets."""

from pathlib import Path

import pytest

from tests.running import Running


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
        assert "over, completed, idle" in running.lines_of(silent.call_sid)[-1]
        assert busy.state == "in-progress"
        assert silent.over_reason == "ended by the REST API"
        busy.hang_up()
        busy.wait_until_over()
        running.wait_until_idle()
        assert all(session.closed for session in running.sandbox.openai.sessions)
        assert all(socket.closed for socket in running.sandbox.elevenlabs.sockets)


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
