"""What reaches standard error: whole records, one line each, without a secret, whatever was logged."""

import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from tests.wires.loopback import LIMIT_S, Line, line
from voice.logs import configure

__all__ = ["line"]

SECRETS = ["sk-12345", "sk-12345-and-more", 'qu"ote\\d', "", "ключ"]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}"
_log = logging.getLogger("voice.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


both_formats = pytest.mark.parametrize("log_format", ["text", "json"])


def written(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    return err


def records(text: str, log_format: str) -> list[str]:
    """The messages of the records, as a line-reading program finds them."""
    lines = text.split("\n")[:-1]
    if log_format == "json":
        return [json.loads(line)["message"] for line in lines]
    found = [re.fullmatch(f"{STAMP} [A-Z]+ [a-z.]+ (.*)", line) for line in lines if not line.startswith("    | ")]
    assert all(found), text
    return [match[1] for match in found if match]


def test_a_record_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "text", [])
    _log.info("call %s, %d turns", "CA1", 3)
    assert re.fullmatch(f"{STAMP} INFO voice.test call CA1, 3 turns\n", written(capsys))


def test_a_record_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json", [])
    _log.warning("call %s: ünï", "CA1")
    record = json.loads(written(capsys))
    assert re.fullmatch(STAMP + "Z", record.pop("time"))
    assert record == {"level": "warning", "logger": "voice.test", "message": "call CA1: ünï"}


def test_the_level_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure("warning", "text", [])
    _log.info("not this")
    _log.warning("but this")
    assert records(written(capsys), "text") == ["but this"]


FORGED = {
    "a line end": "a\n2026-01-01T00:00:00.000 INFO voice.test all is well",
    "a carriage return": "a\r2026-01-01T00:00:00.000 INFO voice.test all is well",
    "both": "a\r\nb\r\n\r\n",
    "other line ends": "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i",
    "escape sequences": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b31m \x7f\x08\x00",
    "changes of direction": "\u202egnihton\u202c \u2066\u2069",
    "JSON": '"}\n{"level":"info","message":"all is well"}',
    "half a surrogate pair": "\ud800 \udfff",
    "percent signs": "%s %d %(x)s 100%",
}


@both_formats
@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
def test_no_text_forges_a_record(log_format: str, capsys: pytest.CaptureFixture[str], text: str) -> None:
    configure("debug", log_format, SECRETS)
    _log.info("said: %s", text)
    _log.info("and then")
    output = written(capsys)
    said, then = records(output, log_format)
    assert said.startswith("said: ") and then == "and then"
    assert "all is well" not in records(output, log_format)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", output)
    assert "Logging error" not in output


@both_formats
@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
def test_no_text_in_a_traceback_does(log_format: str, capsys: pytest.CaptureFixture[str], text: str) -> None:
    configure("debug", log_format, SECRETS)
    try:
        raise ValueError(text)
    except ValueError:
        _log.exception("it failed")
    _log.info("and then")
    output = written(capsys)
    assert records(output, log_format) == ["it failed", "and then"]
    assert "Traceback (most recent call last):" in output and "Logging error" not in output
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", output)
    if log_format == "json":
        traceback = json.loads(output.split("\n")[0])["traceback"]
        assert traceback.startswith("Traceback") and "ValueError" in traceback


@both_formats
@pytest.mark.parametrize("secret", [secret for secret in SECRETS if secret])
def test_a_secret_is_blanked_wherever_it_stands(
    log_format: str, capsys: pytest.CaptureFixture[str], secret: str
) -> None:
    configure("debug", log_format, SECRETS)
    _log.info("key " + secret)
    _log.info("key %s twice: %s", secret, secret)
    try:
        raise OSError(f"wss://vendor?key={secret}") from KeyError("cause")
    except OSError:
        _log.exception("refused with %s", secret)
    output = written(capsys)
    assert records(output, log_format) == ["key [secret]", "key [secret] twice: [secret]", "refused with [secret]"]
    assert "wss://vendor?key=[secret]" in output
    assert secret not in output and json.dumps(secret)[1:-1] not in output and "and-more" not in output


@both_formats
def test_arguments_that_do_not_fit_their_message_leak_nothing(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("debug", log_format, SECRETS)
    _log.info("%d calls", "sk-12345\n")
    _log.info("one %s", "sk-12345", "sk-12345")
    _log.info("%(name)s", {"other": "sk-12345"})
    output = written(capsys)
    assert len(records(output, log_format)) == 3
    assert "sk-12345" not in output and "Logging error" not in output and "[secret]" in output


def test_a_traceback_in_text_is_set_off_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "text", [])
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        _log.exception("it failed")
    first, *others = written(capsys).split("\n")[:-1]
    assert first.endswith("ERROR voice.test it failed")
    assert others[0] == "    | Traceback (most recent call last):"
    assert others[-2:] == ["    | ValueError: one", "    | two"]


def test_the_frames_of_the_stream_are_not_logged_at_any_level(capsys: pytest.CaptureFixture[str], line: Line) -> None:
    configure("debug", "text", [])
    line.peer.text("private words")
    assert line.stream.receive(LIMIT_S) == b"private words"
    line.stream.send(b"private answer")
    assert "private" not in written(capsys)


def test_one_handler_however_often_it_is_configured(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "text", [])
    configure("info", "text", [])
    _log.info("once")
    assert records(written(capsys), "text") == ["once"]
    assert logging.getLogger().handlers[0].stream is sys.stderr  # type: ignore[attr-defined]
