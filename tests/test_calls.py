"""Whole calls over real sockets: the server under gunicorn, the phone as Twilio, the vendors' stand-ins."""

import random
import re
from array import array
from collections.abc import Iterator

import gevent
import pytest

from tests.running import Running, wait_until
from voice.core.audio import encode
from voice.sandbox import faults
from voice.sandbox.delays import Delays
from voice.sandbox.phone import Phone
from voice.sandbox.twilio_rest import Fault
from voice.wires.telephone import Telephone

GREETING = "how can I help you?"


@pytest.fixture
def phone(calls: Running) -> Iterator[Phone]:
    phone = calls.phone()
    yield phone
    if phone.state == "in-progress":
        phone.hang_up()
    assert phone.warnings == []


def _greeted(phone: Phone) -> Phone:
    phone.dial()
    phone.wait_until_heard(GREETING)
    phone.wait_until_silent()
    return phone


def _asked(calls: Running, turn: int = -1) -> list[tuple[str, str]]:
    """Role and content of what the language model was asked, without the instructions."""
    return [(m["role"], m["content"]) for m in calls.sandbox.xai.requests[turn].body["messages"][1:]]


# The whole of it


def test_greeting_three_turns_a_barge_in_and_goodbye(calls: Running, phone: Phone) -> None:
    _greeted(phone)
    phone.say("What are your hours?")
    phone.wait_until_heard("You said: What are your hours?")
    phone.wait_until_silent()
    phone.say("Tell me a very long story about the sea")
    phone.wait_until_heard("You said: Tell me a very")
    phone.say("No, stop that please")
    phone.wait_until_heard("You said: No, stop that please")
    phone.wait_until_silent()
    phone.say("Goodbye")
    phone.wait_until_over()

    heard = phone.heard_text
    assert "about the sea" not in heard, "the story went on after the barge-in"
    assert heard.endswith("Goodbye then."), "the goodbye was clipped"
    assert phone.over_reason == "ended by the REST API"
    history = _asked(calls)
    assert [role for role, _ in history] == ["assistant", "user"] * 4
    assert [words for role, words in history if role == "user"] == [
        "What are your hours?",
        "Tell me a very long story about the sea",
        "No, stop that please",
        "Goodbye",
    ]
    cut = history[4][1]
    # To the word, give or take one.
    assert cut.startswith("You said: Tell me a") and "about the sea" not in cut
    assert cut in heard, "the history holds words that were not heard"
    replayed = calls.replayed(phone.call_sid)
    assert replayed.events > 50 and replayed.differences == []


def test_the_transcriber_gets_every_byte_of_the_caller_once_and_in_order(calls: Running, phone: Phone) -> None:
    _greeted(phone)
    phone.say("Every byte counts")
    phone.wait_until_heard("Every byte counts")
    phone.hang_up()
    phone.wait_until_over()
    (session,) = calls.sandbox.openai.sessions
    wait_until(lambda: session.closed, 5, "the session is closed")
    assert len(session.audio) > 8000 * 3
    assert bytes(phone.sent).startswith(session.audio)


def test_order_on_connect(calls: Running, phone: Phone) -> None:
    """Vendors are connected while nothing is known of the call; the caller's first words are kept for them."""
    calls.sandbox.openai.faults.append(faults.NeverAnswer())
    phone.dial()
    phone.wait_until_stream()
    wait_until(lambda: len(calls.sandbox.elevenlabs.sockets) == 1, 2, "the synthesizer is connected")
    said = phone.say_async("Is anybody there")
    assert calls.sandbox.openai.sessions == [], "the transcriber is not there yet"
    said.over.wait()
    # The first handshake is given up after 3 s and tried again; then all that was said meanwhile arrives.
    phone.wait_until_heard("You said: Is anybody there", timeout=20)
    (session,) = calls.sandbox.openai.sessions
    assert bytes(phone.sent).startswith(session.audio[:16000])


# Every way to end


def test_the_caller_hangs_up(calls: Running, phone: Phone) -> None:
    _greeted(phone)
    phone.hang_up()
    phone.wait_until_over()
    calls.wait_until_idle()
    assert "over, completed, caller-hung-up" in calls.last_line(phone.call_sid)
    assert [s.closed for s in calls.sandbox.openai.sessions] == [True]
    assert not any(method == "POST" for method, *_ in calls.sandbox.twilio.requests), "nobody is there to hang up"


def test_a_hang_up_in_the_middle_of_a_reply_stops_the_vendors(calls: Running, phone: Phone) -> None:
    calls.sandbox.xai.faults.append(faults.StallAfter(3))
    _greeted(phone)
    phone.say("Think about this")
    wait_until(lambda: len(calls.sandbox.xai.requests) == 1, 5, "the model was asked")
    phone.hang_up()
    wait_until(lambda: calls.sandbox.xai.requests[0].cancelled, 5, "the request is cancelled")
    wait_until(lambda: all(s.closed for s in calls.sandbox.elevenlabs.sockets), 5, "the synthesizer is disconnected")


