"""What reaches standard error: whole records, one line each, without a secret, whatever was logged."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from tests.wires.loopback import LIMIT_S, Line, line
from voice import logs
from voice.logs import configure
from voice.sandbox.stand_ins import Sandbox

__all__ = ["line"]

ROOT = Path(__file__).parents[1]

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


def written(capfd: pytest.CaptureFixture[str]) -> str:
    logs.flush()
    out, err = capfd.readouterr()
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


def test_a_record_in_text(capfd: pytest.CaptureFixture[str]) -> None:
    configure("info", "text", [])
    _log.info("call %s, %d turns", "CA1", 3)
    assert re.fullmatch(f"{STAMP} INFO voice.test call CA1, 3 turns\n", written(capfd))


def test_a_record_in_json(capfd: pytest.CaptureFixture[str]) -> None:
    configure("info", "json", [])
    _log.warning("call %s: ünï", "CA1")
    record = json.loads(written(capfd))
    assert re.fullmatch(STAMP + "Z", record.pop("time"))
    assert record == {"level": "warning", "logger": "voice.test", "message": "call CA1: ünï"}


def test_the_level_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    configure("warning", "text", [])
    _log.info("not this")
    _log.warning("but this")
    assert records(written(capfd), "text") == ["but this"]


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


@pytest.mark.threat(19)
@both_formats
@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
def test_no_text_forges_a_record(log_format: str, capfd: pytest.CaptureFixture[str], text: str) -> None:
    configure("debug", log_format, SECRETS)
    _log.info("said: %s", text)
    _log.info("and then")
    output = written(capfd)
    said, then = records(output, log_format)
    assert said.startswith("said: ") and then == "and then"
    assert "all is well" not in records(output, log_format)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", output)
    assert "Logging error" not in output


@pytest.mark.threat(19)
@both_formats
@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
def test_no_text_in_a_traceback_does(log_format: str, capfd: pytest.CaptureFixture[str], text: str) -> None:
    configure("debug", log_format, SECRETS)
    try:
        raise ValueError(text)
    except ValueError:
        _log.exception("it failed")
    _log.info("and then")
    output = written(capfd)
    assert records(output, log_format) == ["it failed", "and then"]
    assert "Traceback (most recent call last):" in output and "Logging error" not in output
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", output)
    if log_format == "json":
        traceback = json.loads(output.split("\n")[0])["traceback"]
        assert traceback.startswith("Traceback") and "ValueError" in traceback


@pytest.mark.threat(10)
@both_formats
@pytest.mark.parametrize("secret", [secret for secret in SECRETS if secret])
def test_a_secret_is_blanked_wherever_it_stands(
    log_format: str, capfd: pytest.CaptureFixture[str], secret: str
) -> None:
    configure("debug", log_format, SECRETS)
    _log.info("key " + secret)
    _log.info("key %s twice: %s", secret, secret)
    try:
        raise OSError(f"wss://vendor?key={secret}") from KeyError("cause")
    except OSError:
        _log.exception("refused with %s", secret)
    output = written(capfd)
    assert records(output, log_format) == ["key [secret]", "key [secret] twice: [secret]", "refused with [secret]"]
    assert "wss://vendor?key=[secret]" in output
    assert secret not in output and json.dumps(secret)[1:-1] not in output and "and-more" not in output


@pytest.mark.threat(10)
@both_formats
def test_arguments_that_do_not_fit_their_message_leak_nothing(
    log_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    configure("debug", log_format, SECRETS)
    _log.info("%d calls", "sk-12345\n")
    _log.info("one %s", "sk-12345", "sk-12345")
    _log.info("%(name)s", {"other": "sk-12345"})
    output = written(capfd)
    assert len(records(output, log_format)) == 3
    assert "sk-12345" not in output and "Logging error" not in output and "[secret]" in output


def test_a_traceback_in_text_is_set_off_line_by_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure("info", "text", [])
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        _log.exception("it failed")
    first, *others = written(capfd).split("\n")[:-1]
    assert first.endswith("ERROR voice.test it failed")
    assert others[0] == "    | Traceback (most recent call last):"
    assert others[-2:] == ["    | ValueError: one", "    | two"]


def test_the_frames_of_the_stream_are_not_logged_at_any_level(capfd: pytest.CaptureFixture[str], line: Line) -> None:
    configure("debug", "text", [])
    line.peer.text("private words")
    assert line.stream.receive(LIMIT_S) == b"private words"
    line.stream.send(b"private answer")
    assert "private" not in written(capfd)


def test_one_handler_however_often_it_is_configured(capfd: pytest.CaptureFixture[str]) -> None:
    configure("info", "text", [])
    configure("info", "text", [])
    _log.info("once")
    assert records(written(capfd), "text") == ["once"]
    assert len(logging.getLogger().handlers) == 1


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@both_formats
def test_what_has_no_text_costs_its_own_record_only(log_format: str, capfd: pytest.CaptureFixture[str]) -> None:
    configure("info", log_format, SECRETS)
    _log.info("said: %s", Odd())
    _log.info("and then")
    odd, then = records(written(capfd), log_format)
    assert "a record cannot be written" in odd and "test_logs.py" in odd and then == "and then"


@both_formats
def test_a_greenlet_that_fails_is_one_record_without_a_secret(
    log_format: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("info", log_format, SECRETS)
    monkeypatch.setattr(gevent.get_hub(), "print_exception", logs.greenlet_failed)

    def fail() -> None:
        raise ValueError("sk-12345\nforged")

    greenlet = gevent.spawn(fail)
    greenlet.name = "CA1 tool-7"
    greenlet.join()
    output = written(capfd)
    assert records(output, log_format) == ["CA1 tool-7: failed and is no more"]
    assert "sk-12345" not in output and "ValueError: [secret]" in output


@both_formats
def test_gunicorns_own_lines_are_records_too(log_format: str, tmp_path: Path) -> None:
    """Of a master whose only worker cannot begin: all that gunicorn has to say, and nothing of ours."""
    with Sandbox() as sandbox:
        environment = os.environ | sandbox.environment() | {"LOG_FORMAT": log_format}
    command = [sys.executable, "-m", "gunicorn", "--bind", f"unix:{tmp_path}/socket", "no_such_module:app"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)
    # What gunicorn prints besides, past all logging, may stand before the next record.
    begins = re.compile(STAMP if log_format == "text" else "{")
    lines = [line for line in done.stderr.splitlines() if begins.match(line)]
    assert done.returncode != 0 and done.stdout == ""
    told = records("\n".join([*lines, ""]), log_format)
    assert told[0].startswith("Starting gunicorn") and any("exited with code" in line for line in told)
    assert not any("[INFO]" in line for line in done.stderr.splitlines())


@pytest.mark.threat(10)
@both_formats
@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-4f9ab21c77d0e51b",
        "sk_4f9ab21c77d0e51b0011",
        "xai-4f9ab21c77d0e51b0011",
        "QUM6c2VjcmV0c2VjcmV0",
        "hunter2",
    ],
)
def test_what_looks_like_a_key_is_blanked_though_nobody_knows_it(
    log_format: str, capfd: pytest.CaptureFixture[str], key: str
) -> None:
    shapes = {
        "QUM6c2VjcmV0c2VjcmV0": "Authorization: Basic %s",
        "hunter2": "postgresql://voice:%s@db.example.com/voice",
    }
    configure("debug", log_format, [])
    _log.info(shapes.get(key, "the vendor says: key %s is wrong"), key)
    _log.info("Authorization: Bearer %s", "abcdefgh" + key)
    _log.info("https://db.example.com:8443/a@b and 12:30 and sk-1 stay")
    output = written(capfd)
    assert key not in output and output.count("[secret]") == 2
    assert "https://db.example.com:8443/a@b and 12:30 and sk-1 stay" in output
