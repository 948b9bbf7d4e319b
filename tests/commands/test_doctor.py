"""`doctor` beside a whole deployment: server, database, a proxy with TLS, and the vendors' stand-ins.

All of it is well; each test breaks one thing, and is told of that and of nothing else that it asks for.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import create_engine, text

from tests.commands.conftest import Run
from tests.commands.front import Front, certificate
from tests.running import Running
from voice.commands.checks import outside
from voice.commands.doctor import NAMES
from voice.records.migrate import migrate
from voice.sandbox.faults import AnswerStatus, ErrorAfterUpdate
from voice.sandbox.stand_ins import Sandbox
from voice.sandbox.twilio_rest import Fault

NUMBER = "+15559990000"
BIN = "https://handler.twilio.com/twiml/EH1"
TOKEN = "a-token-that-nobody-guesses"


@dataclass
class Site:
    running: Running
    front: Front
    public_url: str
    environment: dict[str, str]

    @property
    def sandbox(self) -> Sandbox:
        return self.running.sandbox


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("doctor")
    front = Front(*certificate(folder))
    public_url = front.start()
    for name in ("calls", "recordings", "clips", "agents"):
        (folder / name).mkdir()
    (folder / "agents" / "plain.toml").write_text('greeting = "Hello."\ninstructions = "x"\nvoice = "plainVoice"\n')
    settings = {"AGENTS_DIR": str(folder / "agents"), "API_TOKEN": TOKEN, "TWILIO_PHONE_NUMBER": NUMBER}
    with Running(folder, PUBLIC_URL=public_url, **settings) as running:
        front.leads_to = running.server.url
        # Its first worker does so, too, at some moment.
        migrate(running.environment["DATABASE_URL"])
        port = running.server.url.rpartition(":")[2]
        environment = running.environment | {"REQUESTS_CA_BUNDLE": str(front.certificate), "PORT": port}
        yield Site(running, front, public_url, environment)
        log = running.log
    front.stop()
    assert "Traceback" not in log


@pytest.fixture
def site(deployment: Site) -> Site:
    """All well again."""
    deployment.running.forget()
    deployment.front.fault = ""
    twilio, speech = deployment.sandbox.twilio, deployment.sandbox.elevenlabs
    twilio.status, twilio.kind, twilio.clock_ahead_s = "active", "Full", 0.0
    twilio.faults.clear()
    twilio.numbers.clear()
    here = deployment.public_url
    twilio.numbers.add(
        NUMBER,
        voice_url=here + "/twilio/voice",
        status_callback=here + "/twilio/status",
        voice_fallback_url=BIN,
    )
    speech.missing_voices, speech.used, speech.at_once = set(), 0, 1
    return deployment


@pytest.fixture
def ask(site: Site, run: Run) -> Callable[..., Result]:
    def asked(*options: str, answer: str | None = None, **environ: str) -> Result:
        return run("doctor", *options, answer=answer, **site.environment | environ)

    return asked


Ask = Callable[..., Result]
HERE = ("--json", "open-files", "folders", "database")
VENDORS = ("--json", "transcriber", "language-model", "synthesizer")
TWILIO = ("--json", "telephone", "numbers")
OUTSIDE = ("--json", "outside", "numbers")


def _found(done: Result, *states: str) -> list[dict[str, Any]]:
    document = json.loads(done.stdout)
    assert document["ok"] is (done.exit_code == 0), done.output
    return [check for check in document["checks"] if check["state"] in (states or ("failed", "warning"))]


def _only(done: Result, state: str, what: str) -> dict[str, Any]:
    """The one thing that is wrong."""
    (check,) = _found(done)
    assert (check["state"], check["what"]) == (state, what), check
    assert done.exit_code == (1 if state == "failed" else 0) and check["todo"]
    return check


def test_a_deployment_that_is_well(site: Site, ask: Ask) -> None:
    done = ask("--json")
    assert _found(done) == [] and done.exit_code == 0
    well = {check["what"]: check["why"] for check in _found(done, "ok")}
    assert "reaches this deployment" in well["public URL"] and "403" in well["unsigned requests"]
    assert {"worker class", "time-outs", "open files", "database", "clock", "Twilio account", "WebSocket"} <= set(well)
    assert {f"number {NUMBER}", "language model, grok-4.20-non-reasoning", "voice plainVoice"} <= set(well)
    assert site.sandbox.openai.sessions and any(b"upgrade: websocket" in head.lower() for head in site.front.heads)
    assert "no call" not in site.running.log and "Traceback" not in site.running.log


def test_a_report_for_people_says_what_to_do(site: Site, ask: Ask) -> None:
    site.sandbox.twilio.kind = "Trial"
    done = ask("telephone", "open-files")
    lines = done.output.splitlines()
    assert done.exit_code == 1
    (at,) = [number for number, line in enumerate(lines) if line.startswith("FAILED")]
    assert lines[at] == "FAILED   Twilio account: is a trial account, which refuses <Stream>"
    assert lines[at + 1] == "         -> upgrade it in Twilio's console"
    assert lines[-1].endswith(" ok, 0 warnings, 1 failed")


# Settings


def test_without_keys_each_is_named_and_the_rest_is_looked_at_all_the_same(site: Site, ask: Ask) -> None:
    done = ask("--json", OPENAI_API_KEY="", XAI_API_KEY="", ELEVENLABS_API_KEY="", TWILIO_AUTH_TOKEN="", PUBLIC_URL="")
    failed = [check["what"] for check in _found(done, "failed")]
    names = ("PUBLIC_URL", "TWILIO_AUTH_TOKEN", "OPENAI_API_KEY", "XAI_API_KEY", "ELEVENLABS_API_KEY")
    assert failed == [f"setting {name}" for name in names] and done.exit_code == 1
    (left_out,) = _found(done, "warning")
    assert left_out["why"] == "gunicorn, transcriber, language-model, synthesizer, telephone, outside, numbers"
    assert "database" in [check["what"] for check in _found(done, "ok")]


def test_an_agent_that_is_faulty(site: Site, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "plain.toml").write_text('greeting = "Hello."\ninstructions = "x"\nvoise = "y"\n')
    done = ask("--json", AGENTS_DIR=str(tmp_path / "agents"))
    assert done.exit_code == 1 and {check["what"] for check in _found(done, "failed")} == {"agent"}
    assert "did you mean voice?" in done.stdout


def test_no_token_is_a_warning(ask: Ask) -> None:
    assert _only(ask(*HERE, API_TOKEN=""), "warning", "setting API_TOKEN")


# Vendors


@pytest.mark.parametrize(
    ("variable", "what", "said"),
    [
        ("OPENAI_API_KEY", "transcriber, gpt-live-transcribe", "invalid_api_key"),
        ("XAI_API_KEY", "language model, grok-4.20-non-reasoning", "40"),
    ],
)
def test_a_wrong_key(ask: Ask, variable: str, what: str, said: str) -> None:
    check = _only(ask(*VENDORS, **{variable: "wrong-key"}), "failed", what)
    assert said in check["why"] and variable in check["todo"] and "wrong-key" not in str(check)


def test_a_wrong_key_of_the_synthesizer(ask: Ask) -> None:
    found = _found(ask(*VENDORS, ELEVENLABS_API_KEY="wrong-key"))
    assert {check["state"] for check in found} == {"failed"} and len(found) > 1
    assert all("invalid_api_key" in check["why"] for check in found)


def test_a_transcriber_that_refuses_the_model_or_is_not_there(site: Site, ask: Ask) -> None:
    what = "transcriber, gpt-live-transcribe"
    site.sandbox.openai.faults.append(ErrorAfterUpdate("model_not_found"))
    assert "model_not_found" in _only(ask(*VENDORS), "failed", what)["why"]
    assert "cannot connect" in _only(ask(*VENDORS, OPENAI_REALTIME_URL="ws://127.0.0.1:9"), "failed", what)["why"]


def test_a_model_that_is_not_there_or_an_account_without_credit(site: Site, ask: Ask) -> None:
    site.sandbox.xai.faults.append(
        AnswerStatus(403, {"code": "x", "error": "Your team has used all available credits."})
    )
    assert "all available credits" in _only(ask(*VENDORS), "failed", "language model, grok-4.20-non-reasoning")["why"]
    assert _only(ask(*VENDORS, XAI_FALLBACK_MODEL="grok-99"), "failed", "language model, grok-99")


def test_a_voice_that_is_not_there(site: Site, ask: Ask) -> None:
    site.sandbox.elevenlabs.missing_voices = {"plainVoice"}
    check = _only(ask(*VENDORS), "failed", "voice plainVoice")
    assert "voice_not_found" in check["why"] and "plain" in check["todo"]


@pytest.mark.parametrize(("used", "state"), [(1_000_000, "failed"), (950_000, "warning")])
def test_characters_that_run_out(site: Site, ask: Ask, used: int, state: str) -> None:
    site.sandbox.elevenlabs.used = used
    assert "of 1,000,000 left" in _only(ask(*VENDORS), state, "synthesizer, characters")["why"]


def test_a_synthesizer_without_room(site: Site, ask: Ask) -> None:
    site.sandbox.elevenlabs.at_once = 10
    found = _found(ask(*VENDORS))
    assert {check["state"] for check in found} == {"warning"} and "10 of the 10 requests" in found[0]["why"]


# Twilio


def test_an_account_that_is_suspended_or_does_not_answer(site: Site, ask: Ask) -> None:
    site.sandbox.twilio.status = "suspended"
    assert _only(ask(*TWILIO), "failed", "Twilio account")["why"] == "is suspended"
    site.sandbox.twilio.status = "active"
    site.sandbox.twilio.faults.extend([Fault(500)] * 2)
    found = [check["what"] for check in _found(ask(*TWILIO))]
    assert found == ["Twilio account", "numbers"]


def test_a_wrong_token(ask: Ask) -> None:
    found = {check["what"]: check for check in _found(ask(*TWILIO, "outside", TWILIO_AUTH_TOKEN="wrong"))}
    assert set(found) == {"Twilio account", "numbers", "signature"}
    assert "401" in found["Twilio account"]["why"] and "PUBLIC_URL and TWILIO_AUTH_TOKEN" in found["signature"]["todo"]


@pytest.mark.parametrize(("ahead_s", "state"), [(10, "warning"), (-100, "failed")])
def test_a_clock_that_is_wrong(site: Site, ask: Ask, ahead_s: float, state: str) -> None:
    site.sandbox.twilio.clock_ahead_s = ahead_s
    assert ("behind" if ahead_s < 0 else "ahead") in _only(ask(*TWILIO), state, "clock")["why"]


def test_a_number_that_leads_elsewhere_is_pointed_here_after_asking(site: Site, ask: Ask) -> None:
    twilio = site.sandbox.twilio
    twilio.numbers.clear()
    number = twilio.numbers.add(NUMBER, voice_fallback_url=BIN)
    check = _only(ask(*TWILIO), "failed", f"number {NUMBER}")
    assert "demo.twilio.com" in check["why"] and f"number use {NUMBER}" in check["todo"]
    assert ask("--fix", "numbers", answer="n\n").exit_code == 1 and "demo.twilio.com" in number["voice_url"]
    assert _only(ask("--fix", *TWILIO), "failed", f"number {NUMBER}"), "nobody is asked, and told all the same"
    assert "demo.twilio.com" in number["voice_url"]
    done = ask("--fix", "numbers", answer="y\n")
    assert done.exit_code == 0 and f"mended: point {NUMBER} at this server" in done.output
    assert number["voice_url"] == site.public_url + "/twilio/voice" and number["voice_fallback_url"] == BIN


def test_numbers_that_are_not_all_they_should_be(site: Site, ask: Ask) -> None:
    twilio, what = site.sandbox.twilio, f"number {NUMBER}"
    (number,) = twilio.numbers.listed("", {})["incoming_phone_numbers"]
    number["voice_fallback_url"] = site.public_url + "/twilio/resume"
    assert "Twilio's error" in _only(ask(*TWILIO), "warning", what)["why"]
    number["status_callback"] = ""
    assert "status callback is (none)" in _only(ask(*TWILIO), "warning", what)["why"]
    number["trunk_sid"] = "TK1"
    assert "TK1" in _only(ask(*TWILIO), "failed", what)["why"]
    twilio.numbers.clear()
    assert "does not have it" in _only(ask(*TWILIO), "failed", what)["why"]
    twilio.numbers.add("+15550000001")
    check = _only(ask(*TWILIO, TWILIO_PHONE_NUMBER=""), "failed", "numbers")
    assert "+15550000001" in check["why"]


# The way from outside


def test_a_server_with_another_database_is_not_this_deployment(
    site: Site, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "_WRITTEN_S", 1.0)
    migrate(f"sqlite:///{tmp_path}/other.db")
    check = _only(ask(*OUTSIDE, DATABASE_URL=f"sqlite:///{tmp_path}/other.db"), "failed", "public URL")
    assert "another database" in check["why"]
    assert "another database" in _only(ask(*OUTSIDE, DATABASE_URL="sqlite:///none.db"), "failed", "public URL")["why"]
    assert not Path("none.db").exists(), "to look is not to make"


def test_a_proxy_that_leads_elsewhere(site: Site, ask: Ask) -> None:
    site.front.fault = "answers itself"
    check = _only(ask(*OUTSIDE), "failed", "public URL")
    assert "answers 404" in check["why"] and f"the server does answer at {site.running.server.url}" in check["todo"]
    assert _found(ask(*OUTSIDE, "--via", site.running.server.url)) == []


def test_a_proxy_that_changes_what_is_signed(site: Site, ask: Ask) -> None:
    site.front.fault = "changes the query"
    assert "refuses a request that is signed" in _only(ask(*OUTSIDE), "failed", "signature")["why"]


def test_a_proxy_that_lets_everybody_in(site: Site, ask: Ask) -> None:
    site.front.fault = "lets everybody in"
    assert "200 and 200" in _only(ask(*OUTSIDE), "failed", "unsigned requests")["why"]


def test_a_proxy_that_knows_no_upgrade(site: Site, ask: Ask) -> None:
    site.front.fault = "knows no upgrade"
    check = _only(ask(*OUTSIDE), "failed", "WebSocket")
    assert "to a signed handshake" in check["why"] and "deploy/nginx.conf" in check["todo"]


def test_an_address_that_nobody_knows_or_trusts(site: Site, ask: Ask) -> None:
    port = site.public_url.rpartition(":")[2]
    numbers = f"number {NUMBER}"
    for url, said in (
        ("https://nobody.invalid", "nobody knows its name"),
        ("https://localhost:9", "nobody listens there"),
        (f"https://127.0.0.1:{port}", "its certificate is not good: "),
    ):
        found = {check["what"]: check["why"] for check in _found(ask(*OUTSIDE, PUBLIC_URL=url))}
        assert set(found) == {"public URL", numbers} and said in found["public URL"], found


# The machine


def test_gunicorn_told_to_break_calls(ask: Ask) -> None:
    arguments = "-k sync --timeout 5 --graceful-timeout 10 --max-requests 100 --preload"
    done = ask("--json", "gunicorn", GUNICORN_CMD_ARGS=arguments)
    assert done.exit_code == 1
    assert [(check["state"], check["what"], check["why"].split(":")[0]) for check in _found(done)] == [
        ("failed", "worker class", "is sync"),
        ("warning", "time-outs", "timeout is 5 s"),
        ("failed", "time-outs", "graceful_timeout is 10 s"),
        ("failed", "gunicorn", "max_requests is 100"),
        ("failed", "gunicorn", "preload_app is True"),
    ]


def test_too_few_open_files(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (300, 300))
    assert "300 are enough for 17 calls" in _only(ask(*HERE), "warning", "open files")["why"]


@pytest.mark.parametrize(("free_mb", "state"), [(50, "failed"), (500, "warning")])
def test_a_disk_that_is_full(ask: Ask, monkeypatch: pytest.MonkeyPatch, free_mb: int, state: str) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free_mb * 2**20))
    found = _found(ask(*HERE))
    assert {(check["state"], check["why"].rpartition(": ")[2]) for check in found} == {
        (state, f"{free_mb} MB are left on its disk")
    }


def test_folders_are_made_when_asked_for(ask: Ask, tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "b"
    assert _only(ask(*HERE, CALL_LOG_DIR=str(wanted)), "warning", "folder CALL_LOG_DIR")
    assert not wanted.exists()
    assert _found(ask(*HERE, "--fix", CALL_LOG_DIR=str(wanted))) == [] and wanted.is_dir()
    (tmp_path / "file").touch()
    check = _only(ask(*HERE, "--fix", CALL_LOG_DIR=str(tmp_path / "file")), "failed", "folder CALL_LOG_DIR")
    assert "cannot be written to" in check["why"]


# The database


def test_a_database_without_tables_or_with_those_of_another_version(ask: Ask, tmp_path: Path, site: Site) -> None:
    def told(*options: str) -> dict[str, dict[str, Any]]:
        done = ask("--json", "database", *options, DATABASE_URL=f"sqlite:///{tmp_path}/new.db")
        return {check["what"]: check for check in _found(done)}

    assert "there is no" in told()["database"]["why"] and not (tmp_path / "new.db").exists()
    assert "database" not in told("--fix") and (tmp_path / "new.db").exists()
    engine = create_engine(f"sqlite:///{tmp_path}/new.db")
    for revision, said in (("0001", "this version wants"), ("9999", "newer version")):
        with engine.begin() as connection:
            connection.execute(text("update alembic_version set version_num = :revision"), {"revision": revision})
        assert said in told()["database"]["why"]
    engine.dispose()


def test_a_database_that_is_not_there(ask: Ask) -> None:
    found = {
        check["what"]: check
        for check in _found(ask("--json", "database", "outside", DATABASE_URL="postgresql://u:secret@127.0.0.1:9/x"))
    }
    assert set(found) == {"database", "public URL"} and "does not answer" in found["database"]["why"]
    assert "secret" not in str(found) and found["database"]["state"] == "failed"


def test_checks_that_there_are_not(ask: Ask) -> None:
    done = ask("voices")
    assert done.exit_code == 2 and "there is no check 'voices'" in done.output
    assert all(name in ask("--help").output for name in NAMES)