def test_a_stream_that_breaks_again_and_again_is_apologized_for_in_the_end(calls: Running, phone: Phone) -> None:
    _greeted(phone)
    for tries in range(1, 4):
        phone.drop()
        wait_until(lambda tries=tries: len(phone.streams) > tries and phone.line is not None, 5, "it is carried on")
    phone.drop()
    phone.wait_until_over()
    assert phone.said == ["Sorry, something is wrong. Goodbye."] and len(phone.streams) == 4
    assert "over, lost, stream-lost" in "".join(calls.lines_of(phone.call_sid))


def test_the_time_limit_ends_the_call(calls: Running) -> None:
    phone = calls.phone(to_number="+15550000003")
    phone.dial()
    phone.wait_until_over(timeout=20)
    assert "over, completed, time-limit" in calls.last_line(phone.call_sid)


def test_ended_by_rest_from_outside(calls: Running, phone: Phone) -> None:
    _greeted(phone)
    twilio = calls.sandbox.twilio
    Telephone(twilio.account_sid, twilio.auth_token, calls.sandbox.environment()["TWILIO_API_BASE_URL"]).hang_up(
        phone.call_sid
    )
    phone.wait_until_over()
    calls.wait_until_idle()


def test_a_rest_api_that_does_not_answer_does_not_keep_the_call(calls: Running, phone: Phone) -> None:
    """The stream is closed, Twilio asks /twilio/resume, and that says that the call is over."""
    calls.sandbox.twilio.faults.append(Fault(status=500))
    _greeted(phone)
    phone.say("Goodbye")
    phone.wait_until_over()
    assert phone.said == []
    assert "over, completed, agent-hung-up" in calls.last_line(phone.call_sid)


# Agents


def test_another_agent_speaks_with_its_own_voice(calls: Running) -> None:
    phone = calls.phone(to_number="+15550000004")
    _greeted(phone)
    phone.hang_up()
    phone.wait_until_over()
    assert [s.voice_id for s in calls.sandbox.elevenlabs.sockets][-1] == "otherVoice"
    assert calls.sandbox.openai.sessions[0].config["transcription"]["keywords"] == ["Riverside"]


def test_an_agent_that_cannot_be_interrupted(calls: Running) -> None:
    phone = calls.phone(to_number="+15550000002")
    phone.dial()
    phone.wait_until_heard("Hello")
    phone.say("Wait a moment")
    phone.wait_until_heard("You said: Wait a moment")
    assert GREETING in phone.heard_text
    phone.hang_up()
    phone.wait_until_over()


def test_an_agent_knows_who_calls_and_says_words_its_own_way(calls: Running) -> None:
    phone = calls.phone(to_number="+15550000005", from_number="+15550001234")
    _greeted(phone)
    assert phone.heard_text.startswith("Hello +15550001234,")
    phone.say("Tell me of the sea")
    phone.wait_until_heard("Tell me of the ocean")
    phone.hang_up()
    phone.wait_until_over()
    told = calls.sandbox.xai.requests[0].body["messages"][0]["content"]
    assert told.startswith("You answer the phone. The caller is +15550001234, today is ")
    kept = {path.name for path in (calls.folder / "clips").glob("*.ulaw")}
    nameless = calls.phone(to_number="+15550000005", from_number="anonymous")
    _greeted(nameless)
    assert nameless.heard_text.startswith("Hello unknown,")
    nameless.hang_up()
    nameless.wait_until_over()
    assert {path.name for path in (calls.folder / "clips").glob("*.ulaw")} == kept, "a caller's name is kept as sound"


# Vendors fail


def test_no_transcriber(calls: Running, phone: Phone) -> None:
    calls.sandbox.openai.faults += [faults.RefuseUpgrade(400)]
    phone.dial()
    phone.wait_until_over(timeout=20)
    assert "Sorry, something is wrong. Goodbye." in phone.heard_text
    assert "over, failed, transcriber-failed" in calls.last_line(phone.call_sid)


@pytest.mark.matrix(2)
def test_a_transcriber_that_is_not_there_at_first_hears_the_first_words(calls: Running, phone: Phone) -> None:
    calls.sandbox.openai.faults += [faults.RefuseUpgrade(503)] * 3
    _greeted(phone)
    phone.say("Here I am")
    phone.wait_until_heard("You said: Here I am")


