"""Rows 24 to 31: the synthesizer goes, stalls or talks rubbish, and the caller hears each word, once, and no noise."""

import time

import gevent
import orjson
import pytest

from tests.chaos.harness import APOLOGY, SILENCE_MS, Row, Victim
from tests.chaos.seen import compared
from tests.running import wait_until
from voice.sandbox import faults
from voice.sandbox.chaos_faults import Corrupt, Cut, Reset, Stall
from voice.sandbox.coded_speech import MS_PER_CHARACTER
from voice.sandbox.delays import Delays
from voice.sandbox.demo_script import Answer
from voice.sandbox.elevenlabs_context import Context

_STORY = "Once upon a time there was a little house beside the river and in it lived an old man with his cat."
_SENTENCE = "Once upon a time there was a little house."


def _context(row: Row, words: str) -> Context:
    """The first that was told these words."""
    sockets = row.vendors.elevenlabs.sockets

    def found() -> list[Context]:
        return [context for socket in sockets for context in socket.contexts if words in context.text]

    wait_until(lambda: bool(found()), 5, f"{words!r} is at the synthesizer")
    return found()[0]


def _answer(victim: Victim) -> str:
    """What was heard behind the greeting."""
    return victim.heard_text.partition("Hello there.")[2]


def _gap_s(victim: Victim, words: str) -> float:
    """The longest silence from the beginning of these words to the last sound."""
    return victim.silence(victim.heard_at(words), victim.began + victim.agent_spans_ms[-1][1] / 1000)


@pytest.mark.matrix(24)
def test_a_first_sound_that_does_not_come_is_asked_for_again(row: Row) -> None:
    victim = row.greeted()
    row.vendors.elevenlabs.faults.append(faults.StallFirstAudio(3))
    victim.ask("Where are you")
    ready = _context(row, "Where are you").first_text_at
    assert ready is not None
    victim.wait_until_heard("You said: Where are you")
    sound_s = victim.heard_at("You said") - ready
    row.tell("sound_after_s", round(sound_s, 2))
    assert 0.5 <= sound_s <= 2.5
    victim.wait_until_silent(1000)
    assert _answer(victim).split() == "You said: Where are you".split(), "a word was heard twice"


@pytest.mark.full
@pytest.mark.matrix(25)
def test_a_voice_that_stalls_in_mid_sentence_goes_on_with_the_word_that_is_missing(row: Row) -> None:
    row.vendors.elevenlabs.delays = Delays(audio_speed=1.3)
    victim = row.greeted()
    row.vendors.xai.answer = lambda messages: Answer(_STORY)
    victim.ask("Tell me a story")
    victim.wait_until_heard("there was a")
    row.chaos.elevenlabs.spoil(Stall())
    stalled = time.monotonic()
    victim.wait_for(lambda: time.monotonic() > stalled + 3)
    row.chaos.elevenlabs.heal()
    victim.wait_until_heard("with his cat.", timeout=20)
    words, gap_s = compared(_answer(victim), _STORY), _gap_s(victim, "Once upon")
    row.tell("gap_s", round(gap_s, 2))
    row.tell("words_lost", words.missing)
    row.tell("words_twice", words.twice)
    # The word that the stall cuts in two is heard again whole.
    assert gap_s <= 1.5 and words.missing == 0 and words.twice <= 1


@pytest.mark.matrix(26)
@pytest.mark.parametrize("end", ["close 1008", pytest.param("reset", marks=pytest.mark.full)])
def test_a_voice_that_breaks_off_in_a_turn_is_replaced(row: Row, end: str) -> None:
    victim = row.greeted()
    row.vendors.elevenlabs.faults.append(faults.CloseMidContext() if end == "close 1008" else faults.DropMidContext())
    row.vendors.xai.answer = lambda messages: Answer(_SENTENCE)
    victim.ask("Tell me a story")
    victim.wait_until_heard("little house")
    victim.wait_until_silent(600)
    words, gap_s = compared(_answer(victim), _SENTENCE), _gap_s(victim, "Once")
    row.tell("gap_s", round(gap_s, 2))
    row.tell("words_lost", words.missing)
    row.tell("words_twice", words.twice)
    assert gap_s <= 1.0 and words.missing == 0 and words.twice <= 1
    assert len(row.vendors.elevenlabs.sockets) == 2


@pytest.mark.full
@pytest.mark.matrix(27)
def test_a_voice_that_has_too_much_to_do_is_replaced(row: Row) -> None:
    victim = row.greeted()
    busy = faults.RefuseUpgrade(429, b'{"detail":{"status":"too_many_concurrent_requests"}}')
    row.vendors.elevenlabs.faults += [busy] * 20
    row.chaos.elevenlabs.spoil(Cut())
    decided = victim.ask("Where are you") + SILENCE_MS / 1000
    words_s = victim.sound_after(decided)
    row.tell("words_after_s", round(words_s, 2))
    assert words_s <= 3.0
    victim.wait_until_heard("You said: Where are you")


@pytest.mark.full
@pytest.mark.matrix(28)
def test_an_end_without_a_sound_is_no_end(row: Row) -> None:
    victim = row.greeted()
    row.vendors.elevenlabs.faults.append(faults.FinalWithoutAudio())
    victim.ask("Where are you")
    ready = _context(row, "Where are you").first_text_at
    assert ready is not None
    victim.wait_until_heard("You said: Where are you")
    sound_s = victim.heard_at("You said") - ready
    row.tell("sound_after_s", round(sound_s, 2))
    assert sound_s <= 2.0
    victim.wait_until_silent(1000)
    assert _answer(victim).split() == "You said: Where are you".split()


