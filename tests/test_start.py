"""How the server starts, and how it does not: in processes of their own, with environments of their own."""

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from voice.sandbox.stand_ins import Sandbox

ROOT = Path(__file__).parents[1]
MOST_DISTRIBUTIONS = 71
NAMES = (
    "PUBLIC_URL",
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
    "OPENAI_API_KEY",
    "XAI_API_KEY",
    "ELEVENLABS_API_KEY",
)


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python with nothing in its environment but this."""
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", *arguments]
    return subprocess.run(command, cwd=cwd, env=bare, capture_output=True, text=True, timeout=20)


def gunicorn(cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "server:app", cwd=cwd, **environment)


@pytest.fixture
def good() -> Iterator[dict[str, str]]:
    with Sandbox() as sandbox:
        yield sandbox.environment()


def faults_of(process: subprocess.CompletedProcess[str]) -> list[str]:
    """The names of what is wrong, out of the one message."""
    assert process.returncode not in (0, None)
    assert "Traceback" not in process.stderr and "Booting worker" not in process.stderr, process.stderr
    assert process.stderr.count("The configuration has ") == 1, process.stderr
    message = process.stderr.partition("The configuration has ")[2]
    return re.findall(r"^  (\S+) ", message, re.MULTILINE)


def test_an_empty_environment_stops_the_start_and_all_that_is_missing_is_listed(tmp_path: Path) -> None:
    assert faults_of(gunicorn(tmp_path)) == list(NAMES)


def test_bad_values_stop_the_start_and_all_are_listed_without_a_secret(tmp_path: Path, good: dict[str, str]) -> None:
    bad = {
        "PORT": "none",
        "MAX_CALLS": "0",
        "PUBLIC_URL": "http://voice.example.com",
        "OPENAI_TRANSCRIPTION_MODEL": "whisper-9",
        "OPENAI_API_KEY": "sk secret with blanks",
        "LOG_LEVEL": "loud",
    }
    process = gunicorn(tmp_path, **good | bad)
    assert sorted(faults_of(process)) == sorted(bad)
    assert "secret" not in process.stderr


def test_a_bad_value_in_the_env_file_stops_the_start_too(tmp_path: Path, good: dict[str, str]) -> None:
    (tmp_path / ".env").write_text("MAX_CALLS=many\nWEB_CONCURRENCY=0\nOPENAI_AUDIO_FORMAT=mp3\n")
    assert sorted(faults_of(gunicorn(tmp_path, **good))) == ["MAX_CALLS", "OPENAI_AUDIO_FORMAT", "WEB_CONCURRENCY"]


def test_an_agent_that_is_wrong_stops_the_start(tmp_path: Path, good: dict[str, str]) -> None:
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "receptionist.toml").write_text('greting = "Hello"\n')
    process = gunicorn(tmp_path, **good, AGENTS_DIR=str(agents))
    faults_of(process)
    assert "greting" in process.stderr


@pytest.mark.parametrize("where", ["environment", "env file"])
def test_gunicorn_is_told_the_same_numbers_as_the_server(tmp_path: Path, good: dict[str, str], where: str) -> None:
    numbers = {"PORT": "18123", "WEB_CONCURRENCY": "3", "MAX_CALLS": "700"}
    if where == "env file":
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in numbers.items()))
        numbers = {}
    arguments = ("-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "--print-config", "server:app")
    told = run(*arguments, cwd=tmp_path, **good, **numbers)
    config = dict(re.findall(r"^(\w+) += (.*)$", told.stdout, re.MULTILINE))
    assert (config["bind"], config["workers"]) == ("['0.0.0.0:18123']", "3")
    # A client beyond worker_connections is never answered, so calls are refused well below.
    assert int(config["worker_connections"]) >= 800
    assert config["worker_class"].endswith("gevent") or "Gevent" in config["worker_class"]
    assert (config["max_requests"], config["preload_app"], config["reuse_port"]) == ("0", "False", "False")


_WATCHED = """
import sys
from gevent import monkey
monkey.patch_all()
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise SystemExit(f"importing the server made {event} {arguments}")
sys.addaudithook(watch)
import time
began = time.perf_counter()
import server
print(f"{(time.perf_counter() - began) * 1000:.0f}")
"""


def test_importing_the_server_needs_no_environment_and_no_network(tmp_path: Path) -> None:
    process = run("-c", _WATCHED, cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    print(f"import server: {process.stdout.strip()} ms")
    assert run("-c", "import server", cwd=tmp_path).returncode == 0


def test_importing_the_server_loads_nothing_that_only_tests_or_stand_ins_need(tmp_path: Path) -> None:
    process = run("-c", "import server, sys; print(*sorted(sys.modules))", cwd=tmp_path)
    loaded = process.stdout.split()
    assert "flask" in loaded
    kept_out = ("voice.sandbox", "tests", "pytest", "openai", "hypothesis", "espeakng_loader", "pocketsphinx")
    assert [name for name in loaded if name.startswith(kept_out)] == []


_MADE = """
import runpy, sys
runpy.run_path("gunicorn.conf.py")
import server
server.app
print(*sorted(sys.modules))
"""


def test_a_worker_loads_nothing_first_that_it_needs_later(good: dict[str, str], tmp_path: Path) -> None:
    """Callers wait for it, when a server starts anew."""
    process = run("-c", _MADE, **good, DATABASE_URL=f"sqlite:///{tmp_path}/voice.db")
    loaded = process.stdout.split()
    assert "sqlalchemy" in loaded, process.stderr
    later = ("elevenlabs.client", "jsonschema", "alembic", "opentelemetry", "psycopg")
    assert [name for name in loaded if name in later] == []


def _needed() -> set[str]:
    """What requirements.txt pulls in, by what is installed here."""
    found: set[str] = set()
    waiting = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1] not in ("", "#", "-")]
    while waiting:
        requirement = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        extras = requirement.extras or {""}
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if (key := f"{name}{sorted(extras)}") in found:
            continue
        found.add(key)
        for needed in importlib.metadata.requires(name) or ():
            marker = Requirement(needed).marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed.partition(";")[0])
    return {key.partition("[")[0] for key in found}


def test_the_server_needs_few_distributions() -> None:
    names = _needed()
    print(f"{len(names)} distributions: {' '.join(sorted(names))}")
    assert {"gunicorn", "gevent", "flask", "twilio", "greenlet"} <= names
    assert len(names) <= MOST_DISTRIBUTIONS


def test_the_servers_lock_has_what_it_needs_as_the_whole_lock_has_it_and_nothing_else() -> None:
    server, whole = (_entries(ROOT / name) for name in ("requirements-server.lock", "requirements.lock"))
    assert set(server) - {"audioop-lts"} == _needed() - {"audioop-lts"}, "make lock"
    assert {name: whole.get(name) for name in server} == server, "make lock"


def _entries(lock: Path) -> dict[str, str]:
    """Version and hashes by the name of each package."""
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())[1:]
    return {re.sub(r"[-_.]+", "-", entry.partition("==")[0]).lower(): entry.partition("==")[2] for entry in entries}
