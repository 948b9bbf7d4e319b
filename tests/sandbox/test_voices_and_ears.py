"""The voices, and the ears that must understand espeak over the telephone."""

import math
import time
from array import array
from collections.abc import Iterator

import gevent
import pytest

from tests.sandbox.clients import Synthesis, Transcription, audio_of
from voice.core.audio import FRAME_BYTES, encode, loudness
from voice.sandbox.coded_speech import frames, text_of
from voice.sandbox.demo_script import CALLER_SENTENCES
from voice.sandbox.ears import Ears
from voice.sandbox.stand_ins import Sandbox
from voice.sandbox.voices import Coded, Espeak, Speech

SILENCE = b"\xff" * 2400


@pytest.fixture(scope="module")
def ears() -> Ears:
    return Ears(CALLER_SENTENCES)


def spoken_at(speech: Speech, ms: int) -> str:
    return "".join(char for char, start in zip(speech.chars, speech.starts_ms, strict=True) if start < ms)


# Voices


def test_the_coded_voice_is_exact() -> None:
    text = "We open at nine, Zoë."
    speech = Coded(tag=9).synthesize(text)
    assert text_of(speech.mulaw) == text == "".join(speech.chars)
    assert {frame.tag for frame in frames(speech.mulaw)} == {9}
    assert speech.ms == 60 * len(text)
    for ms in (0, 60, 300, 600):
        assert text_of(speech.mulaw[: ms * 8]) == spoken_at(speech, ms).strip()


@pytest.mark.parametrize("text", ["We are open Monday to Friday, from nine until six.", "Yes.", "Grüße, Zoë!", ""])
def test_espeak_lays_every_character_on_the_line(text: str) -> None:
    speech = Espeak().synthesize(text)
    assert "".join(speech.chars) == text
    assert len(speech.mulaw) % FRAME_BYTES == 0
    assert speech.starts_ms == sorted(speech.starts_ms)
    ends = [start + length for start, length in zip(speech.starts_ms, speech.durations_ms, strict=True)]
    assert ends[:-1] == speech.starts_ms[1:] and ends[-1:] == [speech.ms][: len(text)]
    assert min(speech.durations_ms, default=0) >= 0


@pytest.mark.parametrize(
    ("text", "word"), [("Stop. Go.", 6), ("1,234 people! Go.", 14), ("Oh! Oh! Oh! Understood.", 12)]
)
def test_espeak_tells_where_a_word_begins(text: str, word: int) -> None:
    speech = Espeak().synthesize(text)
    begins = speech.starts_ms[word]
    before = speech.mulaw[(begins - 100) * 8 : (begins - 20) * 8]
    after = speech.mulaw[(begins + 20) * 8 : (begins + 150) * 8]
    assert loudness(before) < 50 < 500 < loudness(after), "the pause lies before the word and the sound after it"


def test_espeak_has_more_than_one_voice_and_says_when_it_has_not() -> None:
    her, him = Espeak("en-us+f3").synthesize("Hello."), Espeak().synthesize("Hello.")
    assert her.mulaw != him.mulaw == Espeak().synthesize("Hello.").mulaw
    with pytest.raises(RuntimeError, match="no voice"):
        Espeak("martian").synthesize("Hello.")


# Ears


@pytest.mark.parametrize("voice", ["en-us", "en-us+f3"])
@pytest.mark.parametrize("sentence", CALLER_SENTENCES)
def test_the_ears_understand_every_sentence_of_the_demo(ears: Ears, voice: str, sentence: str) -> None:
    assert ears.transcribe(SILENCE + Espeak(voice).synthesize(sentence).mulaw + SILENCE) == sentence


@pytest.mark.parametrize("said", ["No thank you. Goodbye.", "Hello. What are your opening hours?"])
def test_the_ears_understand_two_sentences_in_a_row(ears: Ears, said: str) -> None:
    assert ears.transcribe(Espeak("en-us+f3").synthesize(said).mulaw) == said


def test_the_ears_say_the_same_of_the_same_sound_whatever_they_heard_before(ears: Ears) -> None:
    sound = Espeak("en-us+f3").synthesize("Goodbye.").mulaw
    for other in ("What is your address?", "Yes please."):
        ears.transcribe(Espeak().synthesize(other).mulaw)
        assert ears.transcribe(sound) == "Goodbye."


@pytest.mark.parametrize(
    "sound",
    [
        b"",
        SILENCE,
        b"\xff" * 100,
        encode(array("h", [int(8000 * math.sin(n / 3)) for n in range(8000)]).tobytes()),
        b"\x80" * 161,
    ],
)
def test_the_ears_hear_no_words_where_there_are_none(ears: Ears, sound: bytes) -> None:
    assert ears.transcribe(sound) == ""


def test_the_ears_refuse_a_word_they_cannot_know() -> None:
    with pytest.raises(ValueError):
        Ears(["Frumious bandersnatches galumph"])


# In the stand-ins


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speech="espeak") as running:
        yield running


@pytest.mark.parametrize("model", ["gpt-live-transcribe", "gpt-4o-transcribe"])
def test_the_transcriber_understands_spoken_audio(sandbox: Sandbox, model: str) -> None:
    client = Transcription(sandbox)
    client.configure(model)
    for sentence in ("What are your opening hours?", "Goodbye."):
        client.append(SILENCE + Espeak("en-us+f3").synthesize(sentence).mulaw + SILENCE)
        client.commit()
        final = client.completed()
        assert final["transcript"] == sentence == client.told(final["item_id"])


def test_the_synthesizer_speaks_aloud_and_is_understood(sandbox: Sandbox, ears: Ears) -> None:
    client = Synthesis(sandbox)
    client.send(text="Thank you very much. ", context_id="t1", flush=True)
    client.receive()
    client.send(context_id="t1", close_context=True)
    messages = client.until_final("t1")
    assert ears.transcribe(audio_of(messages)) == "Thank you very much."
    assert "".join(c for m in messages if m.get("audio") for c in m["alignment"]["chars"]) == "Thank you very much. "


def test_listening_does_not_hold_up_the_others(sandbox: Sandbox) -> None:
    client = Transcription(sandbox)
    client.configure("gpt-live-transcribe")
    long = Espeak().synthesize(" ".join(CALLER_SENTENCES)).mulaw
    gaps: list[float] = []

    def watch() -> None:
        last = time.monotonic()
        while True:
            gevent.sleep(0.005)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    client.append(long, 8000)
    client.commit()
    client.until_type("input_audio_buffer.committed")
    watching = gevent.spawn(watch)
    assert client.completed()["transcript"].count(".") > 5
    watching.kill()
    assert sorted(gaps)[len(gaps) * 9 // 10] < 0.1, "recognising 20 s takes 0.5 s; nobody waits for that long"