@pytest.mark.matrix(1)
def test_a_transcriber_that_breaks_in_mid_sentence_hears_it_again_and_it_is_answered_once(
    calls: Running, phone: Phone
) -> None:
    _greeted(phone)
    calls.sandbox.openai.faults.append(faults.CloseAt("commit", 1011, "keepalive ping timeout"))
    phone.say("Tell me when you are open on Monday")
    phone.wait_until_heard("You said: Tell me when you are open on Monday")
    phone.wait_until_silent()
    calls.sandbox.openai.sessions[-1].socket.drop()
    phone.say("And on Sunday")
    phone.wait_until_heard("You said: And on Sunday")
    phone.wait_until_silent()
    heard = phone.heard_text
    assert heard.count("on Monday") == 1 and heard.count("And on Sunday") == 1 and "open on Monday You" in heard
    assert len(calls.sandbox.openai.sessions) == 3
    lines = [line for line in calls.lines_of(phone.call_sid) if "WARNING" in line]
    assert len(lines) == 2, lines
    assert all("transcriber: closed" in line or "connection is gone" in line for line in lines), lines


def test_a_synthesizer_that_makes_no_sound_is_given_the_text_again(calls: Running, phone: Phone) -> None:
    _greeted(phone)
    calls.sandbox.elevenlabs.faults.append(faults.NoAudio())
    phone.say("Can you hear me")
    phone.wait_until_heard("You said: Can you hear me")
    assert "speech late, spoken again" in "".join(calls.lines_of(phone.call_sid))


def test_an_eager_agent_speaks_before_the_final_transcript_is_there(calls: Running) -> None:
    calls.sandbox.openai.delays = Delays(final_ms=900)
    with calls.phone(to_number="+15559990009") as phone:
        phone.wait_until_heard(GREETING)
        phone.wait_until_silent()
        phone.say("What are your hours")
        phone.wait_until_heard("You said: What are your hours")
        phone.wait_until_silent()
        wait_until(lambda: "turn 2: transcript" in str(calls.lines_of(phone.call_sid)), 5, "the turn is logged")
        (line,) = [line for line in calls.lines_of(phone.call_sid) if "turn 2: transcript" in line]
        stages = {name: int(ms) for name, ms in re.findall(r"(\w+) (\d+) ms", line)}
        assert stages["first_audio"] < stages["transcript"] - 300, line


def test_a_model_that_is_silent_is_covered_by_a_filler_and_asked_again(calls: Running, phone: Phone) -> None:
    calls.sandbox.xai.faults.append(faults.NeverAnswer())
    _greeted(phone)
    phone.say("Are you there")
    phone.wait_until_heard("One moment, please. You said: Are you there")
    wait_until(lambda: calls.sandbox.xai.requests[0].cancelled, 5, "the silent request is given up")


def test_a_final_transcript_that_never_comes(calls: Running, phone: Phone) -> None:
    calls.sandbox.openai.faults.append(faults.NoFinal())
    _greeted(phone)
    phone.say("Are you there")
    phone.wait_until_heard("You said: Are you there")


def test_a_slammed_door_does_not_end_the_agents_sentence(calls: Running, phone: Phone) -> None:
    _greeted(phone)
    phone.say("Tell me of the sea and of the wind")
    phone.wait_until_heard("You said: Tell")
    phone.play(_noise())
    phone.wait_until_heard("and of the wind")
    assert len(calls.sandbox.xai.requests) == 1


def test_the_keypad_reaches_the_model(calls: Running, phone: Phone) -> None:
    _greeted(phone)
    phone.press("42#")
    phone.wait_until_heard("You said: [keypad] 4 2")


def test_the_greeting_is_synthesized_once_and_heard_at_once_from_then_on(calls: Running) -> None:
    first, second = calls.phone(to_number="+15550000003"), calls.phone(to_number="+15550000003")
    for phone in (first, second):
        _greeted(phone)
        phone.hang_up()
        phone.wait_until_over()
        wait_until(lambda: len(list((calls.folder / "clips").glob("*.ulaw"))) > 0, 5, "the clip is kept")
    start = next(e.at for e in second.events if e.kind == "start")
    media = next(e.at for e in second.events if e.kind == "media")
    assert media - start < 1, "it came from the store"
    assert [c.texts for s in calls.sandbox.elevenlabs.sockets[1:] for c in s.contexts] == []


def _noise() -> bytes:
    """A fifth of a second of a slammed door: loud, and no word in it."""
    rng = random.Random(1)
    return encode(array("h", (int(9000 * rng.uniform(-1, 1)) for _ in range(1600))).tobytes())


