"""The demo but for its call, which takes a minute: what the receptionist does, what is printed, what is a fault."""

import json
from pathlib import Path
from typing import Any

import pytest

from voice.core.summary import request_of
from voice.core.transcript import Past
from voice.sandbox.call_tail import CallTail, Line
from voice.sandbox.demo_account import Account
from voice.sandbox.demo_caller import PATIENT_NUMBER
from voice.sandbox.demo_faults import faults
from voice.sandbox.demo_record import told
from voice.sandbox.demo_report import report
from voice.sandbox.demo_script import Message, ToolCall, receptionist
from voice.sandbox.journal import Notice

RECORDED = Path(__file__).parents[1] / "calls" / "demo_call_with_barge_in.jsonl"
HUMAN = "+15555550123"
TEXT = {"To": "+15550001111", "Body": "Riverside Clinic: 12 Mill Lane."}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def agent(text: str) -> Message:
    return {"role": "assistant", "content": text}


def recorded() -> list[Line]:
    return [json.loads(text) for text in RECORDED.read_text().splitlines()]


# The receptionist


def test_the_receptionist_books_the_day_when_the_patient_number_was_keyed_in() -> None:
    asked = receptionist([user("Tuesday please.")])
    assert asked.tool_calls == (ToolCall("ask_for_digits", {"name": "patient_number"}),)
    keyed = user("[keypad patient_number] 4 digits, kept secret: {{patient_number}} stands for them")
    booked = receptionist([user("Tuesday please."), agent(asked.text), keyed])
    assert "booked you for Tuesday" in booked.text and booked.tool_calls == ()
    assert receptionist([keyed]).text == "Thank you. Is there anything else?"


def test_the_receptionist_remembers_the_appointment() -> None:
    history = [user("Monday please."), agent("I have booked you for Monday at ten in the morning.")]
    assert "on Monday at ten" in receptionist([*history, user("When is my appointment?")]).text
    [transfer] = receptionist([*history, user("Can I speak to a human being?")]).tool_calls
    assert isinstance(transfer.arguments, dict)
    assert transfer.arguments["to"] == "front_desk" and "Monday" in str(transfer.arguments["summary"])


@pytest.mark.parametrize(
    ("question", "answer"), [("Are you open on Monday?", "nine in the morning"), ("And on Sunday?", "closed")]
)
def test_a_question_with_a_day_in_it_is_no_booking(question: str, answer: str) -> None:
    answered = receptionist([user(question)])
    assert answer in answered.text and answered.tool_calls == ()


def test_the_receptionist_says_what_came_of_a_tool() -> None:
    sms = receptionist([user("Please text me the address.")])
    assert sms.text and [call.name for call in sms.tool_calls] == ["send_sms"]
    assert receptionist([{"role": "tool", "tool_call_id": "c", "content": '{"sent":true}'}]).text.startswith(
        "It is done"
    )
    failed = {"role": "tool", "tool_call_id": "c", "content": '{"error":"no number"}'}
    assert "did not work" in receptionist([failed]).text


def test_the_language_model_of_the_demo_finds_what_came_of_the_call() -> None:
    entries = Past.read([line["past"] for line in recorded() if "past" in line][-1]).entries
    messages, schema = request_of(entries, {"appointment_day": {"type": "string"}, "other": {"type": "string"}}, True)
    found = report(messages, schema)
    assert (found["appointment_day"], found["other"]) == ("Tuesday", None)
    for words in ("opening hours", "an appointment for Tuesday", "texted the address", "asked for a human"):
        assert words in found["summary"]
    nothing = report([user("")], schema)
    assert (nothing["summary"], nothing["appointment_day"]) == ("The caller wanted nothing in particular.", None)


# What is printed


