"""A recorded call: what was heard of both sides, played by the console, and gone when the call is deleted."""

import requests

from tests.console.conftest import Site
from tests.console.visitor import TOKEN, Visitor
from tests.running import wait_until
from tests.test_recorder import read
from voice.sandbox.coded_speech import frames


def words(mulaw: bytes) -> str:
    """Without the blanks: a clip ends without one."""
    return "".join(frame.text for frame in frames(mulaw)).replace(" ", "")


def bare(text: str) -> str:
    return text.replace(" ", "")


def test_both_sides_as_they_were_heard(site: Site, visitor: Visitor) -> None:
    phone = site.running.phone()
    phone.dial()
    phone.wait_until_heard("how can I help you?")
    phone.wait_until_silent()
    phone.say("Tell me a very long story about the sea")
    phone.wait_until_heard("You said: Tell me a very")
    phone.say("No, stop that please")
    phone.wait_until_heard("You said: No, stop that please")
    phone.wait_until_silent()
    page = f"/console/calls/{phone.call_sid}"
    assert "recording.wav" not in visitor.get(page).text, "it is not done"
    phone.hang_up()
    phone.wait_until_over()
    # Twilio may tell another worker of the end a moment before the one that records has met it.
    site.running.last_line(phone.call_sid)
    wait_until(lambda: "recording.wav" in visitor.get(page).text, 5, "the page has a player")

    (path,) = (site.running.folder / "recordings" / "7").glob(f"{phone.call_sid}.wav")
    answered = visitor.get(f"{page}/recording.wav")
    assert answered.content == path.read_bytes() and answered.headers["Content-Type"] == "audio/wav"
    left, right = read(path)
    assert words(left) == bare("Tell me a very long story about the seaNo, stop that please")
    assert words(right).startswith(bare("Hello, how can I help you? You said: Tell me a v"))
    assert words(right).endswith(bare("You said: No, stop that please")) and "thesea" not in words(right)
    assert abs(len(words(right)) - len(bare(phone.heard_text))) <= 10

    # In step: the caller's first word stands where the record says that the turn began.
    part = visitor.get(f"{page}/recording.wav", headers={"Range": "bytes=58-157"})
    assert part.status_code == 206 and part.content == path.read_bytes()[58:158]
    spoke_at = next(frame.offset for frame in frames(left)) / 8000
    told = site.records.call(phone.call_sid)
    assert told is not None
    end = next(turn.times["speech_end"] for turn in told.turns if turn.times["speech_end"]) or 0.0
    said_s = len("Tell me a very long story about the sea") * 0.06
    assert abs(end - told.started_at - said_s - spoke_at) < 0.5

    requests.delete(f"{site.url}/api/calls/{phone.call_sid}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5)
    assert not path.exists() and visitor.get(f"{page}/recording.wav").status_code == 404
