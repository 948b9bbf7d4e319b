"""Bad configuration: files that are no agents, values that are none, and starts that cannot be."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.agents import load_agents
from config.faults import ConfigError
from config.settings import Settings
from tests.config.test_settings import REQUIRED
from tests.conformance.inputs import each
from voice.sandbox.serving import ROOT
from voice.sandbox.stand_ins import Sandbox

Check = Callable[[Path, Any], None]


def _no_agent(*words: str) -> Check:
    """The payload as an agent's file: refused in little time, with these words and in one line."""

    def check(folder: Path, payload: dict[str, Any]) -> None:
        content = bytes.fromhex(payload["_hex"]) if "_hex" in payload else payload["_file"].encode()
        (folder / "desk.toml").write_bytes(content)
        began = time.monotonic()
        with pytest.raises(ConfigError) as caught:
            load_agents(folder, {"DEFAULT_AGENT": "desk"})
        assert time.monotonic() - began < 2
        assert all("\n" not in fault and len(fault) < 500 for fault in caught.value.faults)
        assert all(word in str(caught.value) for word in words), str(caught.value)

    return check


def _no_public_url(folder: Path, payload: dict[str, Any]) -> None:
    _, _, address = payload["_file"].partition(": ")
    with pytest.raises(ConfigError, match="PUBLIC_URL"):
        Settings.from_env(REQUIRED | {"PUBLIC_URL": address})


def _no_secret(folder: Path, payload: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(REQUIRED | payload["_env"])
    assert caught.value.faults == ("XAI_API_KEY is a placeholder; allowed: the key itself",)


def _no_worker(folder: Path, payload: dict[str, Any]) -> None:
    ended = _gunicorn(folder, *payload["_args"].split())
    assert ended.returncode not in (0, None)
    assert "needs gevent's worker" in ended.stderr and "Booting worker" not in ended.stderr


def _no_port(folder: Path, payload: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = _gunicorn(folder, "--bind", f"127.0.0.1:{port}")
    assert ended.returncode not in (0, None)
    assert "in use" in ended.stderr and "Booting worker" not in ended.stderr


def _gunicorn(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "gunicorn", *arguments, "server:app"]
    with Sandbox() as sandbox:
        environment = sandbox.environment() | {"DATABASE_URL": f"sqlite:///{folder / 'voice.db'}"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=15)


# Our files are TOML and our settings environment variables: what was written for YAML is no TOML at all. Different from
# the words of the input: gunicorn tries a port that is taken for five seconds before it gives up.
STARTS: dict[str, Check] = {
    "empty file": _no_agent("greeting", "instructions", "voice"),
    "YAML duplicate key": _no_agent("TOML"),
    "YAML alias bomb": _no_agent("TOML"),
    "number as text": _no_agent("TOML"),
    "NaN time-out": _no_agent("TOML"),
    "base URL with path/query": _no_public_url,
    "API key placeholder": _no_secret,
    "non-UTF-8 file": _no_agent("UTF-8"),
    "sync worker class": _no_worker,
    "PORT taken": _no_port,
}


@each("config", STARTS)
def test_a_bad_start(tmp_path: Path, payload: Any, expect: Check) -> None:
    expect(tmp_path, payload)


GOOD = 'greeting = "Hello."\ninstructions = "Be kind."\nvoice = "abc123"\n'


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('voice = "other"\n', "TOML"),
        ('[limits]\nmax_duration_s = "many"\n', "max_duration_s"),
        ("[limits]\nmax_duration_s = nan\n", "max_duration_s"),
        ("[limits]\nmax_duration_s = 9" + "9" * 400 + "\n", ""),
        ("temperature = inf\n", "temperature"),
        ("[limits]\nmax_duration = 5\n", "max_duration_s"),
        ("a = " + "[" * 5000 + "\n", ""),
    ],
    ids=["key twice", "number as text", "nan", "400 digits", "infinity", "typing error", "brackets"],
)
def test_the_same_faults_in_our_own_form(tmp_path: Path, more: str, said: str) -> None:
    _no_agent("desk.toml", *filter(None, [said]))(tmp_path, {"_file": GOOD + more})
