"""Whole calls in which the agent works: transfers, keys, messages, web services, outbound calls, and what follows."""

import re
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from tests.running import wait_until
from tests.working import API_TOKEN, OUR_NUMBER, Working
from voice.cli import main
from voice.sandbox import faults
from voice.sandbox.call_plan import CallSetup
from voice.sandbox.phone import Phone

GREETING = "how can I help you?"
_PIN = "4917306285"
"""As long as no number that stands by chance in a log full of times and ids."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Working]:
    with Working(tmp_path_factory.mktemp("working")) as working:
        yield working


@pytest.fixture
def working(server: Working) -> Iterator[Working]:
    server.forget()
    yield server
    server.running.wait_until_idle()


def _greeted(working: Working, **setup: str) -> Phone:
    phone = working.running.phone(to_number=OUR_NUMBER, setup=CallSetup(**setup))
    phone.dial()
    phone.wait_until_heard(GREETING)
    phone.wait_until_silent()
    return phone


def _tool_results(working: Working) -> list[str]:
    """What the model was told by its tools, in its latest request."""
    messages = working.running.sandbox.xai.requests[-1].body["messages"]
    return [message["content"] for message in messages if message["role"] == "tool"]


# Transfers


@pytest.mark.threat(6)
def test_a_warm_transfer_tells_the_human_first(working: Working) -> None:
    phone = _greeted(working, dial_outcome="completed")
    phone.say("Put me through")
    phone.wait_until_over()
    assert phone.heard_text.endswith("One moment."), "the announcement was clipped"
    assert (phone.dialed, phone.whispered) == (["+15550002222"], ["Wants Ann."])
    wait_until(lambda: working.record(phone.call_sid)["reason"] == "transferred", 5, "the transfer is recorded")
    assert working.record(phone.call_sid)["result"] == "completed"


def test_nobody_answers_and_the_agent_goes_on_where_it_was(working: Working) -> None:
    phone = _greeted(working, dial_outcome="no-answer")
    phone.say("I am Ann")
    phone.wait_until_heard("You said: I am Ann")
    phone.wait_until_silent()
    phone.say("Give me the nurse")
    phone.wait_until_heard("Nobody is there.")
    phone.wait_until_silent()
    assert phone.dialed == ["+15550003333"] and phone.whispered == []
    phone.say("Who am I")
    phone.wait_until_heard("You said: Who am I")
    history = [m["content"] for m in working.running.sandbox.xai.requests[-1].body["messages"]]
    assert "I am Ann" in history and "I will." in history
    assert any("nobody answered" in str(content) for content in history)
    phone.say("Goodbye")
    phone.wait_until_over()
    record = working.ended(phone.call_sid)
    assert (record["result"], record["reason"], record["resumes"]) == ("completed", "agent-hung-up", 1)
    assert [turn["number"] for turn in record["turns"]] == list(range(1, len(record["turns"]) + 1))


@pytest.mark.threat(6)
def test_nobody_is_dialed_who_is_not_on_the_list(working: Working) -> None:
    phone = _greeted(working)
    phone.say("Give me the boss")
    phone.wait_until_heard("The tool says")
    assert "allowed" in _tool_results(working)[-1] and phone.dialed == []
    phone.hang_up()
    phone.wait_until_over()


def test_the_vendors_fail_and_the_human_takes_the_call(working: Working) -> None:
    # A reply that was begun before the final transcript takes one of them with it.
    working.running.sandbox.xai.faults += [faults.AnswerStatus(404)] * 3
    phone = _greeted(working, dial_outcome="completed")
    phone.say("Hello")
    phone.wait_until_over(15)
    assert phone.dialed == ["+15550002222"] and phone.heard_text.endswith("Goodbye.")
    assert working.ended(phone.call_sid)["reason"] == "language-model-failed"


def test_a_voice_without_a_sound_is_replaced_by_the_fallback_voice_and_that_by_requests(working: Working) -> None:
    phone = _greeted(working)
    # Of the answer, and of the same over a new connection.
    working.running.sandbox.elevenlabs.faults += [faults.NoAudio(), faults.NoAudio()]
    phone.say("Hello")
    phone.wait_until_heard("You said: Hello")
    sockets = ["plainVoice", "plainVoice", "otherVoice"]
    assert [socket.voice_id for socket in working.running.sandbox.elevenlabs.sockets] == sockets
    phone.wait_until_silent()
    working.running.sandbox.elevenlabs.faults += [faults.NoAudio()] * 3
    phone.say("Is it you")
    phone.wait_until_heard("You said: Is it you")
    assert "by-request" in "".join(working.running.lines_of(phone.call_sid))
    phone.wait_until_silent()
    phone.say("Still there")
    phone.wait_until_heard("You said: Still there")
    phone.hang_up()
    phone.wait_until_over()


# Keys and messages


@pytest.mark.threat(10, 11)
def test_what_is_typed_in_secret_is_seen_by_the_web_service_alone(working: Working) -> None:
    phone = _greeted(working)
    phone.say("My account please")
    phone.wait_until_heard("Please type your code.")
    phone.wait_until_silent()
    phone.press(_PIN)
    phone.wait_until_heard("twelve dollars")
    (_, headers, body), *_ = working.web.of("/accounts/7")
    assert (headers["authorization"], body) == ("Bearer the-banks-token", f'{{"pin":"{_PIN}"}}'.encode())
    phone.say("Goodbye")
    phone.wait_until_over()
    working.ended(phone.call_sid)
    folder = working.running.folder
    seen = working.running.log + (working.running.calls_dir / f"{phone.call_sid}.jsonl").read_text()
    asked = repr([request.body for request in working.running.sandbox.xai.requests])
    kept = b"".join(path.read_bytes() for path in folder.glob("voice.db*")).decode("latin-1")
    digits = re.compile(r"\W{0,3}".join(_PIN))
    for name, text in {"log": seen, "model": asked, "records": kept}.items():
        assert "kept secret" in text or name == "log", name
        assert not digits.search(text), f"the PIN is in the {name}"
        assert "the-banks-token" not in text, name
    assert working.running.replayed(phone.call_sid).differences == []


def test_a_text_message_goes_to_the_caller_and_keys_are_sounded(working: Working) -> None:
    phone = _greeted(working)
    phone.say("Text me the address")
    phone.wait_until_heard("The tool says sent")
    (message,) = working.running.sandbox.twilio.messages
    assert (message["To"], message["From"], message["Body"]) == ("+15550001111", OUR_NUMBER, "Twelve Mill Lane")
    phone.wait_until_silent()
    before = len(phone.agent_spans_ms)
    phone.say("Press one two")
    phone.wait_for(lambda: len(phone.heard) >= 3)
    tones = phone.agent_spans_ms[before]
    # Three keys of 100 ms with pauses between, and speech behind them.
    assert tones[1] - tones[0] > 400
    phone.hang_up()
    phone.wait_until_over()


@pytest.mark.parametrize(("words", "told"), [("Make coffee", "there is no tool"), ("Break it", "no JSON")])
def test_the_model_is_told_what_is_wrong_with_its_call(working: Working, words: str, told: str) -> None:
    phone = _greeted(working)
    phone.say(words)
    phone.wait_until_heard("The tool says")
    assert told in _tool_results(working)[-1]
    phone.hang_up()
    phone.wait_until_over()


# Calls that we place


def test_a_call_that_we_place_knows_whom_it_speaks_with(working: Working) -> None:
    phone = working.calls("+15550007777", first_name="Ann")
    phone.wait_until_heard("Hello Ann, how can I help you?")
    phone.wait_until_silent()
    phone.say("Who am I")
    phone.wait_until_heard("You said: Who am I")
    # The summary of another call may be asked for meanwhile; that is no stream.
    asked = [request.body for request in working.running.sandbox.xai.requests if request.body.get("stream")]
    system = asked[-1]["messages"][0]["content"]
    assert system == "You answer the phone for Ann."
    phone.say("Goodbye")
    phone.wait_until_over()
    record = working.ended(phone.call_sid)
    shown = {name: record[name] for name in ("direction", "caller", "called", "answered_by", "parameters", "result")}
    assert shown == {
        "direction": "outbound",
        "caller": "+15550007777",
        "called": OUR_NUMBER,
        "answered_by": "human",
        "parameters": {"first_name": "Ann"},
        "result": "completed",
    }
    assert record["usage"]["amd"] == 1 and record["usage"]["outbound"]


@pytest.mark.matrix(76)
def test_a_machine_gets_the_message_and_nothing_else(working: Working) -> None:
    phone = working.calls("+15550007777", answered_by="machine_end_beep", first_name="Ann")
    phone.wait_until_over(15)
    assert phone.heard_text.endswith("Hello Ann, please call us back.")
    record = working.ended(phone.call_sid)
    assert (record["answered_by"], record["reason"]) == ("machine_end_beep", "message-left")
    ends = [line for line in working.running.lines_of(phone.call_sid) if ": over, " in line]
    assert [end.split(", ")[2] for end in ends] == ["superseded", "message-left"], "nobody has hung up"


def test_a_fax_is_hung_up_on(working: Working) -> None:
    phone = working.calls("+15550007777", answered_by="fax")
    phone.wait_until_over(10)
    assert working.ended(phone.call_sid)["reason"] == "machine-answered"


@pytest.mark.parametrize("outcome", ["busy", "no-answer", "failed"])
def test_a_call_that_nobody_takes_is_recorded_as_such(working: Working, outcome: str) -> None:
    phone = working.calls("+15550007777", outcome=outcome)
    phone.wait_until_over(10)
    record = working.ended(phone.call_sid)
    assert (record["result"], record["reason"]) == (outcome, "not-answered")


def test_the_command_line_places_a_call(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", API_TOKEN)
    server = ["--server", working.running.server.url]
    placed = CliRunner().invoke(main, ["call", "+15550007777", "-p", "first_name=Ann", *server])
    assert placed.exit_code == 0 and re.fullmatch(r"CA[0-9a-f]{32}\n", placed.output), placed.output
    (call,) = [c for sid, c in working.running.sandbox.twilio.created.items() if sid == placed.output.strip()]
    assert (call.to_number, call.from_number) == ("+15550007777", OUR_NUMBER)
    wrong = CliRunner().invoke(main, ["call", "12", *server])
    assert wrong.exit_code == 1 and "invalid_number" in wrong.output


# An operator's hand in the call


def test_a_caller_whom_an_operator_has_put_through_can_still_be_hung_up_on(working: Working) -> None:
    phone = _greeted(working, dial_outcome="bridged")
    path = f"/api/calls/{phone.call_sid}"
    assert working.api("POST", f"{path}/transfer", {"to": "nurse"}).status_code == 200
    wait_until(lambda: phone.dialed == ["+15550003333"], 5, "the nurse is dialed")
    assert working.ended(phone.call_sid)["reason"] == "operator-transferred"
    assert working.api("POST", f"{path}/hangup").status_code == 200
    phone.wait_until_over()
    wait_until(lambda: working.record(phone.call_sid)["result"] == "completed", 5, "the end is recorded")


def test_an_operator_transfers_and_hangs_up(working: Working) -> None:
    phone = _greeted(working, dial_outcome="busy")
    path = f"/api/calls/{phone.call_sid}"
    assert working.api("POST", f"{path}/transfer", {"to": "+15556667777"}).json()["error"] == "unknown_target"
    assert working.api("POST", f"{path}/transfer", {"to": "desk"}).status_code == 200
    phone.wait_until_heard("Nobody is there.")
    assert phone.dialed == ["+15550002222"]
    assert working.api("GET", "/api/calls?live=true").json()["calls"][0]["call_sid"] == phone.call_sid
    assert working.api("POST", f"{path}/hangup").status_code == 200
    phone.wait_until_over()
    assert working.ended(phone.call_sid)["reason"] == "operator-hung-up"
    assert working.api("POST", f"{path}/hangup").json()["error"] == "call_is_over"


# A stream is lost


def test_a_lost_stream_is_taken_up_again(working: Working) -> None:
    phone = _greeted(working)
    phone.say("I am Ann")
    phone.wait_until_heard("You said: I am Ann")
    phone.wait_until_silent()
    phone.drop()
    phone.wait_until_heard("Sorry, again please.")
    phone.wait_until_silent()
    phone.say("Who am I")
    phone.wait_until_heard("You said: Who am I")
    history = [m["content"] for m in working.running.sandbox.xai.requests[-1].body["messages"]]
    assert "I am Ann" in history
    phone.say("Goodbye")
    phone.wait_until_over()
    assert len(phone.streams) == 2


# After the call


def test_the_record_of_a_call_is_delivered_signed_until_it_is_taken(working: Working) -> None:
    phone = _greeted(working)
    phone.say("On Monday please")
    phone.wait_until_heard("You said: On Monday please")
    phone.wait_until_silent()
    working.running.sandbox.xai.extract = lambda messages, schema: {"summary": "An appointment.", "day": "Monday"}
    phone.say("Goodbye")
    working.web.refused = phone.call_sid
    phone.wait_until_over()
    wait_until(lambda: len(working.deliveries(phone.call_sid)) == 2, 30, "it is delivered again after a failure")
    first, second = working.deliveries(phone.call_sid)
    assert first == second
    record = second[1]
    assert (record["summary"], record["fields"]) == ("An appointment.", {"day": "Monday"})
    assert [turn["caller"] for turn in record["turns"]] == ["", "On Monday please", "Goodbye"]
    assert record["usage"]["characters"]["eleven_flash_v2_5"] > 0 and record["cost_usd"] > 0
    assert record["usage"]["tokens"]["grok-4.20-non-reasoning"]["prompt"] > 0
    # And when it is wished, nothing is left of it.
    log = working.running.calls_dir / f"{phone.call_sid}.jsonl"
    assert log.exists() and working.api("DELETE", f"/api/calls/{phone.call_sid}").status_code == 204
    assert not log.exists() and working.record(phone.call_sid)["error"] == "unknown_call"


def test_what_the_agent_does_is_in_the_record_without_the_words(working: Working) -> None:
    phone = _greeted(working, dial_outcome="completed")
    phone.say("Text me the address")
    phone.wait_until_heard("The tool says sent")
    phone.wait_until_silent()
    phone.say("Put me through")
    phone.wait_until_over()
    wait_until(lambda: working.record(phone.call_sid)["reason"] == "transferred", 5, "the transfer is recorded")
    events = {event["kind"]: event["detail"] for event in working.record(phone.call_sid)["events"]}
    assert (events["tool-finished"]["tool"], events["tool-finished"]["outcome"]) == ("send_sms", "done")
    assert events["transferred"] == {"to": "desk", "reason": "transferred"}
    assert events["transfer-ended"] == {"outcome": "completed"}
    assert "Mill Lane" not in str(events)


@pytest.mark.matrix(47)
def test_streams_that_never_open_end_with_the_apology_at_the_agents_human(working: Working) -> None:
    setup = CallSetup(failing_handshakes=99, dial_outcome="no-answer")
    phone = working.running.phone(to_number=OUR_NUMBER, setup=setup)
    phone.dial()
    phone.wait_until_over(20)
    assert phone.dialed == ["+15550002222"] and phone.said == ["Sorry, something is wrong. Goodbye."] * 2


# What must not be found out, sent twice or used for something else


def test_a_pause_in_secret_typing_shows_nobody_the_rest(working: Working) -> None:
    phone = _greeted(working)
    phone.say("My account please")
    phone.wait_until_heard("Please type your code.")
    phone.wait_until_silent()
    phone.press(_PIN[:4])
    wait_until(lambda: "[keypad pin]" in str(working.running.sandbox.xai.requests[-1].body), 8, "the pause is over")
    phone.press(_PIN[4:] + "#")
    wait_until(lambda: '"digit":"#"' in _call_log(working, phone), 5, "the last key is in the log")
    phone.hang_up()
    phone.wait_until_over()
    assert not set(re.findall(r'"digit":"([0-9])"', _call_log(working, phone)))


def test_keys_stay_secret_on_the_stream_that_carries_the_call_on(working: Working) -> None:
    phone = _greeted(working)
    phone.say("My account please")
    phone.wait_until_heard("Please type your code.")
    phone.wait_until_silent()
    phone.drop()
    phone.wait_until_heard("Sorry, again please.")
    phone.press(_PIN)
    wait_until(lambda: _call_log(working, phone).count("DigitPressed") == len(_PIN), 5, "the keys are in the log")
    phone.hang_up()
    phone.wait_until_over()
    assert not set(re.findall(r'"digit":"([0-9])"', _call_log(working, phone)))


def test_a_failed_transfer_brings_no_new_text_messages(working: Working) -> None:
    phone = _greeted(working, dial_outcome="no-answer")
    for _ in range(3):
        before = len(working.running.sandbox.twilio.messages)
        phone.say("text me")
        wait_until(lambda: len(working.running.sandbox.twilio.messages) > before, 5, "the message is sent")  # noqa: B023
        phone.wait_until_silent(600)
    phone.say("Give me the nurse")
    phone.wait_until_heard("Nobody is there.")
    phone.wait_until_silent()
    phone.say("text me")
    wait_until(lambda: "text messages were sent" in str(_tool_results(working)[-1:]), 5, "the fourth is refused")
    phone.hang_up()
    phone.wait_until_over()
    assert len(working.running.sandbox.twilio.messages) == 3


def _call_log(working: Working, phone: Phone) -> str:
    return (working.running.calls_dir / f"{phone.call_sid}.jsonl").read_text()