@pytest.fixture
def account(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The printed lines of the recorded call, without their clock."""
    account = Account([TEXT], lambda: [HUMAN])
    tail = CallTail(RECORDED, account.tell)
    tail.read()
    tail.close()
    return [line[10:] for line in capsys.readouterr().out.splitlines()]


def test_the_account_tells_what_was_said_done_and_pressed(account: list[str]) -> None:
    told = [line for line in account if not line.startswith(" ")]
    begun = [
        "agent   Riverside Clinic, good day.",
        "caller  What are your opening hours?",
        "agent   We are open",
        "caller  Where are you located?",
        "agent   The Riverside Clinic is at",
        "caller  I would like to book",
        "agent   Of course. Which day",
        "caller  Tuesday please.",
        'tool    ask_for_digits {"name":"patient_number"}',
        "agent   Tuesday at ten",
        "keypad  ••••  told to the model and the logs: [keypad patient_number] 4 digits, kept secret",
        "agent   Thank you. I have booked you for Tuesday",
        "caller  Please text me the address.",
        'tool    send_sms {"text":"Riverside Clinic:',
        "twilio  text message to +15550001111: Riverside Clinic: 12 Mill Lane.",
        "agent   Of course. It is done.",
        "caller  Can I speak to a human being?",
        'tool    transfer_call {"to":"front_desk"',
        "agent   One moment, please.",
        "call    put through to front_desk",
        f"twilio  {HUMAN} does not answer",
        "agent   I'm sorry, nobody is picking up",
        "caller  When is my appointment?",
        "agent   Your appointment is on Tuesday",
        "caller  Goodbye.",
        "tool    hang_up {}",
        "agent   Thank you for calling",
        "call    completed: agent-hung-up",
    ]
    assert [line[: len(beginning)] for line, beginning in zip(told, begun, strict=True)] == begun
    assert told[13].endswith('-> {"sent":true}') and told[4].endswith("-- interrupted")
    assert PATIENT_NUMBER not in "".join(account)


def test_the_account_has_the_latencies_of_every_answer(account: list[str]) -> None:
    latencies = [line.strip() for line in account if line.startswith(" ")]
    assert [line.split(" 0 ->")[0] for line in latencies] == ["speech end"] * 4 + ["last key"] + ["speech end"] * 4
    assert all(line.endswith(" ms") and "-> heard " in line for line in latencies)
    assert all("-> decided 600 ->" in line for line in latencies if line.startswith("speech"))


def test_the_lines_of_the_record() -> None:
    times = {"heard": 12.5, "speech_end": 10.5}
    record: dict[str, Any] = {
        "result": "completed",
        "reason": "agent-hung-up",
        "resumes": 1,
        "turns": [
            {"caller": "", "times": {"heard": 0.2, "speech_end": None}},
            {"caller": "Hello", "times": times},
            {"caller": "[keypad] 4 2", "times": {"heard": 20.1, "speech_end": 20.0}},
        ],
        "summary": "A call.",
        "fields": {"appointment_day": "Tuesday"},
        "cost_usd": 0.0123,
        "cost": {"telephone": 0.0, "transcriber": 0.0123, "total": 0.0123},
        "usage": {"unpriced": ["telephone sms"]},
    }
    assert list(told(record)) == [
        ("record", "completed, agent-hung-up; 3 turns on 2 streams"),
        ("summary", "A call."),
        ("fields", "appointment_day: Tuesday"),
        ("latency", "the agent is heard 2.0 s after the caller's last sound (median of 1 turns)"),
        (
            "cost",
            "0.0123 US dollars at the vendors' prices (transcriber 0.0123); "
            "config/prices.toml has no price for telephone sms",
        ),
    ]
    nothing = record | {"summary": None, "fields": None, "turns": []}
    assert [name for name, _ in told(nothing)] == ["record", "cost"]


# Faults


def test_a_good_call_has_no_fault() -> None:
    assert faults(recorded(), [], texted=1, dialed=1, scripted=True) == []


def test_what_the_script_would_not_do_is_a_fault_of_a_scripted_call_only() -> None:
    lines = [line for line in recorded() if line.get("name") != "send_sms"]
    assert faults(lines, [], texted=0, dialed=0, scripted=False) == []
    tools, texts, humans = faults(lines, [], texted=0, dialed=0, scripted=True)
    assert tools.startswith("the tools were ['ask_for_digits', 'transfer_call', 'hang_up']")
    assert (texts, humans) == ("0 text messages were sent, not one", "0 humans were dialed, not one")


def test_a_call_that_went_badly_has_faults_whoever_decides() -> None:
    lines = [line for line in recorded() if line.get("reason") != "agent-hung-up"]
    warned, end = faults(lines, [Notice(31951, "no JSON")], texted=1, dialed=1, scripted=False)
    assert "31951" in warned and "transferred" in end
