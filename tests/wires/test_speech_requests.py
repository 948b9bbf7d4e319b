"""The synthesizer's last resort against the stand-in: sentences by requests, in order, and none that was given up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wires.peers import Reader
from voice.core import events as ev
from voice.errors import VendorRefused, VendorUnavailable
from voice.sandbox import faults
from voice.sandbox.stand_ins import Sandbox
from voice.wires.clips import Clips, Voice
from voice.wires.speech_requests import SpeechRequests

VOICE = Voice("plainVoice", "en")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def requests_to(sandbox: Sandbox, folder: Path, key: str = "") -> SpeechRequests:
    env = sandbox.environment()
    clips = Clips(env["ELEVENLABS_BASE_URL"], key or env["ELEVENLABS_API_KEY"], "eleven_flash_v2_5", folder)
    return SpeechRequests(clips, VOICE)


def test_each_sentence_is_sound_of_its_own_in_the_order_of_asking(sandbox: Sandbox, tmp_path: Path) -> None:
    speech = requests_to(sandbox, tmp_path)
    reader = Reader(speech.events())
    assert reader.next() == ev.SynthesizerReady()
    speech.speak(3, "We are open.")
    speech.speak(3, "Come in.")
    first, second = reader.take(2)
    assert isinstance(first, ev.SpeechArrived) and isinstance(second, ev.SpeechArrived)
    # The space behind each: what was said is the sentences with one between them.
    assert (first.turn, first.alignment.chars + second.alignment.chars) == (3, "We are open. Come in. ")
    assert first.audio.ms > second.audio.ms > 100
    speech.close(3)
    assert reader.next() == ev.SpeechFinished(3)
    assert list(tmp_path.iterdir()) == [], "nothing of it is kept"


def test_what_was_given_up_is_not_asked_for_and_the_same_turn_may_speak_again(sandbox: Sandbox, tmp_path: Path) -> None:
    speech = requests_to(sandbox, tmp_path)
    speech.speak(3, "This is not wanted any more.")
    speech.close(3)
    speech.speak(3, "But this is.")
    reader = Reader(speech.events())
    events = reader.take(3)
    assert events[:2] == [ev.SynthesizerReady(), ev.SpeechFinished(3)]
    assert isinstance(events[2], ev.SpeechArrived) and events[2].alignment.chars == "But this is. "


def test_a_service_that_is_busy_once_is_asked_once_more(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.elevenlabs.faults.append(faults.AnswerStatus(503))
    speech = requests_to(sandbox, tmp_path)
    speech.speak(1, "Hello.")
    assert isinstance(Reader(speech.events()).take(2)[1], ev.SpeechArrived)


def test_twice_is_unavailable(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.elevenlabs.faults += [faults.AnswerStatus(503)] * 2
    speech = requests_to(sandbox, tmp_path)
    speech.speak(1, "Hello.")
    with pytest.raises(VendorUnavailable, match="503"):
        Reader(speech.events()).take(2)


def test_a_key_that_is_refused_is_the_accounts(sandbox: Sandbox, tmp_path: Path) -> None:
    speech = requests_to(sandbox, tmp_path, key="wrong")
    speech.speak(1, "Hello.")
    with pytest.raises(VendorRefused) as refused:
        Reader(speech.events()).take(2)
    assert refused.value.account


def test_shutdown_ends_the_reader(sandbox: Sandbox, tmp_path: Path) -> None:
    speech = requests_to(sandbox, tmp_path)
    events = speech.events()
    assert next(events) == ev.SynthesizerReady()
    speech.shutdown()
    assert list(events) == []