@pytest.mark.full
@pytest.mark.matrix(28)
def test_a_socket_that_never_makes_a_sound_is_left_for_requests(row: Row) -> None:
    victim = row.greeted()
    row.vendors.elevenlabs.faults += [faults.NoAudio()] * 20
    victim.ask("Where are you")
    ready = _context(row, "Where are you").first_text_at
    assert ready is not None
    victim.wait_until_heard("You said: Where are you", timeout=15)
    sound_s = victim.heard_at("You said") - ready
    row.tell("sound_by_requests_after_s", round(sound_s, 2))
    assert sound_s <= 6.0
    victim.wait_until_silent(1000)
    assert _answer(victim).split() == "You said: Where are you".split()


_ERROR = orjson.dumps({"detail": {"status": "quota_exceeded", "message": "This request exceeds your quota."}})


@pytest.mark.full
@pytest.mark.matrix(29)
@pytest.mark.parametrize(
    "fault",
    [
        faults.GarbageAudio(),
        faults.AudioForDeadContext(),
        faults.BeforeAudio('{"audio": %s, "contextId": "turn-2"}' % orjson.dumps(_ERROR.decode()).decode()),
        faults.BeforeAudio('{"audio": {"detail": "quota_exceeded"}, "contextId": "turn-2"}'),
        faults.BeforeAudio('{"audio": 42, "context_id": "turn-2", "isFinal": null}'),
        faults.BeforeAudio("no JSON at all"),
        # Its sixteen letters would pass for base64 with a reader that overlooks what is none.
        faults.BeforeAudio('{"audio": "Quota exceeded, now!", "contextId": "turn-2"}'),
    ],
    ids=["not base64", "dead context", "JSON text", "an object", "a number", "no JSON", "words"],
)
def test_what_is_no_sound_is_not_played(row: Row, fault: object) -> None:
    victim = row.greeted()
    row.vendors.elevenlabs.faults.append(fault)
    before = _played_bytes(victim)
    victim.ask("Where are you")
    victim.wait_until_heard("You said: Where are you")
    victim.wait_until_silent(1000)
    spoken = sum(c.audio_ms for s in row.vendors.elevenlabs.sockets for c in s.contexts if "Where" in c.text) * 8
    noise = _played_bytes(victim) - before - spoken
    row.tell("noise_samples", int(noise))
    assert victim.warnings == []
    assert noise == 0 and _answer(victim).split() == "You said: Where are you".split()


@pytest.mark.full
@pytest.mark.matrix(29)
def test_a_byte_that_is_turned_over_on_the_way_is_not_heard_as_noise(row: Row) -> None:
    """It costs the message that it stands in, which is a third of a second of sound."""
    victim = row.greeted()
    row.vendors.xai.answer = lambda messages: Answer(_SENTENCE)
    row.chaos.elevenlabs.spoil(Corrupt(after=200))
    before = _played_bytes(victim)
    victim.ask("Tell me a story")
    victim.wait_until_heard("little house", timeout=15)
    victim.wait_until_silent(1000)
    words = compared(_answer(victim), _SENTENCE)
    row.tell("words_lost", words.missing)
    told = sum(len(utterance.text) for utterance in victim.heard) * MS_PER_CHARACTER * 8
    assert _played_bytes(victim) - before <= told and words.missing <= 2 and words.twice <= 1


def _played_bytes(victim: Victim) -> int:
    return sum(int(str(entry.detail)) for entry in victim.journal.all("media"))


@pytest.mark.full
@pytest.mark.matrix(30)
def test_two_minutes_of_sound_at_once_are_handed_on_as_they_are_heard(row: Row) -> None:
    row.vendors.elevenlabs.delays = Delays(audio_speed=0)
    victim = row.greeted()
    row.vendors.xai.answer = lambda messages: Answer("Everything stands in this very long sentence. " * 44)
    victim.ask("Tell me everything")
    victim.wait_until_heard("Everything stands")
    began, ahead = time.monotonic(), 0.0
    while time.monotonic() < began + 6:
        gevent.sleep(0.02)
        ahead = max(ahead, victim.began + victim.agent_spans_ms[-1][1] / 1000 - time.monotonic())
    sent_s = sum(c.audio_ms for s in row.vendors.elevenlabs.sockets for c in s.contexts) / 1000
    row.tell("sound_at_once_s", round(sent_s))
    row.tell("ahead_at_most_s", round(ahead, 2))
    assert sent_s >= 110 and 0.5 <= ahead <= 2.45  # two seconds and one of the synthesizer's pieces
    row.vendors.xai.answer = lambda messages: Answer("All right.")
    victim.say_async("Stop it now please")
    victim.wait_for("clear", timeout=3)
    cleared = victim.journal.all("clear")[0].at
    victim.wait_until_heard("All right.")
    asked = row.vendors.xai.requests[-1].asked_at
    late = [entry for entry in victim.journal.all("media") if cleared < entry.at < asked]
    row.tell("frames_after_clear", len(late))
    assert late == []


@pytest.mark.full
@pytest.mark.matrix(31)
def test_without_any_vendor_the_call_ends_with_words(row: Row) -> None:
    victim = row.greeted()
    said = victim.say_async("Where are you")
    victim.wait_for(lambda: said.place > 4000)
    for proxy in (row.chaos.openai, row.chaos.xai, row.chaos.elevenlabs):
        proxy.expect(Reset())
        proxy.spoil(Reset())
    down = time.monotonic()
    victim.wait_until_over(timeout=15)
    entries = [entry.at for entry in victim.journal.all("say") if entry.detail == APOLOGY]
    words_s = (entries[0] if entries else victim.heard_at(APOLOGY)) - down
    row.tell("words_after_s", round(words_s, 2))
    row.tell("over_after_s", round(victim.journal.all("over")[0].at - down, 2))
    assert words_s <= 6
    assert victim.journal.all("over")[0].at - down <= 9
