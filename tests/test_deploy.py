"""The files for machines that others run: what is in a container's image, what Heroku is told."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gevent.pywsgi import WSGIServer

from config.faults import ConfigError
from config.settings import Settings
from tests.test_start import NAMES, ROOT, good, run

__all__ = ["good"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def _image(folder: Path) -> None:
    """What `COPY . .` would copy: .dockerignore as far as ours goes, all but what it names."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]
    assert rules[0] == "*" and rules[-1] == "**/__pycache__"
    for rule in rules[1:-1]:
        assert rule.startswith("!")
        source = ROOT / rule[1:]
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)


def test_the_image_has_what_the_server_needs_and_none_of_our_secrets(tmp_path: Path, good: dict[str, str]) -> None:
    _image(tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"config", "voice", "server.py", "gunicorn.conf.py", "requirements-server.lock"}
    bare = {"PYTHONPATH": str(tmp_path), "DATABASE_URL": "sqlite:///voice.db"}
    checked = run("-m", "gunicorn", "--check-config", "server:app", cwd=tmp_path, **bare, **good)
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stderr
    migrated = run("-m", "voice", "migrate", cwd=tmp_path, **bare)
    assert migrated.stdout == "The database is up to date.\n", migrated.stderr


def test_the_image_runs_as_nobody_special_and_writes_where_it_may() -> None:
    assert re.search(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    paths = dict(re.findall(r"\b([A-Z_]+)=(\S+)", DOCKERFILE[DOCKERFILE.index("\nENV ") :].partition("VOLUME")[0]))
    values = Settings.from_env(_required() | paths)
    assert {values.call_log_dir.parent, values.recordings_dir.parent, values.clips_dir.parent} == {
        Path("/var/lib/voice")
    }
    assert values.database_url.endswith("/var/lib/voice/voice.db")


def _required() -> dict[str, str]:
    keys = {name: "k" * 24 for name in NAMES if name.endswith("_KEY")}
    account = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "2" * 32}
    return keys | account | {"PUBLIC_URL": "https://voice.example.com"}


@pytest.mark.threat(24)
def test_the_image_installs_by_hashes() -> None:
    (install,) = re.findall(r"^RUN pip install (?:.*\\\n)*.*", DOCKERFILE, re.MULTILINE)
    assert {"--require-hashes", "--no-deps", "requirements-server.lock"} <= set(install.split())


@pytest.mark.parametrize(("given", "code"), [("200 OK", 0), ("503 Service Unavailable", 1)])
def test_the_image_knows_when_it_is_ill(given: str, code: int, tmp_path: Path) -> None:
    def door(environ: dict[str, Any], start: Any) -> list[bytes]:
        start(given if environ["PATH_INFO"] == "/healthz" else "404 Not Found", [])
        return [b"{}"]

    server = WSGIServer(("127.0.0.1", 0), door, log=None)
    server.start()
    try:
        assert run(*_health_check(), cwd=tmp_path, PORT=str(server.server_port)).returncode == code
    finally:
        server.stop()


def test_an_image_without_a_server_is_ill(tmp_path: Path) -> None:
    assert run(*_health_check(), cwd=tmp_path, PORT="9").returncode == 1


def _health_check() -> list[str]:
    told = DOCKERFILE[DOCKERFILE.index("HEALTHCHECK") :].partition("CMD ")[2].partition("]")
    command: list[str] = json.loads((told[0] + told[1]).replace("\\\n", ""))
    assert command[0] == "python"
    return command[1:]


def test_herokus_form_asks_for_what_the_server_asks_for() -> None:
    app = json.loads((ROOT / "app.json").read_text())
    asked: dict[str, dict[str, Any]] = app["env"]
    given = _required() | {name: one["value"] for name, one in asked.items() if "value" in one}
    # Heroku makes 64 hexadecimal digits of it.
    given |= {name: "a1" * 32 for name, one in asked.items() if one.get("generator") == "secret"}
    Settings.from_env(given)
    known = {name.upper() for name in Settings.__dataclass_fields__} | {"LOG_FORMAT", "LOG_LEVEL"}
    assert set(asked) <= known and all(one["description"] for one in asked.values())
    empty = {name for name, one in asked.items() if one.get("required", True) and not {"value", "generator"} & set(one)}
    assert empty == set(NAMES)
    with pytest.raises(ConfigError) as refused:
        Settings.from_env({})
    assert {fault.split()[0] for fault in refused.value.faults} == empty


def test_herokus_processes_start_what_there_is(tmp_path: Path) -> None:
    processes = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert processes["web"] == "gunicorn server:app"
    program, *arguments = shlex.split(processes["release"])
    assert program == "python"
    released = run(*arguments, cwd=tmp_path, DATABASE_URL="sqlite:///voice.db")
    assert (released.returncode, (tmp_path / "voice.db").exists()) == (0, True), released.stderr


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for unit in ("voice.service", "voice.socket"):
        text = (ROOT / "deploy" / unit).read_text()
        text = text.replace("/opt/voice/.venv/bin/gunicorn", sys.executable).replace("/opt/voice", str(tmp_path))
        (tmp_path / unit).write_text(text)
    command = ["systemd-analyze", "verify", str(tmp_path / "voice.service"), str(tmp_path / "voice.socket")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
