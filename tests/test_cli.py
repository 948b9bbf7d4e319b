"""Commands that need no server."""

from pathlib import Path

from click.testing import CliRunner

from voice.cli import main

GOOD = 'greeting = "Hello."\ninstructions = "Answer."\nvoice = "aVoice"\n'


def test_good_agents_are_told_with_what_they_may_do(tmp_path: Path) -> None:
    (tmp_path / "receptionist.toml").write_text('numbers = ["+15551234567"]\ntools = ["hang_up"]\n' + GOOD)
    done = CliRunner().invoke(main, ["agents", "check", str(tmp_path)], env={"DEFAULT_AGENT": ""})
    assert (done.exit_code, done.output) == (0, "receptionist: ok (+15551234567; hang_up)\n")


def test_every_fault_of_every_agent_is_told(tmp_path: Path) -> None:
    (tmp_path / "receptionist.toml").write_text(GOOD.replace("voice", "voise"))
    (tmp_path / "night.toml").write_text('tools = ["hang_pu"]\n' + GOOD)
    done = CliRunner().invoke(main, ["agents", "check", str(tmp_path)], env={"DEFAULT_AGENT": ""})
    assert done.exit_code == 1
    assert "voise" in done.output and "did you mean voice?" in done.output and "did you mean hang_up?" in done.output


def test_a_server_that_is_not_there_is_told_in_a_sentence() -> None:
    called = CliRunner().invoke(
        main, ["call", "+15551234567", "--server", "http://127.0.0.1:9"], env={"API_TOKEN": "x" * 24}
    )
    assert called.exit_code == 1 and "no server answers at http://127.0.0.1:9/api/calls" in called.output