def test_no_synthesizer(calls: Running) -> None:
    # Its greeting has the caller's number in it: there is no clip of it.
    phone = calls.phone(to_number="+15550000005")
    calls.sandbox.elevenlabs.faults += [faults.RefuseUpgrade(503)] * 20
    calls.sandbox.elevenlabs.faults += [faults.AnswerStatus(503)] * 8
    phone.dial()
    phone.wait_until_over(timeout=20)
    assert phone.said and phone.said[0].startswith("I'm sorry"), "Twilio's own voice"
    assert "over, failed, synthesizer-failed" in calls.last_line(phone.call_sid)


def test_no_language_model(calls: Running, phone: Phone) -> None:
    body = b'{"code":"not found","error":"The model does not exist."}'
    calls.sandbox.xai.faults.append(faults.AnswerStatus(404, body))
    _greeted(phone)
    phone.say("Hello?")
    phone.wait_until_over(timeout=20)
    assert phone.heard_text.endswith("Sorry, something is wrong. Goodbye.")
    assert any("language model failed" in line and "does not exist" in line for line in calls.lines_of(phone.call_sid))


def test_a_language_model_that_fails_once_is_asked_again(calls: Running, phone: Phone) -> None:
    calls.sandbox.xai.faults.append(faults.AnswerStatus(503))
    _greeted(phone)
    phone.say("Hello?")
    phone.wait_until_heard("You said: Hello?")


def test_a_synthesizer_that_dies_in_mid_sentence_is_replaced_and_no_word_is_lost(calls: Running, phone: Phone) -> None:
    _greeted(phone)
    calls.sandbox.elevenlabs.faults.append(faults.CloseMidContext())
    phone.say("Tell me something of the sea")
    phone.wait_until_heard("of the sea")
    phone.wait_until_silent()
    assert len(calls.sandbox.elevenlabs.sockets) == 2
    heard = phone.heard_text.removeprefix("Hello, how can I help you?").split()
    assert set("You said: Tell me something of the sea".split()) <= set(heard)
    assert len(heard) <= 9, "a word cut in two may be heard twice, no more"


def test_one_calls_failure_is_not_anothers(calls: Running, phone: Phone) -> None:
    _greeted(phone)
    calls.sandbox.openai.faults += [faults.RefuseUpgrade(400)] * 2
    unlucky = [calls.phone(), calls.phone()]
    for other in unlucky:
        other.dial()
    phone.say("I am fine")
    phone.wait_until_heard("You said: I am fine")
    for other in unlucky:
        other.wait_until_over(timeout=20)


# Many at once


def test_twenty_calls_at_once_and_nothing_crosses(calls: Running) -> None:
    calls.wait_until_idle()
    before = calls.level(), calls.open_sockets()
    phones = [calls.phone(from_number=f"+1555000{n:04d}") for n in range(20)]
    stories = [gevent.spawn(_story, phone, n) for n, phone in enumerate(phones)]
    gevent.joinall(stories, raise_error=True)
    _nothing_crossed(calls, phones)
    calls.wait_until_idle()
    # Idle connections to the language model stay for the next call: one for each reply that ran at once.
    wait_until(lambda: calls.level()[3] <= before[0][3] + 1, 10, f"greenlets back to {before[0][3]}")
    wait_until(lambda: calls.open_sockets() <= before[1] + 20, 10, f"sockets back to {before[1]}")


def _story(phone: Phone, n: int) -> None:
    _greeted(phone)
    phone.say(f"This is caller {n} speaking")
    phone.wait_until_heard(f"You said: This is caller {n} speaking")
    phone.wait_until_silent()
    phone.say(f"Tell caller {n} of the sea and of the wind")
    phone.wait_until_heard(f"You said: Tell caller {n} of")
    phone.say(f"But caller {n} interrupts")
    phone.wait_until_heard(f"You said: But caller {n} interrupts")
    phone.hang_up()
    phone.wait_until_over()


def _nothing_crossed(calls: Running, phones: list[Phone]) -> None:
    sessions = calls.sandbox.openai.sessions
    assert len(sessions) == len(calls.sandbox.elevenlabs.sockets) == len(phones)
    sent = {bytes(phone.sent) for phone in phones}
    for session in sessions:
        assert sum(whole.startswith(session.audio) for whole in sent) == 1, "audio was lost, doubled, moved or mixed"
    for n, phone in enumerate(phones):
        assert phone.warnings == []
        others = [f"caller {m} " for m in range(len(phones)) if m != n]
        assert not [other for other in others if other in phone.heard_text.lower()], "another caller's words"
        mine = [r for r in calls.sandbox.xai.requests if r.headers["x-grok-conv-id"] == phone.call_sid]
        assert len(mine) == 3
        words = [m["content"].lower() for m in mine[-1].body["messages"] if m["role"] == "user"]
        assert words and all(f"caller {n} " in said for said in words), words
