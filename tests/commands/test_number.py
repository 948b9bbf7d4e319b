"""`number use`, against Twilio's stand-in."""

import json
from collections.abc import Iterator

import pytest
from click.testing import Result

from tests.commands.conftest import Run
from voice.sandbox.stand_ins import Sandbox
from voice.sandbox.twilio_rest import Fault

NUMBER = "+15559990000"
HERE = "https://voice.example.com"
BIN = "https://handler.twilio.com/twiml/EH1"
VARIABLES = ("PUBLIC_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_API_BASE_URL")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def _use(run: Run, sandbox: Sandbox, *options: str, answer: str | None = None, **environ: str) -> Result:
    """With Twilio's settings only: it needs no other key."""
    known = {name: sandbox.environment()[name] for name in VARIABLES}
    return run("number", "use", NUMBER, *options, answer=answer, **known | environ)


def _updates(sandbox: Sandbox) -> int:
    return sum(method == "POST" for method, _, _ in sandbox.twilio.requests)


def test_a_number_is_pointed_here_after_asking(run: Run, sandbox: Sandbox) -> None:
    number = sandbox.twilio.numbers.add(NUMBER, voice_method="GET", voice_application_sid="AP" + "1" * 32)
    other = dict(sandbox.twilio.numbers.add("+15559990001"))
    done = _use(run, sandbox, answer="y\n")
    assert done.exit_code == 0, done.output
    assert "GET https://demo.twilio.com/welcome/voice/" in done.output
    assert f"-> POST {HERE}/twilio/voice" in done.output and "Change it at Twilio?" in done.output
    assert (number["voice_url"], number["voice_method"]) == (f"{HERE}/twilio/voice", "POST")
    assert (number["voice_fallback_url"], number["voice_fallback_method"]) == (f"{HERE}/twilio/resume", "POST")
    assert (number["status_callback"], number["status_callback_method"]) == (f"{HERE}/twilio/status", "POST")
    assert number["voice_application_sid"] == ""
    assert sandbox.twilio.numbers.get(other["sid"], "") == other
    again = _use(run, sandbox)
    assert again.exit_code == 0 and "nothing to change" in again.output and _updates(sandbox) == 1


def test_nothing_is_changed_without_a_yes(run: Run, sandbox: Sandbox) -> None:
    before = dict(sandbox.twilio.numbers.add(NUMBER))
    assert _use(run, sandbox, answer="n\n").exit_code == 1
    assert _use(run, sandbox, answer="").exit_code == 1
    shown = _use(run, sandbox, "--json")
    document = json.loads(shown.stdout)
    assert shown.exit_code == 0 and document["changed"] is False and len(document["changes"]) == 3
    assert _updates(sandbox) == 0 and sandbox.twilio.numbers.get(before["sid"], "") == before
    assert json.loads(_use(run, sandbox, "--json", "--yes").stdout)["changed"] is True


def test_a_fallback_elsewhere_stays_and_another_can_be_named(run: Run, sandbox: Sandbox) -> None:
    number = sandbox.twilio.numbers.add(NUMBER, voice_fallback_url=BIN, voice_fallback_method="GET")
    assert _use(run, sandbox, "--yes").exit_code == 0
    assert (number["voice_fallback_url"], number["voice_fallback_method"]) == (BIN, "GET")
    assert _use(run, sandbox, "--yes", "--fallback", BIN + "2").exit_code == 0
    assert number["voice_fallback_url"] == BIN + "2"
    assert _use(run, sandbox, "--fallback", "http://x").exit_code == 2


def test_a_number_that_is_not_there_or_is_a_trunks(run: Run, sandbox: Sandbox) -> None:
    missing = _use(run, sandbox, "--yes")
    assert missing.exit_code == 1 and "does not have +15559990000; it has none at all" in missing.output
    sandbox.twilio.numbers.add(NUMBER, trunk_sid="TK1")
    trunk = _use(run, sandbox, "--yes")
    assert trunk.exit_code == 1 and "SIP trunk TK1" in trunk.output and _updates(sandbox) == 0
    assert run("number", "use", "5551234").exit_code == 2


def test_a_change_that_twilio_does_not_keep_is_told(
    run: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = sandbox.twilio.numbers.add(NUMBER)
    monkeypatch.setattr(sandbox.twilio.numbers, "update", lambda sid, path, form: number)
    done = _use(run, sandbox, "--yes")
    assert (
        done.exit_code == 1 and "tells something else when asked again: voice URL is POST https://demo" in done.output
    )


def test_what_twilio_refuses_and_what_is_not_set(run: Run, sandbox: Sandbox) -> None:
    wrong = _use(run, sandbox, TWILIO_AUTH_TOKEN="wrong")
    assert wrong.exit_code == 1 and "Twilio: 401: 'Authenticate'" in wrong.output
    sandbox.twilio.faults.append(Fault(503))
    assert "Twilio: 503" in _use(run, sandbox).output
    unset = _use(run, sandbox, PUBLIC_URL="http://localhost", TWILIO_AUTH_TOKEN="")
    assert unset.exit_code == 1 and "PUBLIC_URL has the wrong scheme" in unset.output
    assert "TWILIO_AUTH_TOKEN is missing" in unset.output and "XAI" not in unset.output
